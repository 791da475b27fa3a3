"""Start a server to measure, send it requests, and read its resource usage."""

import io
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from bench import ROOT, BenchmarkError

ANSWER_SECONDS = 30.0
START_SECONDS = 60.0
IDLE_SECONDS = 0.5


def write_form(photo: bytes) -> tuple[bytes, str]:
    """Return the multipart form that sends a photo to the API, and its content type."""
    boundary, body = encode_multipart({"image": FileStorage(io.BytesIO(photo), "photo")})
    return body, f"multipart/form-data; boundary={boundary}"


def percentile(values: Sequence[float], share: int) -> float:
    """Return a percentile, 0 where there are no values."""
    return round(float(np.percentile(values, share)), 1) if values else 0.0


def find_free_port() -> int:
    """Return a free TCP port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def server_at(url: str | None) -> AbstractContextManager[tuple[str, int | None]]:
    """Yield the address of the server to measure, and the id of its first process if it is ours.

    Without `url` a server is run as `make serve` does. Raises `BenchmarkError` where none answers.
    """
    if not url:
        return own_server()
    url = url.rstrip("/")
    try:
        # The address is the caller's own.
        with urllib.request.urlopen(f"{url}/healthz", timeout=ANSWER_SECONDS):  # nosec B310
            return nullcontext((url, None))
    except (OSError, ValueError, HTTPException) as error:
        raise BenchmarkError(f"{url} doesn't answer: {error}.") from error


def start_server(
    environment: Mapping[str, str], within: Sequence[str | Path] = (), output: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    """Start a server as `make serve` does, within another program if one is given."""
    return subprocess.Popen(
        [*within, sys.executable, "-m", "gunicorn", "--no-control-socket", "asgi:app"],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def own_server(**environment: str) -> Iterator[tuple[str, int]]:
    """Run a server as `make serve` does; yields its address and the id of its first process."""
    port = find_free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {"RAUT_RATE_LIMIT": "", **environment, "PORT": str(port)}
    server = start_server(settings, output=subprocess.DEVNULL)
    try:
        _wait_until_ready(server, url)
        _wait_until_idle(server.pid)
        yield url, server.pid
    finally:
        server.terminate()
        server.wait()


def _wait_until_ready(server: subprocess.Popen[str], url: str) -> None:
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):  # nosec B310
                return
        except OSError:
            time.sleep(0.2)
    raise BenchmarkError(f"The server did not start at {url}; try `make serve` to see why.")


def _wait_until_idle(pid: int) -> None:
    """Wait for the workers that start later than the one which answered."""
    before, now = -1.0, usage(pid).processor_seconds
    while now - before > IDLE_SECONDS / 10:
        time.sleep(IDLE_SECONDS)
        before, now = now, usage(pid).processor_seconds


@dataclass(frozen=True)
class Usage:
    """Hold the resource usage of a server."""

    processor_seconds: float
    memory_mb: float
    threads: int
    files: int


def usage(pid: int) -> Usage:
    """Return the resource usage of a process and its children together (Linux)."""
    seconds, kilobytes, threads, files = 0.0, 0, 0, 0
    for each in [pid, *list_children(pid)]:
        process = Path(f"/proc/{each}")
        times = process.joinpath("stat").read_text().rpartition(")")[2].split()
        seconds += (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
        threads += int(times[17])
        files += len(list(process.joinpath("fd").iterdir()))
        # Pss divides shared memory among the processes, so that the sum counts it once.
        rollup = process.joinpath("smaps_rollup").read_text().splitlines()
        kilobytes += next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return Usage(seconds, round(kilobytes * 1024 / 1e6, 1), threads, files)


def slope_per_hour(values: Sequence[float], seconds: float) -> float:
    """Return the growth of values taken evenly over `seconds` (least squares)."""
    if len(values) < 2:
        return 0.0
    hours = np.linspace(0, seconds / 3600, len(values))
    return round(float(np.polyfit(hours, values, 1)[0]), 2)


def list_children(pid: int) -> list[int]:
    """Return the ids of a process's children (Linux)."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
