"""Test the server as `make serve` starts it: gunicorn with its configuration."""

import http.client
import io
import json
import re
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from app.settings import Settings
from app.vision.models.cards import load_card
from app.vision.models.files import FILES, choose_file
from app.web.server.bridge import PATIENCE_SECONDS
from tests.helpers.cards import hash_files, read_card, rewrite_card
from tests.helpers.servers import PATIENCE, start, started


def last_body(client: socket.socket) -> bytes:
    """The body of the answer that comes after any interim ones."""
    answer = http.client.HTTPResponse(client)
    answer.begin()  # skips interim answers
    return answer.read()


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    """Where a started server answers."""
    with started() as server:
        yield server.place


def test_a_started_server_is_ready(address: tuple[str, int]) -> None:
    with urllib.request.urlopen(f"http://{address[0]}:{address[1]}/readyz") as answer:
        assert answer.status == 200


def test_the_counts_are_told_and_left_nowhere(astronaut_png: bytes) -> None:
    photo = FileStorage(io.BytesIO(astronaut_png), "secret-name.png")
    boundary, body = encode_multipart({"image": photo})
    kind = f"multipart/form-data; boundary={boundary}"
    with started(WEB_CONCURRENCY="2") as server:
        address = f"http://{server.netloc}"
        for _ in range(4):
            asked = urllib.request.Request(
                f"{address}/api/v1/analyze", body, {"Content-Type": kind}
            )
            urllib.request.urlopen(asked).close()
        with urllib.request.urlopen(f"{address}/metrics") as answer:
            counts = answer.read().decode()
        assert folders_of(server.process) != []
    assert 'raut_requests_total{endpoint="api.analyze",status="200"} 4.0' in counts
    assert 'raut_stage_seconds_count{stage="detect"} 4.0' in counts
    assert not {"secret-name", "happy", "127.0.0.1"} & set(re.findall(r"[\w.-]+", counts))
    assert folders_of(server.process) == []


def test_nobody_is_believed_to_be_a_proxy_unasked(address: tuple[str, int]) -> None:
    with closing(http.client.HTTPConnection(*address, timeout=30)) as connection:
        connection.request("GET", "/", headers={"X-Forwarded-Proto": "https"})
        assert "Strict-Transport-Security" not in connection.getresponse().headers


def folders_of(process: subprocess.Popen[str]) -> list[Path]:
    """Where a server's workers count together."""
    return list(Path("/dev/shm").glob(f"raut-counts-{process.pid}-*"))


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


def test_a_photo_of_just_the_limit_is_read(address: tuple[str, int], astronaut_png: bytes) -> None:
    padded = astronaut_png + bytes(20_000_000 - len(astronaut_png))
    boundary, body = encode_multipart({"image": FileStorage(io.BytesIO(padded), "a.png")})
    asked = urllib.request.Request(
        f"http://{address[0]}:{address[1]}/api/v1/analyze",
        body,
        {"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    with urllib.request.urlopen(asked) as answer:
        assert len(json.load(answer)["faces"]) == 1


POST = b"POST /api/v1/analyze HTTP/1.1\r\nHost: localhost\r\n"
# More than the threads of one worker, and the live streams.
MANY = 8 + Settings().max_streams + 10


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /readyz HTT",
        POST + b"Content-Length: 1000\r\n\r\n--bound",
        POST + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n--",
    ],
    ids=["nothing", "half a head", "half a body", "half a chunk"],
)
def test_clients_that_send_no_more_hold_nobody_up(address: tuple[str, int], begun: bytes) -> None:
    with ExitStack() as opened:
        for _ in range(MANY):
            client = opened.enter_context(socket.create_connection(address))
            client.sendall(begun)
        # Long before the server loses its patience with them.
        with urllib.request.urlopen(
            f"http://{address[0]}:{address[1]}/readyz", timeout=PATIENCE_SECONDS / 2
        ) as answer:
            assert answer.status == 200


def test_a_request_may_come_in_any_pieces(address: tuple[str, int], astronaut_png: bytes) -> None:
    boundary, body = encode_multipart({"image": FileStorage(io.BytesIO(astronaut_png), "a.png")})
    head = (
        "POST /api/v1/analyze HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: multipart/form-data; boundary={boundary}\r\n"
    ).encode()
    halves = body[:100_001], body[100_001:]
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(half), half) for half in halves) + b"0\r\n\r\n"
    with socket.create_connection(address, timeout=30) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for request in (
            head + b"Content-Length: %d\r\n\r\n" % len(body) + body,
            head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked,
        ):
            # The head a byte at a time, the body in uneven pieces, all on one connection.
            for place in range(300):
                client.send(request[place : place + 1])
            for place in range(300, len(request), 77_777):
                client.sendall(request[place : place + 77_777])
            answer = http.client.HTTPResponse(client)
            answer.begin()
            assert len(json.load(answer)["faces"]) == 1


def test_requests_sent_ahead_are_answered_in_turn(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=30) as client:
        client.sendall(
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
            b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        answers = b"".join(iter(lambda: client.recv(65_536), b""))
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.index(b'"alive"') < answers.index(b'"ready"')


def test_a_client_that_asks_before_it_sends_is_told_to(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=30) as client:
        client.sendall(
            b"POST /api/v1/analyze HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            b"Content-Length: 5\r\n\r\n"
        )
        assert client.recv(65_536).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"hello")
        assert json.loads(last_body(client))["code"] == "image_missing"


def test_a_photo_refused_for_now_may_be_sent_again_on_its_connection(astronaut_png: bytes) -> None:
    boundary, body = encode_multipart({"image": FileStorage(io.BytesIO(astronaut_png), "a.png")})
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}

    def send_five(_: int) -> list[tuple[int, bool]]:
        """The status of each answer, and whether the connection was kept."""
        seen = []
        with closing(http.client.HTTPConnection(*server.place, timeout=30)) as connection:
            for _ in range(5):
                connection.request("POST", "/api/v1/analyze", body, kind)
                answer = connection.getresponse()
                answer.read()
                seen.append((answer.status, connection.sock is not None))
        return seen

    with (
        started(WEB_CONCURRENCY="1", RAUT_QUEUE_SECONDS="0") as server,
        ThreadPoolExecutor(8) as clients,
    ):
        seen = [each for client in clients.map(send_five, range(8)) for each in client]
    assert {status for status, _ in seen} == {200, 503}
    assert all(kept for _, kept in seen)


def test_what_follows_a_body_that_was_refused_unread_is_no_request(
    address: tuple[str, int],
) -> None:
    with socket.create_connection(address, timeout=30) as client:
        client.sendall(
            b"POST /api/v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30000000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        answers = b"".join(iter(lambda: client.recv(65_536), b""))
    assert answers.count(b"HTTP/1.1 ") == 1
    assert b"image_too_large" in answers


def test_a_file_that_is_no_model_ends_the_start_with_a_sentence(models: Path) -> None:
    file = models / "gender" / FILES[choose_file("auto", load_card(models / "gender"))]
    file.write_bytes(b"no model")
    rewrite_card(file.parent, files=hash_files(file.parent))
    server = start(PORT="0", RAUT_MODELS=str(models))
    output, _ = server.communicate(timeout=PATIENCE)
    assert server.returncode == 1
    assert f"Raut can't start: {file} can't be read as a model" in output
    assert "Traceback" not in output


def test_labels_that_the_model_lacks_end_the_start_with_a_sentence(models: Path) -> None:
    heads = read_card(models / "expression")["heads"]
    rewrite_card(
        models / "expression", heads={"original": heads["original"]}, default_head="original"
    )
    server = start(PORT="0", RAUT_MODELS=str(models), RAUT_LABEL_SET="ferplus")
    output, _ = server.communicate(timeout=PATIENCE)
    assert server.returncode == 1
    assert "has no labels 'ferplus'. Choose from original." in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("name", "value"), [("RAUT_THREADS", "0"), ("WEB_CONCURRENCY", "0"), ("PORT", "http")]
)
def test_a_setting_that_is_none_ends_the_start_with_a_sentence(name: str, value: str) -> None:
    server = start(**{"PORT": "0", name: value})
    output, _ = server.communicate(timeout=PATIENCE)
    assert server.returncode == 1
    assert f"Raut can't start: {name}" in output
    assert "Traceback" not in output


def test_a_server_that_finds_its_port_taken_leaves_nothing(address: tuple[str, int]) -> None:
    server = start(PORT=str(address[1]))
    output, _ = server.communicate(timeout=PATIENCE)
    assert server.returncode != 0
    assert "already in use" in output
    assert folders_of(server) == []


@pytest.mark.parametrize("fault", ["altered", "missing"])
def test_a_bad_model_file_is_named_and_nothing_starts(models: Path, fault: str) -> None:
    file = models / "gender" / "model.onnx"
    if fault == "altered":
        file.write_bytes(file.read_bytes() + b"\0")
    else:
        file.unlink()
    server = start(PORT="0", RAUT_MODELS=str(models))
    output, _ = server.communicate(timeout=PATIENCE)
    assert server.returncode != 0
    assert f"Raut can't start: {file}" in output
    assert "Traceback" not in output
