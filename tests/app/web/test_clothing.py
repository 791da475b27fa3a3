import csv
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from websockets.sync.client import connect as open_socket

from app import create_app
from app.__main__ import cli
from app.settings import Settings
from app.vision.detection.detector import DETECTOR_FOLDERS
from app.vision.models.cards import ModelError
from app.vision.models.classifiers import Classifier, load_classifier, read_probabilities
from tests.helpers.cards import read_card, rewrite_card
from tests.helpers.clothing import CLASSES, OOD, SIZE, write_all_models
from tests.helpers.forms import ASTRONAUT, ASTRONAUT_PNG, analyze, encode, post
from tests.helpers.inference import FakeServer
from tests.helpers.servers import ask as send
from tests.helpers.servers import find_stream, serving

RED, ROSE, BLACK = (255, 0, 0), (200, 60, 60), (0, 0, 0)


@pytest.fixture(scope="module")
def clothing_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The served models of faces, and one of clothes."""
    folder = tmp_path_factory.mktemp("clothing-models")
    write_all_models(folder)
    return folder


@pytest.fixture(scope="module")
def dressed_app(clothing_models: Path) -> Flask:
    return create_app(Settings(models=clothing_models))


@pytest.fixture
def dressed(dressed_app: Flask) -> FlaskClient:
    return dressed_app.test_client()


@pytest.fixture
def classifier(clothing_models: Path) -> Classifier:
    return load_classifier(clothing_models / "clothing")


def fill(colour: tuple[int, int, int], side: int = 64) -> np.ndarray:
    return np.full((side, side, 3), colour, np.uint8)


def ask(client: FlaskClient, colour: tuple[int, int, int], models: str = "clothing") -> Any:
    return analyze(client, encode(fill(colour)), models=models).get_json()


def test_a_garment_is_named_or_none_of_these_and_no_face_looked_for(dressed: FlaskClient) -> None:
    answer = ask(dressed, RED)
    assert answer["faces"] == []
    assert list(answer["models"]) == ["clothing"]
    assert not any(stage.startswith("detect") for stage in answer["timings_ms"])
    clothing = answer["image_predictions"]["clothing"]
    assert (clothing["label"], clothing["confident"]) == ("dress", True)
    assert list(clothing["probabilities"]) == [*CLASSES, "none_of_these"]
    assert sum(clothing["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    clothing = ask(dressed, BLACK)["image_predictions"]["clothing"]
    assert (clothing["label"], clothing["confident"]) == ("none_of_these", True)
    assert clothing["probability"] == clothing["probabilities"]["none_of_these"] > 0.5


def test_the_energy_of_a_picture_says_how_likely_it_shows_none(classifier: Classifier) -> None:
    crops = np.stack([fill(colour, SIZE) for colour in (RED, ROSE, BLACK)])
    logits = classifier.network.logits(crops)["clothes"]
    energies = -np.log(np.exp(logits.astype(float)).sum(axis=1))
    none = 1 / (1 + np.exp(-OOD["slope"] * (energies - OOD["energy_limit"])))
    _, classes = read_probabilities(classifier.head, logits)
    for answer, share, row in zip(classifier.predict(crops), none, classes, strict=True):
        expected = [*(row * (1 - share)), share]
        assert list(answer.probabilities.values()) == pytest.approx(expected)
        assert answer.probability == max(answer.probabilities.values())
        assert answer.probability == answer.probabilities[answer.label]


def test_the_likeliest_label_is_answered_unsure_below_the_threshold(classifier: Classifier) -> None:
    class Torn:
        def logits(self, crops: np.ndarray) -> dict[str, np.ndarray]:
            return {"clothes": np.array([[5.6, 5.6, *[0.0] * (len(CLASSES) - 2)]], np.float32)}

    torn = replace(classifier, network=Torn())
    answer = torn.predict(fill(RED, SIZE)[None])[0]
    assert answer.probabilities["dress"] < answer.probability < 0.5
    assert (answer.label, answer.confident) == ("none_of_these", False)


def test_a_class_may_not_be_named_as_what_is_outside(models: Path) -> None:
    folder = models / "gender"
    heads = read_card(folder)["heads"]
    heads["perceived"] |= {"ood": OOD, "classes": ["female", "none_of_these"]}
    rewrite_card(folder, heads=heads)
    with pytest.raises(ModelError, match="no class may be that"):
        load_classifier(folder)


def read_archive(
    folder: Path, models: str
) -> tuple[list[dict[str, Any]], dict[str, dict[str, int]]]:
    """Read a folder's pictures; return the rows, and the counts in each table of the report."""
    out, report = folder / models, folder / "report.html"
    arguments = [str(folder), "--models", models, "--format", "jsonl", "--out", str(out)]
    result = CliRunner().invoke(cli, ["analyze", *arguments, "--report", str(report)])
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (out / "part-00001.jsonl").read_text().splitlines()]
    tables = re.findall(r"<caption>(.*?)</caption>(.*?)</table>", report.read_text(), re.DOTALL)
    line = r'<th scope="row">(.*?)</th><td class="number">(\d+)<'
    return rows, {
        title: {name: int(count) for name, count in re.findall(line, body)}
        for title, body in tables
    }


def test_only_who_asks_is_told_of_clothes(dressed: FlaskClient) -> None:
    answer = analyze(dressed, ASTRONAUT_PNG).get_json()
    assert list(answer["models"]) == ["expression", "gender"]
    assert "picture" not in answer
    both = analyze(dressed, ASTRONAUT_PNG, models="gender,clothing").get_json()
    assert len(both["faces"]) == 1
    assert list(both["image_predictions"]) == ["clothing"]
    described = dressed.get("/api/v1/openapi.json").text
    assert "clothing read the whole image: they answer only if named" in described
    assert dressed.get("/readyz").get_json()["models"] == ["clothing", "expression", "gender"]


def test_the_card_tells_how_many_clothes_are_refused_and_what_else(dressed: FlaskClient) -> None:
    assert "available on request" in dressed.get("/models").text
    english, indonesian = (
        dressed.get("/models/clothing", headers={"Accept-Language": language}).text
        for language in ("en", "id")
    )
    rows = re.findall(r'<th scope="row">(.*?)</tr>', english, re.DOTALL)
    lines = [re.sub(r"\s+", " ", re.sub("<.*?>", " ", row)).strip() for row in rows]
    assert "clothes wrongly rejected 5.0% 0.0% – 12.5% 40" in lines
    assert "faces rightly rejected 99.0% 98.5% – 99.5% 1,400" in lines
    assert "animals rightly rejected 85.0% 80.0% – 90.0% 200" in lines
    assert "11.42 ms for each picture" in english
    for written in ("hewan", "wajah", "85,0%", "1.400", "11,42 md untuk setiap gambar"):
        assert written in indonesian
    assert 'id="ood"' not in dressed.get("/models/gender").text


def test_a_live_stream_refuses_a_choice_without_a_model_of_faces(dressed_app: Flask) -> None:
    with serving(dressed_app) as server, open_socket(find_stream(server)) as client:
        for models, code in (("clothing", "no_face_model"), ("gender,clothing", None)):
            answer = send(client, json.dumps({"smoothing_seconds": 1, "models": models}))
            assert answer.get("problem", {}).get("code") == code
            if code:
                assert answer["problem"]["choices"] == ["expression", "gender"]


@pytest.mark.parametrize(
    ("query", "choice"),
    [
        ("models=clothing", {}),
        ("models=clothing,gender", {"models": "gender"}),
        ("models=expression&label_set=ferplus", {"models": "expression", "label_set": "ferplus"}),
    ],
)
def test_the_live_page_asks_models_of_faces_only(
    dressed: FlaskClient, query: str, choice: dict[str, str]
) -> None:
    page = dressed.get(f"/realtime?{query}").text
    (kept,) = re.findall("data-choice='(.*)'", page)
    assert json.loads(kept) == choice


def test_a_model_of_clothes_alone_answers_unasked_and_needs_no_tabs(
    dressed: FlaskClient, clothing_models: Path, tmp_path: Path
) -> None:
    for name in ("clothing", *DETECTOR_FOLDERS):
        shutil.copytree(clothing_models / name, tmp_path / name)
    alone = create_app(Settings(models=tmp_path)).test_client()
    answer = analyze(alone, encode(fill(RED))).get_json()
    assert answer["image_predictions"]["clothing"]["label"] == "dress"
    pages = [client.get("/").text for client in (alone, dressed)]
    assert ["Which clothes does this picture show?" in page for page in pages] == [True, False]
    assert ['class="tabs"' in page for page in pages] == [False, True]


def test_the_command_line_writes_a_row_a_picture(
    clothing_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAUT_MODELS", str(clothing_models))
    (tmp_path / "album").mkdir()
    (tmp_path / "album" / "dress.png").write_bytes(encode(fill(RED)))
    command = ["analyze", str(tmp_path / "album"), "--models"]

    def read(models: str, *arguments: str) -> list[dict[str, str]]:
        result = CliRunner().invoke(cli, [*command, models, "--csv", "-", *arguments])
        return list(csv.DictReader(io.StringIO(result.stdout)))

    (row,) = read("clothing")
    assert (row["face"], row["image_clothing_label"]) == ("", "dress")
    assert float(row["image_clothing_probabilities_none_of_these"]) < 0.5
    (tmp_path / "album" / "face.png").write_bytes(ASTRONAUT_PNG)
    rows = read("gender,clothing")
    assert [(bool(row["gender_label"]), row["face"]) for row in rows] == [(False, ""), (True, "1")]
    refused = CliRunner().invoke(cli, [*command, "age"])
    assert refused.exit_code == 1
    assert "There is no model 'age'. Choose from clothing, expression, gender." in refused.stderr


def test_the_command_line_loads_only_the_models_that_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all_models(tmp_path / "models")
    (tmp_path / "models" / "clothing" / "model.onnx").write_bytes(b"altered")
    (tmp_path / "face.png").write_bytes(ASTRONAUT_PNG)
    monkeypatch.setenv("RAUT_MODELS", str(tmp_path / "models"))
    command = ["analyze", str(tmp_path / "face.png")]
    faces = CliRunner().invoke(cli, command)
    assert faces.exit_code == 0, faces.stderr
    refused = CliRunner().invoke(cli, [*command, "--models", "clothing"])
    assert refused.exit_code == 1
    assert "model.onnx is not the file that its card describes" in refused.stderr


def test_an_archive_s_clothes_are_read_and_counted_once_a_picture(
    clothing_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAUT_MODELS", str(clothing_models))
    two = np.hstack([ASTRONAUT, ASTRONAUT])
    for name, picture in {"black": fill(BLACK), "dress": fill(RED), "two": two}.items():
        (tmp_path / f"{name}.png").write_bytes(encode(picture))
    rows, tables = read_archive(tmp_path, "clothing")
    assert [row["image_clothing_label"] for row in rows[:2]] == ["none_of_these", "dress"]
    assert tables["Whole picture, clothing: shown"].items() >= {"dress": 1}.items()
    # No face was looked for, so that none is counted as missing.
    assert "model_clothing" in rows[0]
    assert "model_face_classifier" not in rows[0]
    assert "Faces in a picture" not in tables
    rows, tables = read_archive(tmp_path, "gender,clothing")
    assert [row["faces"] for row in rows] == [0, 0, 2, 2]
    assert sum(tables["Gender: shown"].values()) == 2
    whole = {title: sum(counts.values()) for title, counts in tables.items() if "cloth" in title}
    assert whole == {
        "Whole picture, clothing: shown": 3,
        "Whole picture, clothing: likeliest, sure or not": 3,
        "Whole picture, clothing: probability of the likeliest": 3,
    }


def test_an_inference_server_answers_for_whole_pictures_too(clothing_models: Path) -> None:
    folders = [clothing_models / name for name in ("clothing", "expression", "gender")]
    with FakeServer(*folders) as far:
        settings = Settings(models=clothing_models, runtime="remote", inference_url=far.url)
        client = create_app(settings).test_client()
        asked = len(far.paths)
        assert ask(client, RED)["image_predictions"]["clothing"]["label"] == "dress"
        assert far.paths[asked:] == ["/v2/models/clothing/infer"]
        # A known picture and the small copy of this one.
        assert far.crops[-1].shape == (2, SIZE, SIZE, 3)
        for models, sent in (
            ("clothing", "A small copy of it is sent"),
            ("gender", "Small crops of its faces are sent"),
            ("gender,clothing", "Small crops of its faces and a small copy of all of it are sent"),
        ):
            assert sent in client.get(f"/?models={models}").text
        about = client.get("/about").text
        assert "small copies of pictures that are read for clothing, are sent" in about


def test_a_choice_is_made_among_the_models_of_one_question(dressed: FlaskClient) -> None:
    refused = dressed.post("/models", data={"task-expression": "clothing"})
    assert (refused.status_code, refused.get_json()["code"]) == (400, "model_of_other_task")
    assert refused.get_json()["choices"] == ["expression"]
    assert "Set-Cookie" not in refused.headers


@pytest.mark.parametrize("colour", [RED, BLACK], ids=["a garment", "none of these"])
def test_the_steps_of_a_whole_picture_end_in_the_api_s_answer(
    dressed: FlaskClient, colour: tuple[int, int, int]
) -> None:
    shown = post(dressed, "/steps", {"image": encode(fill(colour))}, model="clothing")
    page = shown.text
    assert shown.status_code == 200
    for step in ("photo", "whole", "filters", "maps", "where", "softmax", "decision"):
        assert f'id="{step}"' in page
    assert 'id="windows"' not in page
    assert 'id="crop"' not in page
    given = ask(dressed, colour)["image_predictions"]["clothing"]["probabilities"]["none_of_these"]
    assert f'"none_of_these": {given}' in page
