"""Measure a server under an open load: photos that arrive whether or not it keeps up.

Latency counts from when a request was due: a late client hides nothing (coordinated omission).
"""

import os
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench import BenchmarkError
from bench.report import figures_table
from bench.serving import ANSWER_SECONDS, list_children, percentile, server_at, usage, write_form

LOADS = (1, 2, 4, 8)  # times the server's capacity
OK, BUSY = 200, 503
COLUMNS = {
    "rate": "rate",
    "answered_per_second": "answered/s",
    "answered_p50_ms": "p50 ms",
    "answered_p95_ms": "p95 ms",
    "refused": "refused",
    "refused_p50_ms": "p50 ms",
    "refused_p95_ms": "p95 ms",
    "failed": "failed",
}


@dataclass
class Round:
    """Collect latencies in milliseconds by the responses' status, 0 where none came."""

    rate: float
    seconds: float
    latencies: dict[int, list[float]] = field(default_factory=dict)

    @property
    def answered(self) -> list[float]:
        """Return the latencies of photos read. Raises `BenchmarkError` where none was."""
        if OK not in self.latencies:
            raise BenchmarkError("No photo was answered.")
        return self.latencies[OK]

    def to_json(self) -> dict[str, Any]:
        """Return the round's figures."""
        answered, refused = self.latencies.get(OK, []), self.latencies.get(BUSY, [])
        sent = sum(map(len, self.latencies.values()))
        return {
            "rate": round(self.rate, 2),
            "sent": sent,
            "answered": len(answered),
            "answered_per_second": round(len(answered) / self.seconds, 2),
            "answered_p50_ms": percentile(answered, 50),
            "answered_p95_ms": percentile(answered, 95),
            "refused": len(refused),
            "refused_p50_ms": percentile(refused, 50),
            "refused_p95_ms": percentile(refused, 95),
            "failed": sent - len(answered) - len(refused),
        }


class Clients:
    """Send one photo again and again over persistent connections."""

    def __init__(self, url: str, photo: bytes, count: int) -> None:
        """Allow `count` connections; a request waits for a free one."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise BenchmarkError(f"{url} is no address of the form http://host:port.")
        self._netloc = parts.netloc
        self._form, self._kind = write_form(photo)
        self._count = count
        # The connection idle for longest goes next, as it would with many clients.
        self._idle: deque[HTTPConnection] = deque()

    def closed_loop(self, seconds: float, concurrency: int = 1) -> Round:
        """Send the next photo once the one before was answered, `concurrency` at a time."""
        figures = Round(0.0, seconds)
        ends = time.monotonic() + seconds

        def send_all(_: int) -> None:
            while (now := time.monotonic()) < ends:
                self._send(figures, now)

        with ThreadPoolExecutor(concurrency) as pool:
            list(pool.map(send_all, range(concurrency)))
        return figures

    def open_loop(self, rate: float, seconds: float) -> Round:
        """Send photos at a steady rate, answered or not."""
        figures = Round(rate, seconds)
        started = time.monotonic()
        with ThreadPoolExecutor(self._count) as pool:
            for number in range(round(rate * seconds)):
                due = started + number / rate
                time.sleep(max(0.0, due - time.monotonic()))
                pool.submit(self._send, figures, due)
        return figures

    def close(self) -> None:
        """Close all connections."""
        for connection in self._idle:
            connection.close()

    def _send(self, figures: Round, due: float) -> None:
        """Send the photo, and record the status and the latency since it was due."""
        try:
            status = self._exchange()
        except (OSError, HTTPException):
            status = 0
        figures.latencies.setdefault(status, []).append((time.monotonic() - due) * 1000)

    def _exchange(self) -> int:
        try:
            connection = self._idle.popleft()
        except IndexError:
            connection = HTTPConnection(self._netloc, timeout=ANSWER_SECONDS)
        kept = connection.sock is not None
        try:
            connection.request("POST", "/api/v1/analyze", self._form, {"Content-Type": self._kind})
            answer = connection.getresponse()
            answer.read()
        except (OSError, HTTPException):
            connection.close()
            if not kept:
                raise
            # A server may close an idle connection at any time.
            return self._exchange()
        self._idle.append(connection)
        return answer.status


def measure_load(
    picture: Path, clients: int, seconds: float, rates: Sequence[float], url: str | None
) -> dict[str, Any]:
    """Measure the server at `url`, or a local one; returns the figures.

    `rates` are in requests a second, `LOADS` times the server's capacity by default. Raises
    `BenchmarkError` where the server can't be reached.
    """
    with (
        server_at(url) as (address, pid),
        closing(Clients(address, picture.read_bytes(), clients)) as senders,
    ):
        return _measure(senders, seconds, rates, pid)


def _measure(
    clients: Clients, seconds: float, rates: Sequence[float], pid: int | None
) -> dict[str, Any]:
    processors = os.cpu_count() or 1
    # Warms up each worker.
    clients.closed_loop(min(2.0, seconds), processors)
    alone = clients.closed_loop(seconds)
    together = clients.closed_loop(seconds, 2 * processors)
    capacity = len(together.answered) / seconds
    before = (usage(pid), list_children(pid)) if pid else None
    rates = rates or [load * capacity for load in LOADS]
    figures: dict[str, Any] = {
        "processor_count": processors,
        "alone": alone.to_json(),
        "served_per_second": round(capacity, 2),
        "rounds": [clients.open_loop(rate, seconds).to_json() for rate in rates],
        "alone_again": clients.closed_loop(seconds).to_json(),
    }
    if pid and before:
        same = before[1] == list_children(pid)
        figures["server"] = (
            f"server: memory {before[0].memory_mb} MB before, {usage(pid).memory_mb} MB after; "
            f"{'the same workers' if same else 'workers were replaced'}"
        )
    return figures


def write_table(figures: dict[str, Any]) -> str:
    """Return the figures as text."""
    alone, again = figures["alone"], figures["alone_again"]
    lines = [
        f"one at a time: p50 {alone['answered_p50_ms']} ms, p95 {alone['answered_p95_ms']} ms; "
        f"{2 * figures['processor_count']} at a time: {figures['served_per_second']} a second",
        figures_table(figures["rounds"], COLUMNS),
        f"one at a time again: p50 {again['answered_p50_ms']} ms, "
        f"p95 {again['answered_p95_ms']} ms",
    ]
    lines += [figures["server"]] if "server" in figures else []
    return "\n".join(lines)
