"""Test what the page /teach asks the server for."""

import base64
from typing import Any

import numpy as np
import pytest
import skimage.data
from flask.testing import FlaskClient

from tests.helpers.forms import encode, post

FEATURES = "/api/v1/features"


def ask(client: FlaskClient, photo: bytes, **fields: Any) -> dict[str, Any]:
    answer: dict[str, Any] = post(client, FEATURES, {"image": photo}, **fields).get_json()
    return answer


@pytest.mark.parametrize("region", ["face", "image"])
def test_a_photo_has_the_same_features_each_time_under_the_networks_version(
    client: FlaskClient, astronaut_png: bytes, region: str
) -> None:
    first, again = (ask(client, astronaut_png, region=region) for _ in range(2))
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


def test_an_unknown_region_is_refused_with_the_choices(
    client: FlaskClient, astronaut_png: bytes
) -> None:
    answer = ask(client, astronaut_png, region="hand")
    assert (answer["status"], answer["code"]) == (400, "unknown_region")
