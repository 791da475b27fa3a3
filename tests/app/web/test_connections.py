import http.client
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from threading import Event, Semaphore
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask

from app.settings import FORM_BYTES
from app.vision.budget import Budget
from app.web.server import bridge, connections
from app.web.server.state import state_of
from bench.serving import write_form
from tests.helpers.forms import ASTRONAUT_PNG
from tests.helpers.servers import PATIENCE, read_all, read_answer, serving

POST = b"POST /api/v1/analyze HTTP/1.1\r\nHost: localhost\r\n"
HANDSHAKE = (
    b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
STATIC = b"GET /bootstrap/static/css/bootstrap.min.css HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Clients:
    """Open raw connections to a server."""

    def __init__(self, server: str, opened: ExitStack) -> None:
        url = urlsplit(server)
        self.address = url.hostname or "", url.port or 0
        self._opened = opened

    def send(self, data: bytes, receive_buffer: int = 0) -> socket.socket:
        client = self._opened.enter_context(closing(socket.socket()))
        client.settimeout(PATIENCE)
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.connect(self.address)
        client.sendall(data)
        return client

    def is_answered(self) -> bool:
        with closing(http.client.HTTPConnection(*self.address, timeout=PATIENCE)) as client:
            client.request("GET", "/healthz")
            return client.getresponse().status == 200


@pytest.fixture
def clients(app: Flask) -> Iterator[Clients]:
    with ExitStack() as opened, serving(app) as server:
        yield Clients(server, opened)


def read_code(client: socket.socket) -> tuple[int, str]:
    """The status and the code of a problem."""
    status, problem = read_answer(client)
    return status, problem["code"]


def test_the_oldest_silent_connections_make_room_for_new_ones(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 20)
    silent = [clients.send(b"") for _ in range(50)]
    assert clients.is_answered()
    assert [read_all(each) for each in silent[:30]] == [b""] * 30


def test_an_open_stream_outlasts_any_number_of_silent_connections(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 5)
    stream = clients.send(HANDSHAKE)
    assert stream.recv(65_536).startswith(b"HTTP/1.1 101 ")
    for _ in range(20):
        clients.send(b"")
    assert clients.is_answered()
    stream.sendall(b"\x89\x80\0\0\0\0")
    assert stream.recv(2) == b"\x8a\0"  # a pong


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: lo"], ids=["nothing", "half"])
def test_a_head_that_does_not_end_is_not_waited_for(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.1)
    assert read_all(clients.send(begun)) == b""


def test_a_slow_body_is_refused(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "PATIENCE_SECONDS", 0.1)
    client = clients.send(POST + b"Content-Length: 1000\r\n\r\nbegun")
    assert read_code(client) == (408, "request_slow")


def test_clients_that_read_nothing_are_given_up_and_hold_nobody_up(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(bridge, "LEAST_BYTES_PER_SECOND", 10_000_000)
    given_up = Semaphore(0)
    abort = connections.Connection.abort

    def abort_and_tell(connection: connections.Connection) -> None:
        abort(connection)
        given_up.release()

    monkeypatch.setattr(connections.Connection, "abort", abort_and_tell)
    readers = [clients.send(STATIC * 40, receive_buffer=1024) for _ in range(3)]
    assert clients.is_answered()
    assert all(given_up.acquire(timeout=PATIENCE) for _ in readers)


def test_pings_are_not_read_from_a_client_that_does_not_read(clients: Clients) -> None:
    stream = clients.send(HANDSHAKE, receive_buffer=1024)
    assert stream.recv(1024).startswith(b"HTTP/1.1 101 ")
    stream.settimeout(1)
    pings = 1000 * (b"\x89\xfd\0\0\0\0" + bytes(125))

    def send_100_megabytes() -> None:
        for _ in range(100_000_000 // len(pings)):
            stream.sendall(pings)

    with pytest.raises(TimeoutError):
        send_100_megabytes()


def test_bodies_of_tiny_chunks_and_long_ones_without_a_photo_are_refused(clients: Clients) -> None:
    client = clients.send(
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + 2 * bridge.MOST_CHUNKS * b"1\r\nA\r\n"
    )
    assert read_code(client) == (400, "body_fragmented")
    client = clients.send(
        b"POST /language HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        % (FORM_BYTES + 1)
    )
    assert read_answer(client)[0] == 413


def test_uploads_share_a_bounded_memory(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "MOST_LARGE_UPLOADS", 1)
    upload = POST + b"Content-Length: 20000000\r\n\r\n" + bytes(12_000_000)
    with ExitStack() as opened, serving(app) as server:
        clients = Clients(server, opened)
        clients.send(upload)
        assert read_code(clients.send(upload)) == (503, "busy")
        assert clients.is_answered()


def test_a_client_that_leaves_ends_the_work_for_it(
    clients: Clients, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = Event(), Event()

    def analyze_for_ever(*_: Any, budget: Budget, **__: Any) -> None:
        begun.set()
        try:
            while not ended.wait(0.01):
                budget.check()
        finally:
            ended.set()

    monkeypatch.setattr(state_of(app).analyzer, "analyze_file", analyze_for_ever)
    body, kind = write_form(ASTRONAUT_PNG)
    head = POST + f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    client = clients.send(head + body)
    assert begun.wait(PATIENCE)
    client.close()
    assert ended.wait(PATIENCE)
