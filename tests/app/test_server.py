"""Test the server as `make serve` starts it: gunicorn with its configuration."""

import http.client
import io
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from tests.app.cards import hash_files, read_card, rewrite_card


def start(**environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--no-control-socket", "wsgi:app"],
        env={**os.environ, "WEB_CONCURRENCY": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_port(server: subprocess.Popen[str]) -> int:
    """Wait until a server says where it listens."""
    assert server.stdout
    for line in server.stdout:
        listening = re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", line)
        if listening:
            return int(listening[1])
    pytest.fail("The server did not start.")


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    """Where a started server answers."""
    server = start(PORT="0")
    yield "127.0.0.1", read_port(server)
    server.terminate()
    server.communicate()


def test_a_started_server_is_ready(address: tuple[str, int]) -> None:
    with urllib.request.urlopen(f"http://{address[0]}:{address[1]}/readyz") as answer:
        assert answer.status == 200


def test_the_counts_are_told_and_left_nowhere(astronaut_png: bytes) -> None:
    before = set(Path("/dev/shm").glob("raut-*"))
    server = start(PORT="0", WEB_CONCURRENCY="2")
    address = f"http://127.0.0.1:{read_port(server)}"
    photo = FileStorage(io.BytesIO(astronaut_png), "secret-name.png")
    boundary, body = encode_multipart({"image": photo})
    kind = f"multipart/form-data; boundary={boundary}"
    for _ in range(4):
        asked = urllib.request.Request(f"{address}/api/v1/analyze", body, {"Content-Type": kind})
        urllib.request.urlopen(asked).close()
    with urllib.request.urlopen(f"{address}/metrics") as answer:
        counts = answer.read().decode()
    server.terminate()
    server.communicate()
    assert 'raut_requests_total{endpoint="api.analyze",status="200"} 4.0' in counts
    assert 'raut_stage_seconds_count{stage="detect"} 4.0' in counts
    assert not {"secret-name", "happy", "127.0.0.1"} & set(re.findall(r"[\w.-]+", counts))
    assert set(Path("/dev/shm").glob("raut-*")) == before


def test_a_body_over_the_limit_is_refused_before_it_is_read(address: tuple[str, int]) -> None:
    connection = http.client.HTTPConnection(*address, timeout=30)
    connection.putrequest("POST", "/api/v1/analyze")
    connection.putheader("Content-Length", "30000000")
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.endheaders()  # and not a byte of the 30 MB
    answer = connection.getresponse()
    assert answer.status == 413
    assert json.load(answer)["code"] == "image_too_large"
    connection.close()


def test_a_file_that_is_no_model_ends_the_start_with_a_sentence(models: Path) -> None:
    file = models / "gender" / "model.onnx"
    file.write_bytes(b"no model")
    rewrite_card(file.parent, files=hash_files(file.parent))
    server = start(PORT="0", RAUT_MODELS=str(models))
    output, _ = server.communicate()
    assert server.returncode == 1
    assert f"Raut can't start: {file} can't be read as a model" in output
    assert "Traceback" not in output


def test_labels_that_the_model_lacks_end_the_start_with_a_sentence(models: Path) -> None:
    heads = read_card(models / "expression")["heads"]
    rewrite_card(models / "expression", heads={"original": heads["original"]}, answers="original")
    server = start(PORT="0", RAUT_MODELS=str(models), RAUT_EXPRESSION_LABELS="ferplus")
    output, _ = server.communicate()
    assert server.returncode == 1
    assert "has no labels 'ferplus'. Choose from original." in output
    assert "Traceback" not in output


@pytest.mark.parametrize("fault", ["altered", "missing"])
def test_a_bad_model_file_is_named_and_nothing_starts(models: Path, fault: str) -> None:
    file = models / "gender" / "model.onnx"
    if fault == "altered":
        file.write_bytes(file.read_bytes() + b"\0")
    else:
        file.unlink()
    server = start(PORT="0", RAUT_MODELS=str(models))
    output, _ = server.communicate()
    assert server.returncode != 0
    assert f"Raut can't start: {file}" in output
    assert "Traceback" not in output
