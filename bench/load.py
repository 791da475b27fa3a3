"""Measure a server under an open load: photos that arrive whether or not it keeps up.

Latency counts from when a request was due: a late client hides nothing (coordinated omission).
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
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
        self._address = (parts.hostname, parts.port or 80)
        body, kind = write_form(photo)
        head = (
            f"POST /api/v1/analyze HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._request = head.encode() + body
        # The connection idle for longest goes next, as it would with many clients.
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self._limit = asyncio.Semaphore(count)

    async def send(self, figures: Round, due: float) -> None:
        """Send the photo, and record the status and the latency since it was due."""
        async with self._limit:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    status = await self._exchange()
            except (OSError, EOFError, TimeoutError, ValueError):
                status = 0
        figures.latencies.setdefault(status, []).append((time.monotonic() - due) * 1000)

    async def closed_loop(self, seconds: float, concurrency: int = 1) -> Round:
        """Send the next photo once the one before was answered, `concurrency` at a time."""
        figures = Round(0.0, seconds)
        ends = time.monotonic() + seconds

        async def send_all() -> None:
            while (now := time.monotonic()) < ends:
                await self.send(figures, now)

        await asyncio.gather(*(send_all() for _ in range(concurrency)))
        return figures

    async def open_loop(self, rate: float, seconds: float) -> Round:
        """Send photos at a steady rate, answered or not."""
        figures = Round(rate, seconds)
        started = time.monotonic()
        async with asyncio.TaskGroup() as sending:
            for number in range(round(rate * seconds)):
                due = started + number / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                sending.create_task(self.send(figures, due))
        return figures

    def close(self) -> None:
        """Close all connections."""
        for _, writer in self._idle:
            writer.close()

    async def _exchange(self) -> int:
        connection = self._idle.popleft() if self._idle else None
        try:
            reader, writer = connection or await asyncio.open_connection(*self._address)
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
        except (OSError, EOFError):
            if connection is None:
                raise
            # A server may close an idle connection at any time.
            return await self._exchange()
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        await reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection") == "close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(first.split()[1])


def measure_load(
    picture: Path, clients: int, seconds: float, rates: Sequence[float], url: str | None
) -> dict[str, Any]:
    """Measure the server at `url`, or a local one; returns the figures.

    `rates` are in requests a second, `LOADS` times the server's capacity by default. Raises
    `BenchmarkError` where the server can't be reached.
    """
    with server_at(url) as (address, pid):
        return asyncio.run(_measure(address, picture.read_bytes(), clients, seconds, rates, pid))


def measure_concurrency(picture: Path, count: int, seconds: float, url: str) -> list[float]:
    """Return the latencies, in milliseconds, of `count` clients that send photo after photo.

    Raises `BenchmarkError` where nothing was answered.
    """
    figures = run_clients(
        url, picture.read_bytes(), count, lambda clients: clients.closed_loop(seconds, count)
    )
    return _answered(figures, url)


def run_clients(
    url: str, photo: bytes, count: int, work: Callable[[Clients], Awaitable[Round]]
) -> Round:
    """Run one round of `count` clients, on an event loop of its own."""

    async def run() -> Round:
        with closing(Clients(url, photo, count)) as clients:
            return await work(clients)

    return asyncio.run(run())


def _answered(figures: Round, url: str) -> list[float]:
    if OK not in figures.latencies:
        raise BenchmarkError(f"No photo was answered at {url}.")
    return figures.latencies[OK]


async def _measure(
    url: str, photo: bytes, count: int, seconds: float, rates: Sequence[float], pid: int | None
) -> dict[str, Any]:
    clients = Clients(url, photo, count)
    processors = os.cpu_count() or 1
    # Warms up each worker.
    await clients.closed_loop(min(2.0, seconds), processors)
    alone = await clients.closed_loop(seconds)
    _answered(alone, url)
    together = await clients.closed_loop(seconds, 2 * processors)
    capacity = len(together.latencies.get(OK, [])) / seconds
    before = (usage(pid), list_children(pid)) if pid else None
    rates = rates or [load * capacity for load in LOADS]
    loaded = [await clients.open_loop(rate, seconds) for rate in rates]
    again = await clients.closed_loop(seconds)
    clients.close()
    figures: dict[str, Any] = {
        "processor_count": processors,
        "alone": alone.to_json(),
        "served_per_second": round(capacity, 2),
        "rounds": [each.to_json() for each in loaded],
        "alone_again": again.to_json(),
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
