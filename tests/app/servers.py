"""Servers to test: as `make serve` starts one, and one in this process."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from flask import Flask
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from werkzeug.serving import make_server

GRACE_SECONDS = 30  # gunicorn's own, for requests under way
PATIENCE = 20


class Server:
    """A started server: where it answers, its first process, and what it says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.host = "127.0.0.1"
        self.process = process
        self._said: SimpleQueue[str | None] = SimpleQueue()
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()
        self.port = int(self.wait_for(r"Listening at: http://127\.0\.0\.1:(\d+)")[1])

    @property
    def place(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def netloc(self) -> str:
        return f"{self.host}:{self.port}"

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the server says so."""
        while (line := self._said.get()) is not None:
            if said := re.search(pattern, line):
                return said
        pytest.fail(f"The server ended and never said {pattern!r}.")

    def ask(self, path: str, body: bytes | None = None, kind: str = "") -> tuple[int, str]:
        """Return the answer's status, and its code where it is a refusal."""
        asked = Request(f"http://{self.netloc}{path}", body, {"Content-Type": kind})
        try:
            with urlopen(asked, timeout=PATIENCE) as answer:
                return answer.status, ""
        except HTTPError as error:
            with error:
                return error.code, json.load(error)["code"]

    def end(self) -> list[str]:
        """Tell the server to end; returns what it has said since."""
        self.process.terminate()
        self._listener.join()
        self.process.wait()
        lines = []
        while not self._said.empty():
            lines.append(self._said.get())
        return [line for line in lines if line is not None]

    def _listen(self) -> None:
        assert self.process.stdout
        with self.process.stdout:
            for line in self.process.stdout:
                self._said.put(line)
        self._said.put(None)


def start(within: Sequence[str | Path] = (), **environment: str) -> subprocess.Popen[str]:
    """Start a server, within another program if one is given."""
    return subprocess.Popen(
        [*within, sys.executable, "-m", "gunicorn", "--no-control-socket", "wsgi:app"],
        env={**os.environ, "WEB_CONCURRENCY": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def started(within: Sequence[str | Path] = (), **environment: str) -> Iterator[Server]:
    server = Server(start(within, **{"PORT": "0", **environment}))
    try:
        yield server
    finally:
        server.end()


@contextmanager
def all_started(*environments: dict[str, str]) -> Iterator[list[Server]]:
    """Start servers side by side."""
    processes = [start(**{"PORT": "0", **each}) for each in environments]
    servers = [Server(process) for process in processes]
    try:
        yield servers
    finally:
        for server in servers:
            server.process.terminate()
        for server in servers:
            server.end()


@contextmanager
def serving(app: Flask) -> Iterator[str]:
    """Serve an application from this process; yields its address."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def goodbye(client: ClientConnection) -> tuple[int, str]:
    """Wait for the server to close; return its code and reason."""
    with pytest.raises(ConnectionClosed) as caught:
        client.recv(PATIENCE)
    assert caught.value.rcvd
    return caught.value.rcvd.code, caught.value.rcvd.reason
