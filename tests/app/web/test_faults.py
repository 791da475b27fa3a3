import http.client
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from websockets.sync.client import connect as open_socket

from bench.serving import find_free_port, list_children, write_form
from tests.helpers.forms import ASTRONAUT_PNG
from tests.helpers.servers import (
    FRAME,
    GRACE_SECONDS,
    PATIENCE,
    Server,
    ask,
    fetch,
    goodbye,
    read_answer,
    start,
    started,
    wait_until_open,
)


class Upload:
    """A photo on its way: the worker has its head, and says so, before the rest is sent."""

    def __init__(self, connection: socket.socket, photo: bytes) -> None:
        self.connection = connection
        body, kind = write_form(photo)
        head = (
            "POST /api/v1/analyze HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body[:100])
        self._body = body[100:]

    def finish(self) -> int:
        """Send the rest; return the answer's status, or 0 where the connection broke."""
        try:
            self.connection.sendall(self._body)
            status, answer = read_answer(self.connection)
        except (OSError, http.client.HTTPException):
            return 0
        assert status != 200 or len(answer["faces"]) == 1
        return status


@contextmanager
def uploads(server: Server, photo: bytes, count: int) -> Iterator[list[Upload]]:
    with ExitStack() as opened:
        yield [
            Upload(opened.enter_context(socket.create_connection(server.address, PATIENCE)), photo)
            for _ in range(count)
        ]


def test_a_server_told_to_end_takes_leave_of_everybody() -> None:
    with (
        started(HOME="/nowhere", TMPDIR="/nowhere") as server,
        open_socket(server.stream) as live,
        uploads(server, ASTRONAUT_PNG, 1) as (upload,),
    ):
        assert ask(live, FRAME)["frame"] == 1
        server.process.send_signal(signal.SIGTERM)
        assert goodbye(live) == (1001, "server_stops")
        assert upload.finish() == 200
        assert server.process.wait(GRACE_SECONDS) == 0


def test_a_killed_worker_takes_only_its_own_requests_along() -> None:
    # Room enough that no upload is refused for the others.
    with (
        started(WEB_CONCURRENCY="2", RAUT_QUEUE_SECONDS="30") as server,
        open_socket(server.stream) as live,
        uploads(server, ASTRONAUT_PNG, 6) as begun,
    ):
        victim, other = list_children(server.process.pid)
        os.kill(victim, signal.SIGKILL)
        server.wait_for(r"Booting worker with pid")
        assert {upload.finish() for upload in begun} <= {0, 200}
        assert {server.ask("/readyz") for _ in range(10)} == {(200, "")}
        alive = list_children(server.process.pid)
        assert other in alive
        assert len(alive) == 2
        live.close()
        with uploads(server, ASTRONAUT_PNG, 4) as again:
            assert {upload.finish() for upload in again} == {200}


def test_a_full_disk_under_the_log_stops_nothing() -> None:
    port = find_free_port()
    full = ["sh", "-c", 'exec "$@" > /dev/full 2>&1', "sh"]
    process = start(full, PORT=str(port))
    try:
        wait_until_open(port, process)
        for _ in range(3):
            url = f"http://127.0.0.1:{port}/api/v1/analyze"
            status, answer = fetch(url, *write_form(ASTRONAUT_PNG))
            assert (status, len(json.loads(answer)["faces"])) == (200, 1)
    finally:
        process.terminate()
        process.communicate()
    assert process.returncode == 0


READ_ONLY = ["unshare", "--mount", "sh", "-c", 'mount -o remount,bind,ro / && exec "$@"', "sh"]


def may_mount() -> bool:
    """Tell whether this user may have a file system of its own."""
    with suppress(OSError):
        return subprocess.run([*READ_ONLY, "true"], capture_output=True).returncode == 0
    return False


@pytest.mark.skipif(not may_mount(), reason="Only root may have a file system of its own.")
def test_a_read_only_file_system_is_enough() -> None:
    body, kind = write_form(ASTRONAUT_PNG)
    with started(READ_ONLY) as server:
        refused = subprocess.run(
            ["nsenter", "--mount", "--target", str(server.process.pid), "touch", Path.cwd()],
            capture_output=True,
            text=True,
        )
        assert "Read-only file system" in refused.stderr
        assert server.ask("/api/v1/analyze", body, kind) == (200, "")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(GRACE_SECONDS) == 0
