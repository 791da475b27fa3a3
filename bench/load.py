"""Measure a server under more photos than it can read.

Requests are sent at their times whether or not earlier ones were answered, as the world does, and
each delay counts from when its request was due, so that a client that can't keep up hides nothing.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.serving import (
    ANSWER_SECONDS,
    BenchmarkError,
    check_server,
    list_children,
    own_server,
    percentile,
    usage,
    write_form,
)

LOADS = (1, 2, 4, 8)  # times what the server was found to serve
OK, BUSY = 200, 503


@dataclass
class Round:
    """Collect one round's delays, in milliseconds, by the answers' status; 0 where none came."""

    rate: float
    seconds: float
    delays: dict[int, list[float]] = field(default_factory=dict)
    without_retry_after: int = 0

    def add(self, status: int, delay: float) -> None:
        """Note one answer."""
        self.delays.setdefault(status, []).append(delay)

    def to_json(self) -> dict[str, Any]:
        """Return the round's figures."""
        answered, refused = self.delays.get(OK, []), self.delays.get(BUSY, [])
        others = Counter({s: len(d) for s, d in self.delays.items() if s not in (OK, BUSY)})
        return {
            "rate": round(self.rate, 2),
            "sent": sum(map(len, self.delays.values())),
            "answered": len(answered),
            "answered_per_second": round(len(answered) / self.seconds, 2),
            "answered_p50_ms": percentile(answered, 50),
            "answered_p95_ms": percentile(answered, 95),
            "refused": len(refused),
            "refused_p50_ms": percentile(refused, 50),
            "refused_p95_ms": percentile(refused, 95),
            "refused_without_retry_after": self.without_retry_after,
            "failed": others.total(),
            "failures": {str(status): count for status, count in others.items()},
        }


class Clients:
    """Send one photo again and again over kept connections."""

    def __init__(self, url: str, photo: bytes, count: int) -> None:
        place = urlsplit(url)
        if place.scheme != "http" or not place.hostname:
            raise BenchmarkError(f"{url} is no address of the form http://host:port.")
        self._address = (place.hostname, place.port or 80)
        body, kind = write_form(photo)
        head = (
            f"POST /api/v1/analyze HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._request = head.encode() + body
        # The one that rested longest goes next: the clients that are meant are many.
        self._free: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self._places = asyncio.Semaphore(count)

    async def ask(self, figures: Round, due: float) -> None:
        """Send the photo, and note how long after it was due which answer came."""
        async with self._places:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    status, headers = await self._exchange()
            except (OSError, EOFError, TimeoutError, ValueError):
                status, headers = 0, {}
        figures.add(status, (time.monotonic() - due) * 1000)
        figures.without_retry_after += status == BUSY and "retry-after" not in headers

    async def one_after_another(self, seconds: float, side_by_side: int = 1) -> Round:
        """Send each photo when the one before was answered."""
        figures = Round(0.0, seconds)
        ends = time.monotonic() + seconds

        async def go_on() -> None:
            while (now := time.monotonic()) < ends:
                await self.ask(figures, now)

        await asyncio.gather(*(go_on() for _ in range(side_by_side)))
        return figures

    async def at_rate(self, rate: float, seconds: float) -> Round:
        """Send photos at a steady rate, answered or not."""
        figures = Round(rate, seconds)
        started = time.monotonic()
        async with asyncio.TaskGroup() as asking:
            for number in range(round(rate * seconds)):
                due = started + number / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                asking.create_task(self.ask(figures, due))
        return figures

    def close(self) -> None:
        """Close all connections."""
        for _, writer in self._free:
            writer.close()

    async def _exchange(self) -> tuple[int, dict[str, str]]:
        connection = self._free.popleft() if self._free else None
        try:
            reader, writer = connection or await asyncio.open_connection(*self._address)
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
        except (OSError, EOFError):
            if connection is None:
                raise
            # The server closed a connection that was kept, as it may at any time.
            return await self._exchange()
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        await reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection") == "close":
            writer.close()
        else:
            self._free.append((reader, writer))
        return int(first.split()[1]), headers


def measure_load(
    picture: Path, clients: int, seconds: float, rates: Sequence[float], url: str | None
) -> dict[str, Any]:
    """Measure a server at `url`, or one of our own; returns the figures.

    `rates` are in requests a second; where none is given, the `LOADS` times what it can serve.
    Raises `BenchmarkError` where the server can't be reached.
    """
    photo = picture.read_bytes()
    if url:
        check_server(url)
        return asyncio.run(_measure(url, photo, clients, seconds, rates, pid=None))
    with own_server() as (address, pid):
        return asyncio.run(_measure(address, photo, clients, seconds, rates, pid))


def measure_side_by_side(picture: Path, count: int, seconds: float, url: str) -> list[float]:
    """Return the milliseconds of each answer where so many clients ask, one photo after another.

    Raises `BenchmarkError` where nothing was answered.
    """

    async def ask() -> Round:
        clients = Clients(url, picture.read_bytes(), count)
        figures = await clients.one_after_another(seconds, count)
        clients.close()
        return figures

    answered = asyncio.run(ask()).delays.get(OK)
    if not answered:
        raise BenchmarkError(f"No photo was answered at {url}.")
    return answered


async def _measure(
    url: str, photo: bytes, count: int, seconds: float, rates: Sequence[float], pid: int | None
) -> dict[str, Any]:
    clients = Clients(url, photo, count)
    processors = os.cpu_count() or 1
    # Each worker's first photos warm it up.
    await clients.one_after_another(min(2.0, seconds), processors)
    alone = await clients.one_after_another(seconds)
    if not alone.delays.get(OK):
        raise BenchmarkError(f"No photo was answered at {url}.")
    together = await clients.one_after_another(seconds, 2 * processors)
    served = len(together.delays.get(OK, [])) / seconds
    before = (usage(pid), list_children(pid)) if pid else None
    loaded = [await clients.at_rate(rate, seconds) for rate in rates or [n * served for n in LOADS]]
    again = await clients.one_after_another(seconds)
    clients.close()
    figures: dict[str, Any] = {
        "url": url,
        "seconds": seconds,
        "clients": count,
        "processor_count": processors,
        "photo_bytes": len(photo),
        "alone": alone.to_json(),
        "served_per_second": round(served, 2),
        "rounds": [each.to_json() for each in loaded],
        "alone_again": again.to_json(),
    }
    if pid and before:
        figures["server"] = {
            "memory_before_mb": before[0].memory_mb,
            "memory_after_mb": usage(pid).memory_mb,
            "same_workers": before[1] == list_children(pid),
        }
    return figures


def write_table(figures: dict[str, Any]) -> str:
    """Write the figures as a table for people."""
    alone, again = figures["alone"], figures["alone_again"]
    lines = [
        f"one at a time: p50 {alone['answered_p50_ms']} ms, p95 {alone['answered_p95_ms']} ms; "
        f"{2 * figures['processor_count']} side by side: {figures['served_per_second']} a second",
        "    rate  answered/s   p50 ms   p95 ms  refused   p50 ms   p95 ms  failed",
    ]
    lines += [
        f"{each['rate']:8.1f}  {each['answered_per_second']:10.1f}  {each['answered_p50_ms']:7.1f}"
        f"  {each['answered_p95_ms']:7.1f}  {each['refused']:7}  {each['refused_p50_ms']:7.1f}"
        f"  {each['refused_p95_ms']:7.1f}  {each['failed']:6}"
        for each in figures["rounds"]
    ]
    lines.append(
        f"one at a time again: p50 {again['answered_p50_ms']} ms, p95 {again['answered_p95_ms']} ms"
    )
    if "server" in figures:
        server = figures["server"]
        kept = "the same workers" if server["same_workers"] else "workers were replaced"
        lines.append(
            f"server: memory {server['memory_before_mb']} MB before, "
            f"{server['memory_after_mb']} MB after; {kept}"
        )
    return "\n".join(lines)
