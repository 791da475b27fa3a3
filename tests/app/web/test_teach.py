import base64
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from flask.testing import FlaskClient

from app import create_app
from app.settings import Settings
from app.vision.geometry import softmax
from tests.helpers.forms import ASTRONAUT_PNG, analyze, encode, post

FEATURES, HEADS = "/api/v1/features", "/api/v1/heads"
HEAD: dict[str, Any] = {
    "name": "masks",
    "region": "face",
    "classes": [
        {"name": "mask", "en": "Mask", "id": "Masker"},
        {"name": "no mask", "en": "No mask", "id": "Tanpa masker"},
    ],
    "bias": [0.25, -0.5],
    "temperature": 2.0,
    "threshold": 0.6,
    "figures": {
        "accuracy": 0.9,
        "low": 0.8,
        "high": 0.95,
        "samples": {"mask": 10, "no mask": 10},
        "recordings": 4,
        "confusion": [[9, 1], [1, 9]],
        "answered": 0.9,
        "right": 0.95,
    },
}


def ask(client: FlaskClient, photo: bytes, **fields: Any) -> dict[str, Any]:
    answer: dict[str, Any] = post(client, FEATURES, {"image": photo}, **fields).get_json()
    return answer


@pytest.mark.parametrize("region", ["face", "image"])
def test_a_photo_has_the_same_features_each_time_under_the_networks_version(
    client: FlaskClient, region: str
) -> None:
    first, again = (ask(client, ASTRONAUT_PNG, region=region) for _ in range(2))
    assert first == again
    features = np.frombuffer(base64.b64decode(first["features"]), "<f4")
    assert len(features) == first["length"]
    assert features.std() > 0
    assert len(base64.b64decode(first["pixels"])) == 24 * 24
    assert (first["box"] is None) == (region == "image")
    assert len(first["version"]) == 12


def test_a_photo_without_a_face_has_no_features_and_says_why(client: FlaskClient) -> None:
    answer = ask(client, encode(skimage.data.coffee()[::2, ::2]))
    assert (answer["features"], answer["box"], answer["reason"]) == (None, None, "no_face")


def test_an_unknown_region_is_refused_with_the_choices(client: FlaskClient) -> None:
    answer = ask(client, ASTRONAUT_PNG, region="hand")
    assert (answer["status"], answer["code"]) == (400, "unknown_region")


def make_head(answer: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
    """Return a head of random weights for the networks of an answer, and its weights."""
    generator = np.random.default_rng(1)
    weights = generator.normal(0, 0.02, (2, answer["length"])).astype("<f4")
    encoded = base64.b64encode(weights.tobytes()).decode()
    return HEAD | {"version": answer["version"], "weights": encoded}, weights


def test_a_taught_head_is_served_everywhere_as_computed_from_its_features(
    client: FlaskClient, models: Path
) -> None:
    sample = ask(client, ASTRONAUT_PNG)
    head, weights = make_head(sample)
    answer = client.post(HEADS, json=head)
    assert (answer.status_code, answer.content_type) == (200, "application/zip")
    zipfile.ZipFile(io.BytesIO(answer.data)).extractall(models)
    served = create_app(Settings(models=models)).test_client()

    (face,) = analyze(served, ASTRONAUT_PNG).get_json()["faces"]
    features = np.frombuffer(base64.b64decode(sample["features"]), "<f4")
    logits = features @ weights.T + np.array(head["bias"])
    expected = softmax(logits[None] / head["temperature"])[0]
    assert list(face["masks"]["probabilities"]) == ["mask", "no mask"]
    assert list(face["masks"]["probabilities"].values()) == pytest.approx(expected, abs=2e-4)

    cards = {card["name"]: card for card in served.get("/api/v1/models").get_json()["models"]}
    assert cards["masks"]["labels"]["no mask"] == {"en": "No mask", "id": "Tanpa masker"}
    assert "90.0%" in served.get("/models").text
    assert "No mask" in served.get("/models/masks").text
    assert "Tanpa masker" in served.get("/models/masks", headers={"Accept-Language": "id"}).text
    assert '"no mask": "No mask"' in served.get("/").text
    for path in ("/about", "/realtime", "/video", "/steps"):
        assert served.get(path).status_code == 200
    steps = post(served, "/steps", {"image": ASTRONAUT_PNG}, model="masks")
    assert steps.status_code == 200
    assert "No mask" in steps.text
    assert ask(served, ASTRONAUT_PNG) == sample  # no taught model is a body


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"name": "Masks!"}, "head_invalid", "name"),
        ({"name": "expression"}, "name_taken", None),
        ({"name": "proposer"}, "name_taken", None),
        ({"name": "track"}, "name_taken", None),
        ({"region": "hand"}, "head_invalid", "region"),
        ({"version": "0" * 12}, "features_outdated", None),
        ({"classes": HEAD["classes"][:1]}, "head_invalid", "classes"),
        ({"classes": [HEAD["classes"][0]] * 2}, "head_invalid", "classes"),
        ({"classes": [{"name": "<b>", "en": "a", "id": "a"}] * 2}, "head_invalid", "classes"),
        ({"weights": "AAAA"}, "head_invalid", "weights"),
        ({"weights": "no base64"}, "head_invalid", "weights"),
        ({"bias": [1.0]}, "head_invalid", "bias"),
        ({"bias": [1e39, 0.0]}, "head_invalid", "bias"),
        ({"temperature": 0}, "head_invalid", "temperature"),
        ({"threshold": 1.5}, "head_invalid", "threshold"),
        ({"figures": {}}, "head_invalid", "figures"),
        ({"more": 1}, "head_invalid", "more"),
    ],
)
def test_a_head_that_lacks_something_is_refused_in_words(
    client: FlaskClient, change: dict[str, Any], code: str, field: str | None
) -> None:
    head, _ = make_head(ask(client, ASTRONAUT_PNG, region="image"))
    answer = client.post(HEADS, json=head | {"region": "image"} | change)
    problem = answer.get_json()
    assert answer.status_code == (409 if code == "features_outdated" else 422)
    assert (problem["code"], problem.get("field")) == (code, field)
    assert len(problem["detail"]) > 30


def test_a_body_that_is_no_json_is_refused(client: FlaskClient) -> None:
    for data in (b"{", b"[" * 200_000):
        answer = client.post(HEADS, data=data, content_type="application/json")
        assert answer.get_json()["code"] == "head_invalid"
