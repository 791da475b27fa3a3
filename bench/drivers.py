"""Talk with a peer's driver: a path in, a line of JSON out."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.environments import ROOT, PeerError
from bench.timing import first_core

ANSWER_SECONDS = 120.0  # The slowest peer takes 3 for 24 megapixels.


class Driver:
    """Hold one running driver."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, picture: Path) -> tuple[float, dict[str, Any]]:
        """Return the milliseconds until the answer, and the answer. Raises `PeerError`."""
        assert self._process.stdin
        assert self._process.stdout
        started = time.perf_counter()
        patience = threading.Timer(ANSWER_SECONDS, self._process.kill)
        patience.start()
        try:
            self._process.stdin.write(f"{picture.resolve()}\n")
            self._process.stdin.flush()
            # Libraries print notes of their own; an answer is the line that is JSON.
            for line in self._process.stdout:
                if line.startswith("{"):
                    return (time.perf_counter() - started) * 1000, json.loads(line)
        except BrokenPipeError as error:
            raise PeerError("ended before it answered") from error
        finally:
            patience.cancel()
        raise PeerError(f"ended without an answer, or took {ANSWER_SECONDS:.0f} seconds")

    def memory(self) -> dict[str, float]:
        """Return the megabytes that the process holds, and the most it has held (Linux).

        Raises `PeerError` where it has ended.
        """
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        if "VmRSS" not in fields:
            raise PeerError("ended after its last answer")
        held, most = (int(fields[key].split()[0]) * 1024 / 1e6 for key in ("VmRSS", "VmHWM"))
        return {"rest_megabytes": held, "peak_megabytes": most}


@contextmanager
def started(command: Sequence[str]) -> Iterator[Driver]:
    """Run a driver on one core until the block ends."""
    process = subprocess.Popen(
        ["taskset", "-c", str(first_core()), *command],
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
