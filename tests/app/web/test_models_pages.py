import shutil
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_babel import gettext

from app import create_app
from app.intervals import wilson_interval
from app.settings import Settings
from app.vision.models.cards import load_card
from app.vision.models.weaknesses import MESSAGES, weakness_in_english
from app.web.i18n import formats
from app.web.pages.charts import choose_ticks, describe_classes
from tests.helpers.cards import copy_face_models, read_card, rewrite_card
from tests.helpers.forms import ASTRONAUT_PNG, analyze, post

EVERYTHING: dict[str, Any] = {
    "groups": [
        {
            "age": "0-12",
            "race": "Asian",
            "gender": "female",
            "count": 1234,
            "accuracy": 0.8125,
            "accuracy_interval": [0.75, 0.86],
        }
    ],
    "robustness": [
        {"change": "blur", "level": level, "accuracy": 0.7 - level / 10} for level in range(4)
    ],
    "history": [
        {"epoch": epoch, "loss": 2 / epoch, "validation_accuracy_original": epoch / 10}
        for epoch in range(1, 6)
    ],
    "speed": {"multiply_adds": 12_300_000, "milliseconds_per_face": 1.25, "bytes": 4_200_000},
    "quantization": {"original": {"exact": 0.7041, "quantized": 0.7027}},
    "photos": {
        "original": {
            "count": 459,
            "found": 0.9891,
            "found_interval": [0.978, 0.998],
            "accuracy": 0.8573,
            "accuracy_interval": [0.82, 0.89],
            "unseen_by_detector": None,
            "genders": {
                "female": {"count": 208, "accuracy": 0.8413, "accuracy_interval": [0.79, 0.89]}
            },
        }
    },
    "risk_coverage": {
        "natural": [
            {"coverage": 1.0, "threshold": 0.25, "right": 0.8512, "right_interval": [0.82, 0.88]},
            {"coverage": 0.8, "threshold": 0.7, "right": 0.9384, "right_interval": [0.91, 0.96]},
        ]
    },
    "cross_validation": {
        "natural": {
            "count": 458,
            "accuracy": 0.8515,
            "unanswered": 0.2686,
            "accuracy_of_answers_given": 0.9463,
        }
    },
    "hidden": [
        {"kind": "masked", "count": 416, "unanswered": 0.447, "unanswered_interval": [0.4, 0.49]}
    ],
    "weaknesses": [
        {"code": "low_recall_faces", "label": "fear", "recall": 0.48},
        {"code": "hidden_answered", "kind": "masked", "unanswered": 0.447},
    ],
}
TEACHER = {
    "name": "mentor",
    "parameters": 20_900_000,
    "heads": {"original": {"accuracy": 0.7312, "count": 3521}},
}
BINS = [{"share": 0.5, "probability": 0.6, "right": 0.55}]


@pytest.fixture(scope="module")
def full_app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """Serve cards that hold every figure, and a second model for expressions."""
    folder = tmp_path_factory.mktemp("models")
    copy_face_models(folder)
    shutil.copytree(folder / "expression", folder / "rival")
    bare = read_card(folder / "rival") | {"name": "rival"}
    content = read_card(folder / "expression")
    content["figures"] |= EVERYTHING
    content["training"]["teachers"] = [TEACHER]
    content["figures"]["heads"]["original"] |= {
        "reliability": BINS,
        "reliability_uncalibrated": BINS,
    }
    classes = content["heads"]["original"]["classes"]
    join = {
        "weights": {"original": 0.1, "ferplus": 0.9},
        "prior": dict.fromkeys(classes, 0.1),
        "strength": 0.5,
    }
    content["heads"]["joined"] = {
        "classes": classes,
        "threshold": 0.745,
        "class_thresholds": {"fear": 0.8},
        "join": join,
    }
    content["figures"]["heads"]["joined"] = content["figures"]["heads"]["original"]
    content["visibility"] = {"tiny": 16, "dark": 40, "blurred": 0.2}
    rewrite_card(folder / "expression", **content)
    for figure in EVERYTHING:
        bare["figures"].pop(figure, None)
    for head in bare["figures"]["heads"].values():
        head.pop("reliability", None)
        head.pop("reliability_uncalibrated", None)
    rewrite_card(folder / "rival", **bare)
    return create_app(Settings(models=folder))


def read(client: FlaskClient, address: str, language: str = "en") -> str:
    return client.get(address, headers={"Accept-Language": language}).text


def test_every_loaded_model_has_its_card(client: FlaskClient) -> None:
    overview = read(client, "/models")
    for name in ("expression", "gender"):
        assert f'href="/models/{name}"' in overview
        page = read(client, f"/models/{name}")
        card = load_card(Path("models") / name)
        assert card.files["model.onnx"] in page
        assert card.data["licence"] in page
    assert client.get("/models/age").status_code == 404


PARTS = ["groups", "photos", "robustness", "history", "weaknesses"]


@pytest.mark.parametrize("part", [*PARTS, "before-original", "after-original"])
def test_a_figure_is_shown_where_the_card_has_it_and_only_there(full_app: Flask, part: str) -> None:
    client = full_app.test_client()
    mark = f'id="{part}'
    assert mark in read(client, "/models/expression")
    assert mark not in read(client, "/models/rival")


def test_each_kind_of_picture_on_a_card_has_a_name_in_indonesian(client: FlaskClient) -> None:
    kinds = load_card(Path("models/clothing")).figures["ood"]
    page = read(client, "/models/clothing", "id")
    rows = page.partition('id="ood"')[2].partition("</section>")[0]
    assert "pakaian yang dipotong dan diacak" in rows
    assert [each["kind"] for each in kinds if f">{each['kind']}" in rows] == []


@pytest.mark.parametrize("name", [card.parent.name for card in Path("models").glob("*/card.json")])
def test_every_text_of_a_served_card_is_shown_in_indonesian(app: Flask, name: str) -> None:
    card = load_card(Path("models") / name)
    texts = filter(None, (card.purpose, card.not_for, card.default_head_reason))
    with app.test_request_context(headers={"Accept-Language": "id"}):
        assert [text.en for text in texts if formats.localized(text) in ("", text.en)] == []
        for weakness in card.figures["weaknesses"]:
            template = MESSAGES[weakness["code"]]
            assert gettext(template) != template
            assert formats.weakness(weakness) != weakness_in_english(weakness)
        changes = {row["change"] for row in card.figures["robustness"]}
        assert [change for change in changes if formats.change(change) == change] == []
        for text in (card.data["source"], card.data["licence"]):
            assert "lang=" not in formats.data_text(text)


@pytest.mark.parametrize(
    ("language", "weakness"),
    [
        ("en", "81% are right instead of 93%: occlusion, the lowest 45%."),
        ("id", "81% benar, bukan 93%: penutupan sebagian, 45% terbawah."),
    ],
)
def test_a_card_s_texts_and_weaknesses_stand_in_the_reader_s_language(
    client: FlaskClient, language: str, weakness: str
) -> None:
    purpose = load_card(Path("models/gender")).purpose.model_dump()[language]
    page = read(client, "/models/gender", language)
    assert f'<p class="lead">{purpose}</p>' in page
    assert f"<li>{weakness}</li>" in page


def test_the_card_s_numbers_stand_in_the_reader_s_form(full_app: Flask) -> None:
    client = full_app.test_client()
    english = read(client, "/models/expression")
    indonesian = read(client, "/models/expression", "id")
    quantized = "70.3% of answers right; exactly, 70.4%"
    teacher = "20.9 million parameters; <code>original</code>: 73.1% of 3,521 answers right"
    for written in ("81.2%", "1,234", "84.1%", "12.3 million", quantized, teacher):
        assert written in english
    quantized = "70,3% jawaban benar; dihitung tepat, 70,4%"
    teacher = "20,9 juta parameter; <code>original</code>: 73,1% dari 3.521 jawaban benar"
    for written in ("81,2%", "1.234", "84,1%", "12,3 juta", quantized, teacher):
        assert written in indonesian


def test_a_guarded_head_tells_both_limits_and_how_its_guard_is_judged(client: FlaskClient) -> None:
    head = load_card(Path("models/gender")).heads["perceived"]
    assert head.conditional_threshold
    page = read(client, "/models/gender")
    assert f"below a probability of {head.threshold:.1%}" in page
    assert f"below {head.conditional_threshold.threshold:.1%} for a face taken for “child”" in page
    assert "a child is under 13" in page
    indonesian = read(client, "/models/gender", "id")
    assert "untuk wajah yang dikira “anak”" in indonesian


def test_a_joined_head_tells_its_evidence_and_its_risk_at_each_coverage(full_app: Flask) -> None:
    page = read(full_app.test_client(), "/models/expression")
    assert "original: 10%, ferplus: 90%" in page
    assert "below a probability of 74.5%; fear below 80.0%" in page
    assert "93.8%" in page
    assert "94.6%" in page
    assert "its side is below 16 pixels" in page
    assert "Risiko dan cakupan" in read(full_app.test_client(), "/models/expression", "id")


def test_the_choice_is_kept_for_this_visitor_alone(app: Flask, client: FlaskClient) -> None:
    answer = client.post("/models", data={"task-expression": "expression:ferplus"})
    assert answer.status_code == 303
    assert 'name="label_set" value="ferplus"' in read(client, "/")
    assert 'name="label_set"' not in read(app.test_client(), "/")
    client.post("/models", data={"default": "1"})
    assert 'name="label_set"' not in read(client, "/")
    assert 'value="ferplus"' in read(client, "/?label_set=ferplus")  # for one visit
    assert 'value="ferplus"' not in read(client, "/")


def test_the_plain_form_follows_the_choice(client: FlaskClient) -> None:
    photo = {"image": ASTRONAUT_PNG}
    answer = analyze(client, ASTRONAUT_PNG, label_set="original").get_json()
    probability = answer["faces"][0]["expression"]["probability"]
    by_original = f"<td>happy</td><td>{probability:.0%}</td>"
    assert by_original not in post(client, "/", photo).text
    client.post("/models", data={"task-expression": "expression:original"})
    assert by_original in post(client, "/", photo).text


def test_a_refused_upload_keeps_the_choice(client: FlaskClient) -> None:
    client.set_cookie("raut_models", "label_set=ferplus")
    answer = post(client, "/?models=expression", {"image": bytes(30_000_000)})
    assert answer.status_code == 413
    page = answer.text
    assert 'name="models" value="expression"' in page
    assert 'name="label_set" value="ferplus"' in page


def test_a_choice_of_models_that_are_gone_is_forgotten(client: FlaskClient) -> None:
    client.set_cookie("raut_models", "models=age&label_set=ferplus")
    assert client.get("/").status_code == 200
    assert 'value="age"' not in read(client, "/")


def test_a_rival_model_can_be_chosen(full_app: Flask) -> None:
    client = full_app.test_client()
    by_default = analyze(client, ASTRONAUT_PNG).get_json()["models"]
    assert list(by_default) == ["expression", "gender"]
    client.post("/models", data={"task-expression": "rival:original"})
    assert 'name="models" value="rival,gender"' in read(client, "/")
    both = analyze(client, ASTRONAUT_PNG, models="expression,rival").get_json()
    assert both["code"] == "models_of_one_task"


def test_the_api_takes_and_describes_the_expression_s_labels(client: FlaskClient) -> None:
    first, second = (
        analyze(client, ASTRONAUT_PNG, label_set=labels).get_json()["faces"][0]["expression"]
        for labels in ("original", "ferplus")
    )
    assert first["probabilities"] != second["probabilities"]
    content = client.get("/api/v1/openapi.json").get_json()["paths"]["/api/v1/analyze"]["post"]
    form = content["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["label_set"]["enum"] == ["ferplus", "joined", "original"]


def test_recall_and_precision_come_from_the_confusion_matrix() -> None:
    first, second = describe_classes([[8, 2], [4, 0]], ["cat", "dog"])
    assert (first.recall.share, first.recall.count) == (0.8, 10)
    assert first.precision.share == pytest.approx(8 / 12)
    assert first.f1 == pytest.approx(16 / 22)
    assert (second.recall.share, second.f1) == (0.0, 0.0)


def test_an_interval_holds_its_share_and_stays_between_0_and_1() -> None:
    assert wilson_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson_interval(0, 0) == (0.0, 1.0)
    for right in (0, 1, 7):
        low, high = wilson_interval(right, 7)
        assert 0 <= low <= right / 7 <= high <= 1


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.61, 0.69), (1, 90), (3, 3), (0, 0)])
def test_ticks_are_few_and_lie_in_the_range(low: float, high: float) -> None:
    ticks = choose_ticks(low, high)
    assert 1 <= len(ticks) <= 8
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
