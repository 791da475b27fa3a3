import http.client
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from app.settings import Settings
from app.web.server.bridge import PATIENCE_SECONDS
from bench.serving import write_form
from tests.helpers.forms import ASTRONAUT_PNG
from tests.helpers.servers import (
    PATIENCE,
    Server,
    fail_to_start,
    fetch,
    find_counts,
    read_all,
    read_answer,
    started,
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with started() as running:
        yield running


def connect(server: Server) -> socket.socket:
    return socket.create_connection(server.address, PATIENCE)


def test_the_counts_are_told_and_left_nowhere() -> None:
    body, kind = write_form(ASTRONAUT_PNG)
    body = body.replace(b'filename="photo"', b'filename="secret-name"')
    with started(WEB_CONCURRENCY="2") as server:
        for _ in range(4):
            assert server.ask("/api/v1/analyze", body, kind) == (200, "")
        counts = fetch(f"http://{server.netloc}/metrics")[1].decode()
        assert find_counts(server.process.pid) != []
    assert 'raut_requests_total{endpoint="api.analyze",status="200"} 4.0' in counts
    assert 'raut_stage_seconds_count{stage="detect"} 4.0' in counts
    assert not {"secret-name", "happy", "127.0.0.1"} & set(re.findall(r"[\w.-]+", counts))
    assert find_counts(server.process.pid) == []


def test_nobody_is_believed_to_be_a_proxy_unasked(server: Server) -> None:
    with closing(http.client.HTTPConnection(*server.address, timeout=PATIENCE)) as connection:
        connection.request("GET", "/", headers={"X-Forwarded-Proto": "https"})
        assert "Strict-Transport-Security" not in connection.getresponse().headers


TOO_LARGE = b"Content-Length: 30000000\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n"


def test_a_photo_of_just_the_limit_is_read_and_one_of_a_byte_more_is_not(server: Server) -> None:
    padded = ASTRONAUT_PNG + bytes(20_000_000 - len(ASTRONAUT_PNG))
    assert server.ask("/api/v1/analyze", *write_form(padded)) == (200, "")
    too_large = server.ask("/api/v1/analyze", *write_form(padded + b"\0"))
    assert too_large == (413, "image_too_large")


def test_a_body_over_the_limit_is_refused_before_it_is_read(server: Server) -> None:
    with connect(server) as client:
        client.sendall(POST + TOO_LARGE)  # and not a byte of the 30 MB
        status, problem = read_answer(client)
    assert (status, problem["code"]) == (413, "image_too_large")


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
def test_clients_that_send_no_more_hold_nobody_up(server: Server, begun: bytes) -> None:
    with ExitStack() as opened:
        for _ in range(MANY):
            opened.enter_context(connect(server)).sendall(begun)
        # Long before the server loses its patience with them.
        before = time.monotonic()
        assert server.ask("/readyz") == (200, "")
        assert time.monotonic() - before < PATIENCE_SECONDS / 2


def test_a_request_may_come_in_any_pieces(server: Server) -> None:
    body, kind = write_form(ASTRONAUT_PNG)
    head = POST + f"Content-Type: {kind}\r\n".encode()
    halves = body[:100_001], body[100_001:]
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(half), half) for half in halves) + b"0\r\n\r\n"
    with connect(server) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for request in (
            head + b"Content-Length: %d\r\n\r\n" % len(body) + body,
            head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked,
        ):
            # The head a byte at a time, the body in uneven pieces, all on one connection.
            for start in range(300):
                client.send(request[start : start + 1])
            for start in range(300, len(request), 77_777):
                client.sendall(request[start : start + 77_777])
            assert len(read_answer(client)[1]["faces"]) == 1


def test_requests_sent_ahead_are_answered_in_turn(server: Server) -> None:
    with connect(server) as client:
        client.sendall(
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
            b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        answers = read_all(client)
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.index(b'"alive"') < answers.index(b'"ready"')


def test_a_client_that_asks_before_it_sends_is_told_to(server: Server) -> None:
    with connect(server) as client:
        client.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"hello")
        assert read_answer(client)[1]["code"] == "image_missing"


def test_a_photo_refused_for_now_may_be_sent_again_on_its_connection() -> None:
    body, kind = write_form(ASTRONAUT_PNG)

    with (
        started(WEB_CONCURRENCY="1", RAUT_QUEUE_SECONDS="0") as alone,
        ThreadPoolExecutor(8) as clients,
    ):

        def send_five(_: int) -> list[tuple[int, bool]]:
            """The status of each answer, and whether the connection was kept."""
            seen = []
            with closing(http.client.HTTPConnection(alone.netloc, timeout=PATIENCE)) as connection:
                for _ in range(5):
                    connection.request("POST", "/api/v1/analyze", body, {"Content-Type": kind})
                    answer = connection.getresponse()
                    answer.read()
                    seen.append((answer.status, connection.sock is not None))
            return seen

        seen = [each for client in clients.map(send_five, range(8)) for each in client]
    assert {status for status, _ in seen} == {200, 503}
    assert all(kept for _, kept in seen)


def test_what_follows_a_body_that_was_refused_unread_is_no_request(server: Server) -> None:
    with connect(server) as client:
        client.sendall(POST + TOO_LARGE + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answers = read_all(client)
    assert answers.count(b"HTTP/1.1 ") == 1
    assert b"image_too_large" in answers


@pytest.mark.parametrize(
    ("name", "value"), [("RAUT_THREADS", "0"), ("WEB_CONCURRENCY", "0"), ("PORT", "http")]
)
def test_a_setting_that_is_none_ends_the_start_with_a_sentence(name: str, value: str) -> None:
    fail_to_start(f"Raut can't start: {name}", **{name: value})


def test_a_server_that_finds_its_port_taken_leaves_nothing(server: Server) -> None:
    fail_to_start("already in use", PORT=str(server.port))


def test_a_bad_model_file_is_named_and_nothing_starts(models: Path) -> None:
    file = models / "gender" / "model.onnx"
    file.write_bytes(b"altered")
    fail_to_start(f"Raut can't start: {file}", RAUT_MODELS=str(models))
