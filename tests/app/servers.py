"""The server as `make serve` starts it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

GRACE_SECONDS = 30  # gunicorn's own, for requests under way


@dataclass
class Server:
    """A started server: where it answers, and its first process."""

    host: str
    port: int
    process: subprocess.Popen[str]

    @property
    def place(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def netloc(self) -> str:
        return f"{self.host}:{self.port}"

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the server says so."""
        assert self.process.stdout
        for line in self.process.stdout:
            if said := re.search(pattern, line):
                return said
        pytest.fail(f"The server ended and never said {pattern!r}.")


def start(**environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--no-control-socket", "wsgi:app"],
        env={**os.environ, "WEB_CONCURRENCY": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def started(**environment: str) -> Iterator[Server]:
    server = Server("127.0.0.1", 0, start(PORT="0", **environment))
    try:
        said = server.wait_for(r"Listening at: http://127\.0\.0\.1:(\d+)")
        server.port = int(said[1])
        yield server
    finally:
        server.process.terminate()
        server.process.communicate()
