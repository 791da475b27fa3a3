"""Servers to test: processes as `make serve` starts them, and one in this process."""

import asyncio
import json
import os
import re
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import skimage.data
from flask import Flask
from gunicorn.config import Config
from gunicorn.glogging import Logger
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from app.web.asgi import ASGIApplication
from app.web.server.worker import PROTOCOL_SETTINGS, Worker
from bench.moving import encode_frame
from bench.serving import start_server, write_form

GRACE_SECONDS = 30  # gunicorn's own, for requests under way
PATIENCE = 20
FRAME = encode_frame(skimage.data.astronaut())


class Server:
    """A started server: its address, its first process, and its output."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.host = "127.0.0.1"
        self.process = process
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        # Reads all the while: a full pipe would stop the server.
        self._reader = Thread(target=self._read)
        self._reader.start()
        self.port = int(self.wait_for(r"Listening at: http://127\.0\.0\.1:(\d+)")[1])

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def netloc(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def stream(self) -> str:
        return find_stream(f"http://{self.netloc}")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait for a line of the output."""
        while (line := self._lines.get()) is not None:
            if found := re.search(pattern, line):
                return found
        pytest.fail(f"The server ended and never wrote {pattern!r}.")

    def ask(self, path: str, body: bytes | None = None, kind: str = "") -> tuple[int, str]:
        """Return the response's status, and the code of a problem."""
        status, answer = fetch(f"http://{self.netloc}{path}", body, kind)
        return status, json.loads(answer)["code"] if status >= 400 else ""

    def end(self) -> list[str]:
        """Terminate the server; returns the output since the last wait."""
        self.process.terminate()
        self._reader.join()
        self.process.wait()
        return [line for _ in range(self._lines.qsize()) if (line := self._lines.get())]

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout:
            for line in self.process.stdout:
                self._lines.put(line)
        self._lines.put(None)


def start(within: Sequence[str | Path] = (), **environment: str) -> subprocess.Popen[str]:
    """Start a server of one worker."""
    return start_server({"WEB_CONCURRENCY": "1", **environment}, within)


@contextmanager
def all_started(
    *environments: dict[str, str], within: Sequence[str | Path] = ()
) -> Iterator[list[Server]]:
    """Run servers side by side."""
    processes = [start(within, **{"PORT": "0", **each}) for each in environments]
    servers = [Server(process) for process in processes]
    try:
        yield servers
    finally:
        for process in processes:
            process.terminate()
        for server in servers:
            server.end()


@contextmanager
def started(within: Sequence[str | Path] = (), **environment: str) -> Iterator[Server]:
    with all_started(environment, within=within) as (server,):
        yield server


def fetch(url: str, body: bytes | None = None, kind: str = "") -> tuple[int, bytes]:
    """Return the status and the body of any response."""
    try:
        with urlopen(Request(url, body, {"Content-Type": kind}), timeout=PATIENCE) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


def count_statuses(*servers: Server) -> Counter[int]:
    """Send 30 bodies that are no photos to servers in turn, eight at once."""
    body, kind = write_form(b"no photo")

    def send(number: int) -> int:
        return servers[number % len(servers)].ask("/api/v1/analyze", body, kind)[0]

    with ThreadPoolExecutor(8) as pool:
        return Counter(pool.map(send, range(30)))


def wait_until_open(port: int, process: subprocess.Popen[Any]) -> None:
    """Wait until a process that can't say so listens at a port of this machine."""
    ends = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < ends:
        with suppress(OSError):
            return socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    pytest.fail(f"{process.args!r} did not start.")


def fail_to_start(reason: str, **environment: str) -> None:
    """Start a server that ends with a sentence, without a traceback, and leaves nothing."""
    process = start(**{"PORT": "0", **environment})
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, output
    assert reason in output
    assert "Traceback" not in output
    assert "secret" not in output
    assert find_counts(process.pid) == []


def find_counts(pid: int) -> list[Path]:
    """Return the folder in which a server's workers count together."""
    return list(Path("/dev/shm").glob(f"raut-counts-{pid}-*"))


class InProcessWorker(Worker):
    """gunicorn's worker, without its processes and signals."""

    def __init__(self, app: Flask, listener: socket.socket) -> None:
        settings = Config()
        for name, value in PROTOCOL_SETTINGS.items():
            settings.set(name, value)
        inherited = SimpleNamespace(sock=listener, close=listener.close)
        super().__init__(0, os.getppid(), [inherited], None, 60, settings, Logger(settings))
        self.asgi = ASGIApplication(app)
        self._setup_event_loop()
        self._served = self.loop.create_task(self._serve())

    def run(self) -> None:
        self.loop.run_until_complete(self._served)
        for connection in self.loop.connections.open:
            connection.abort()
        self.loop.run_until_complete(asyncio.sleep(0))
        self._cleanup()
        self.tmp.close()

    def end(self) -> None:
        self._quick_shutdown = True
        self.loop.call_soon_threadsafe(self._served.cancel)


@contextmanager
def serving(app: Flask) -> Iterator[str]:
    """Serve an application from this process; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = "http://{}:{}".format(*listener.getsockname())
        worker = InProcessWorker(app, listener)
        thread = Thread(target=worker.run)
        thread.start()
        try:
            yield address
        finally:
            worker.end()
            thread.join()


def find_stream(server: str) -> str:
    return f"{server.replace('http', 'ws')}/api/v1/stream"


def ask(client: ClientConnection, message: bytes | str) -> Any:
    """Send a frame or settings over a live stream; returns the answer."""
    client.send(message)
    return json.loads(client.recv(PATIENCE))


def read_answer(client: socket.socket) -> tuple[int, Any]:
    """Read the response that comes after any interim ones; returns its status and its JSON."""
    answer = HTTPResponse(client)
    answer.begin()
    return answer.status, json.load(answer)


def read_all(client: socket.socket) -> bytes:
    """Read what a server sends until it closes the connection."""
    received = b""
    with suppress(ConnectionResetError):
        while data := client.recv(65_536):
            received += data
    return received


def goodbye(client: ClientConnection) -> tuple[int, str]:
    """Wait for the server to close; returns its code and reason."""
    with pytest.raises(ConnectionClosed) as caught:
        client.recv(PATIENCE)
    assert caught.value.rcvd, "The server closed without a reason."
    return caught.value.rcvd.code, caught.value.rcvd.reason
