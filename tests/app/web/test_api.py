import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from werkzeug.datastructures import FileStorage

from app.__main__ import cli
from app.vision.imaging.decoding import FORMATS
from app.vision.pipeline import FaceAnalyzer
from tests.helpers.forms import ASTRONAUT, ASTRONAUT_PNG, analyze, encode, post

PPM = encode(np.zeros((32, 32), np.uint8), "PPM")


def huge_png_header() -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 1) + b"IDAT\x00" + b"\x00" * 4


def test_the_astronaut_is_happy_and_female_by_the_api_the_command_line_and_in_python(
    client: FlaskClient, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(ASTRONAUT_PNG)
    answer = analyze(client, ASTRONAUT_PNG).get_json()
    by_api = answer["faces"]
    by_command = json.loads(CliRunner().invoke(cli, ["analyze", str(photo)]).stdout)[0]["faces"]
    by_call = FaceAnalyzer.load("models").analyze(ASTRONAUT).to_json()["faces"]
    assert by_api == by_command == by_call
    (face,) = by_api
    assert (face["expression"]["label"], face["gender"]["label"]) == ("happy", "female")
    assert answer["image"] == {"width": 512, "height": 512, "complete": True}


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "image_empty"),
        (b"no picture at all", 415, "image_type"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "image_type"),
        (PPM, 415, "image_type"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), 415, "image_type"),
        (encode(np.zeros((99, 99, 3), np.uint8), "JPEG")[:400], 422, "image_unreadable"),
        (huge_png_header(), 422, "image_dimensions"),
        (encode(np.zeros((1, 1, 3), np.uint8)), 422, "image_dimensions"),
        (bytes(30_000_000), 413, "image_too_large"),
    ],
    ids=["empty", "text", "svg", "ppm", "heic", "truncated", "claims 60000x60000", "1x1", "30 MB"],
)
def test_bad_bytes_are_refused(client: FlaskClient, content: bytes, status: int, code: str) -> None:
    answer = analyze(client, content)
    assert (answer.status_code, answer.get_json()["code"]) == (status, code)
    assert answer.content_type == "application/problem+json"
    assert answer.get_json().get("accepted", list(FORMATS)) == list(FORMATS)
    assert status != 415 or "JPEG, PNG, WebP" in answer.get_json()["detail"]


@pytest.mark.parametrize("photos", [{}, {"photo": b"anything"}, {"": b"anything"}])
def test_a_form_without_an_image_is_refused(client: FlaskClient, photos: dict[str, bytes]) -> None:
    answer = post(client, "/api/v1/analyze", photos)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "image_missing")


def test_a_field_too_long_is_not_called_a_photo_too_large(client: FlaskClient) -> None:
    answer = analyze(client, ASTRONAUT_PNG, models="x" * 600_000)
    problem = answer.get_json()
    assert (answer.status_code, problem["code"]) == (413, "field_too_large")
    assert "500 kB" in problem["detail"]


@pytest.mark.parametrize(
    ("method", "address", "options", "code"),
    [
        ("GET", "/nowhere", {}, "not_found"),
        ("POST", "/healthz", {}, "method_not_allowed"),
        ("POST", "/language", {"data": {"next": "x" * 600_000}}, "request_too_large"),
        (
            "GET",
            "/static/favicon.svg",
            {"headers": {"Range": "bytes=9999999-"}},
            "range_unsatisfiable",
        ),
    ],
)
def test_what_the_framework_refuses_has_a_code_of_ours(
    client: FlaskClient, method: str, address: str, options: dict[str, Any], code: str
) -> None:
    answer = client.open(address, method=method, **options)
    assert answer.get_json()["code"] == code


@pytest.mark.parametrize("address", ["/api/v1/analyze", "/", "/steps", "/language", "/models"])
def test_a_long_form_without_files_is_not_taken_apart(client: FlaskClient, address: str) -> None:
    # Ten million fields would take a gigabyte.
    answer = client.post(
        address, data=b"a&" * 300_000, content_type="application/x-www-form-urlencoded"
    )
    assert answer.status_code == 413


def test_a_strip_of_10000_by_20_pixels_has_no_face(client: FlaskClient) -> None:
    answer = analyze(client, encode(np.zeros((20, 10000, 3), np.uint8)))
    assert (answer.status_code, answer.get_json()["faces"]) == (200, [])


@pytest.mark.parametrize(
    ("field", "value", "code", "choice"),
    [
        ("models", "age", "unknown_model", "gender"),
        ("detector", "mtcnn", "unknown_detector", "haar"),
        ("effort", "heroic", "unknown_effort", "thorough"),
        ("label_set", "new", "unknown_labels", "ferplus"),
    ],
)
def test_an_unknown_choice_is_refused_with_those_that_exist(
    client: FlaskClient, field: str, value: str, code: str, choice: str
) -> None:
    answer = analyze(client, ASTRONAUT_PNG, **{field: value})
    assert (answer.status_code, answer.get_json()["code"]) == (400, code)
    assert choice in answer.get_json()["choices"]


@pytest.mark.parametrize("detector", ["combined", "haar"])
def test_each_detector_finds_a_frontal_face(client: FlaskClient, detector: str) -> None:
    assert len(analyze(client, ASTRONAUT_PNG, detector=detector).get_json()["faces"]) == 1


def test_a_found_face_costs_no_further_pass(client: FlaskClient) -> None:
    timings = analyze(client, ASTRONAUT_PNG, effort="fast").get_json()["timings_ms"]
    assert timings["detect_first_pass"] > 0
    assert timings["detect_more_passes"] == 0


def test_only_the_named_model_answers(client: FlaskClient) -> None:
    (face,) = analyze(client, ASTRONAUT_PNG, models="gender").get_json()["faces"]
    assert "gender" in face
    assert "expression" not in face


def test_two_photos_in_one_form_are_refused(client: FlaskClient) -> None:
    files = [FileStorage(io.BytesIO(b"x"), name) for name in ("a.png", "b.png")]
    answer = client.post("/api/v1/analyze", data={"image": files})
    assert (answer.status_code, answer.get_json()["code"]) == (400, "image_several")
    twice = [FileStorage(io.BytesIO(b"x"), name) for name in "ab"]
    page = client.post("/", data={"image": twice})
    assert "More than one photo arrived." in page.text


def test_a_photo_that_breaks_off_is_read_and_said_to(client: FlaskClient) -> None:
    data = encode(ASTRONAUT, "JPEG", quality=90)
    answer = analyze(client, data[: len(data) * 3 // 4]).get_json()
    assert answer["image"] == {"width": 512, "height": 512, "complete": False}
    assert len(answer["faces"]) == 1
    page = post(client, "/", {"image": data[:-2]}).text
    assert "read as far as it goes" in page


def test_a_name_that_is_not_utf8_is_none_of_the_servers_business(client: FlaskClient) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="caf\xe9.png"\r\n\r\n'
    answer = client.post(
        "/api/v1/analyze",
        data=head + ASTRONAUT_PNG + b"\r\n--b--\r\n",
        content_type="multipart/form-data; boundary=b",
    )
    assert len(answer.get_json()["faces"]) == 1
