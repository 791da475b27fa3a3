import io
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import skimage.transform
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image

from app import create_app
from app.settings import Settings
from app.vision.detection.proposals import CascadeProposer
from tests.helpers.forms import ASTRONAUT_PNG, analyze, encode, post

# Prints how many threads a model whose insides are laid open adds to a process.
NEW_THREADS = """
import os, sys
from pathlib import Path
from app.vision.models.cards import load_card
from app.vision.explain.feature_maps import FeatureExtractor

folder = Path("models/gender")
before = len(os.listdir("/proc/self/task"))
insides = FeatureExtractor(folder, load_card(folder), int(sys.argv[1]))
print(len(os.listdir("/proc/self/task")) - before)
"""
STEPS = ["photo", "grey", "features", "windows", "proposals", "crop", "filters", "maps"]
STEPS += ["spread", "where", "softmax", "decision"]
NUMBERS = re.compile(r'data-numbers="image">(.*?)</pre>', re.S)
SHOWN = re.compile(r'data-class="(\w+)".*?<data value="([\d.e-]+)">', re.S)


def turned_astronaut() -> np.ndarray:
    turned = skimage.transform.rotate(skimage.data.astronaut(), 8, mode="edge")
    return (turned * 255).astype(np.uint8)


def portrait() -> np.ndarray:
    """Lay an enlarged face of the LFW subset on a grey wall, RGB."""
    small = skimage.data.lfw_subset()[11]
    face = (skimage.transform.resize(small, (200, 200), order=3) * 255).clip(0, 255)
    wall = np.full((320, 320), 128, np.uint8)
    wall[60:260, 60:260] = face
    return np.repeat(wall[..., None], 3, axis=2)


PHOTOS = {
    "astronaut": skimage.data.astronaut,
    "turned astronaut": turned_astronaut,
    "portrait": portrait,
}


@pytest.fixture(scope="module")
def explained(app: Flask) -> str:
    """The steps of the astronaut."""
    return post(app.test_client(), "/steps", {"image": ASTRONAUT_PNG}).text


@pytest.fixture(scope="module")
def both(app: Flask) -> Iterator[zipfile.ZipFile]:
    """The stages of two photos, as they are saved."""
    photos = {"image": ASTRONAUT_PNG, "second": encode(turned_astronaut())}
    answer = post(app.test_client(), "/steps/stages.zip", photos)
    assert answer.mimetype == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        yield archive


def read_numbers(page: str) -> Any:
    """The numbers that a page shows as data, of its first photo."""
    found = NUMBERS.search(page)
    assert found
    return json.loads(unescape(found[1]))


def steps_of(answer: str) -> list[str]:
    return re.findall(r'<section class="step" id="(\w+)"', answer)


@pytest.mark.parametrize("model", ["expression", "gender"])
@pytest.mark.parametrize("photo", PHOTOS)
def test_the_numbers_of_a_photo_are_the_api_s(client: FlaskClient, photo: str, model: str) -> None:
    data = encode(PHOTOS[photo]())
    page = post(client, "/steps", {"image": data}, model=model).text
    api = analyze(client, data).get_json()
    assert api["faces"]
    numbers = read_numbers(page)
    for part in ("image", "faces", "models"):
        assert numbers["analysis"][part] == api[part]
    shown = {name: float(value) for name, value in SHOWN.findall(page)}
    assert shown == api["faces"][0][model]["probabilities"]


def test_every_stage_is_shown_in_order_and_each_part_of_the_search_timed(explained: str) -> None:
    numbers = read_numbers(explained)
    times = {each["stage"]: each["ms"] for each in numbers["stages_ms"]}
    parts = [times[name] for name in ("working_copy", "windows", "proposals")]
    assert min(parts) > 0
    assert sum(parts) <= numbers["analysis"]["timings_ms"]["detect"] + 0.1
    assert steps_of(explained) == STEPS


def test_one_convolution_is_laid_open_where_contrast_is_low_too(client: FlaskClient) -> None:
    faint = (skimage.data.astronaut() * 0.3 + 90).astype(np.uint8)
    assert 'class="convolution' in post(client, "/steps", {"image": encode(faint)}).text


def test_a_photo_without_a_face_ends_after_the_search(client: FlaskClient) -> None:
    answer = post(client, "/steps", {"image": encode(skimage.data.coffee())})
    page = answer.text
    assert answer.status_code == 200
    assert not {"crop", "softmax", "decision"} & set(steps_of(page))
    assert "No face found" in page


def test_the_logits_over_the_temperature_give_the_probabilities(both: zipfile.ZipFile) -> None:
    reading = json.loads(both.read("image/numbers.json"))["reading"]
    logits = np.array(list(reading["logits"].values())) / reading["temperature"]
    softmax = np.exp(logits - logits.max())
    shares = softmax / softmax.sum()
    assert list(reading["probabilities"].values()) == pytest.approx(shares, abs=1e-4)


def test_the_zip_holds_readable_pictures_of_both_photos(both: zipfile.ZipFile) -> None:
    pictures = [name for name in both.namelist() if not name.endswith(".json")]
    for side in ("image", "second"):
        shown = {name.split("/")[1][3:].split("-")[0] for name in pictures if side in name}
        assert shown >= set(STEPS) - {"spread", "softmax", "decision"}
    for name in pictures:
        Image.open(io.BytesIO(both.read(name))).load()


def test_a_limit_that_no_score_reaches_finds_no_face(client: FlaskClient) -> None:
    photo = {"image": ASTRONAUT_PNG}
    answer = post(client, "/steps/stages.zip", photo, accepted="1", effort="fast")
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert json.loads(archive.read("image/numbers.json"))["analysis"]["faces"] == []


WRONG = {
    "must lie between": ["accepted=1.1", "working_side=100000"],
    "must hold a number": ["promising=nan", "promising=many", "face=1e999"],
    "must be a whole number": ["most_proposals=2.5"],
    "has no model of that name": ["model=age"],
    "has no expression labels": ["label_set=angry"],
}


@pytest.mark.parametrize("sentence", WRONG)
def test_a_wrong_field_is_refused_in_words(client: FlaskClient, sentence: str) -> None:
    for written in WRONG[sentence]:
        answer = post(client, "/steps", {"image": ASTRONAUT_PNG}, **dict([written.split("=")]))
        assert answer.status_code == 400, written
        assert sentence in answer.text, written


def test_of_the_models_that_answer_the_first_is_explained(client: FlaskClient) -> None:
    answer = post(client, "/steps", {"image": ASTRONAUT_PNG}, models="gender")
    assert answer.status_code == 200
    assert {name for name, _ in SHOWN.findall(answer.text)} == {"female", "male"}


def test_settings_make_no_new_cascade(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("Another cascade was made.")

    monkeypatch.setattr(CascadeProposer, "__init__", refuse)
    assert post(client, "/steps", {"image": ASTRONAUT_PNG}, accepted="0.9").status_code == 200


def test_the_language_can_be_switched_where_a_zip_file_was_refused(client: FlaskClient) -> None:
    refused = post(client, "/steps/stages.zip", {})
    (came_from,) = re.findall('name="next" value="(.*?)"', refused.text)
    switched = client.post(
        "/language", data={"language": "id", "next": came_from}, follow_redirects=True
    )
    assert (switched.status_code, switched.request.path) == (200, "/steps")
    assert '<html lang="id"' in switched.text


HALF = bytes(12_000_000)


@pytest.mark.parametrize(
    ("photos", "status", "sentence"),
    [
        ({}, 400, "No photo arrived"),
        ({"image": bytes(30_000_000)}, 413, "larger than 20 MB"),
        ({"image": HALF, "second": HALF}, 413, "What you sent is larger than 20 MB"),
    ],
    ids=["none", "too large", "too large together"],
)
def test_photos_that_are_not_taken_are_refused_in_words(
    client: FlaskClient, photos: dict[str, bytes], status: int, sentence: str
) -> None:
    answer = post(client, "/steps", photos)
    assert answer.status_code == status
    assert sentence in answer.text


def test_no_photo_touches_the_disk(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("A temporary file was asked for.")

    for name in ("TemporaryFile", "SpooledTemporaryFile", "NamedTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    padded = ASTRONAUT_PNG + bytes(5_000_000)
    for address in ("/", "/steps", "/steps/stages.zip", "/api/v1/analyze"):
        assert post(client, address, {"image": padded}).status_code == 200


@pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="Only Linux lists a process's threads."
)
@pytest.mark.parametrize("threads", [1, 3])
def test_the_insides_take_no_more_threads_than_are_set(threads: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NEW_THREADS, str(threads)],
        capture_output=True,
        text=True,
        check=True,
    )
    # The one that asks is one of them.
    assert int(done.stdout) == threads - 1


@pytest.fixture(scope="module")
def keras_app() -> Flask:
    return create_app(Settings(runtime="keras"))


@pytest.mark.filterwarnings("ignore")  # TensorFlow's own
def test_the_keras_runtime_adds_grad_cam(keras_app: Flask) -> None:
    answer = post(keras_app.test_client(), "/steps/stages.zip", {"image": ASTRONAUT_PNG})
    names = zipfile.ZipFile(io.BytesIO(answer.data)).namelist()
    assert any("grad-cam-happy" in name for name in names)
