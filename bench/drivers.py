"""Run a peer's driver: it reads a path a line, and answers each with a line of JSON."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench import ROOT, BenchmarkError
from bench.timing import first_core

ANSWER_SECONDS = 120.0  # The slowest peer takes 3 for 24 megapixels.


class Driver:
    """A running driver."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def analyze(self, picture: Path) -> tuple[float, dict[str, Any]]:
        """Return the latency in milliseconds and the answer. Raises `BenchmarkError`."""
        assert self._process.stdin
        assert self._process.stdout
        started = time.perf_counter()
        timeout = threading.Timer(ANSWER_SECONDS, self._process.kill)
        timeout.start()
        try:
            self._process.stdin.write(f"{picture.resolve()}\n")
            self._process.stdin.flush()
            # Libraries print messages of their own; the answer is the line that is JSON.
            for line in self._process.stdout:
                if line.startswith("{"):
                    return (time.perf_counter() - started) * 1000, json.loads(line)
        except BrokenPipeError as error:
            raise BenchmarkError("ended before it answered") from error
        finally:
            timeout.cancel()
        raise BenchmarkError(f"ended without an answer, or took {ANSWER_SECONDS:.0f} seconds")

    def memory(self) -> dict[str, float]:
        """Return the process's resident memory and its peak, in MB (Linux).

        Raises `BenchmarkError` where it has ended.
        """
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        if "VmRSS" not in fields:
            raise BenchmarkError("ended after its last answer")
        resident, peak = (int(fields[key].split()[0]) * 1024 / 1e6 for key in ("VmRSS", "VmHWM"))
        return {"rest_megabytes": resident, "peak_megabytes": peak}


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
        # Input that the driver never read can't be flushed.
        with suppress(BrokenPipeError):
            process.communicate()
