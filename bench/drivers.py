"""Talk with a peer's driver: a path in, a line of JSON out."""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.environments import ROOT, PeerError


class Driver:
    """Hold one running driver."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        """Take over a started process."""
        self._process = process

    def ask(self, picture: Path) -> tuple[float, dict[str, Any]]:
        """Return the milliseconds until the answer, and the answer. Raises `PeerError`."""
        assert self._process.stdin
        assert self._process.stdout
        started = time.perf_counter()
        try:
            self._process.stdin.write(f"{picture.resolve()}\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise PeerError("ended before it answered") from error
        # Libraries print notes of their own; an answer is the line that is JSON.
        for line in self._process.stdout:
            if line.startswith("{"):
                return (time.perf_counter() - started) * 1000, json.loads(line)
        raise PeerError("ended without an answer")

    def peak_megabytes(self) -> float:
        """Return the most memory that the process has held (Linux)."""
        status = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1000


@contextmanager
def started(command: Sequence[str], core: int = 0) -> Iterator[Driver]:
    """Run a driver on one core until the block ends."""
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield Driver(process)
    finally:
        process.kill()
        # What a driver that has ended never read can't be flushed.
        with suppress(BrokenPipeError):
            process.communicate()
