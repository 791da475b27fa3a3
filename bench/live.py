"""Measure live reading: what each client gets, and what is left for plain requests.

Each client plays a made sequence of a moving face at a camera's speed and keeps to the page's own
rule: one frame under way, and the newest one next.
"""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.request
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.vision.imaging.decoding import decode_image
from app.web.api.websocket import Socket, SocketClosed
from bench.moving import encode_frame, move_picture
from bench.serving import (
    ANSWER_SECONDS,
    Usage,
    check_server,
    own_server,
    percentile,
    slope_per_hour,
    usage,
    write_form,
)

FRAMES = 150  # Five seconds at 30 frames a second; then the sequence starts again.
PLAIN_EVERY_SECONDS = 0.5
SAMPLE_SECONDS = 1.0


@dataclass
class Client:
    """Collect what one client experiences; delays are in milliseconds, from camera to answer."""

    delays: list[float] = field(default_factory=list)
    camera_frames: int = 0
    dropped: int = 0
    faceless: int = 0
    closed: str = ""


def measure_streams(
    picture: Path, clients: int, seconds: float, rate: float, url: str | None
) -> dict[str, Any]:
    """Measure a server at `url`, or one of our own; returns the figures.

    `rate` is the camera's, in frames a second; 0 sends as fast as answers come. Raises
    `BenchmarkError` where the server can't be reached.
    """
    photo = picture.read_bytes()
    frames = [encode_frame(frame) for frame in move_picture(decode_image(photo), FRAMES)]
    if url:
        check_server(url)
        return _measure(url, frames, photo, clients, seconds, rate, pid=None)
    with own_server() as (address, pid):
        return _measure(address, frames, photo, clients, seconds, rate, pid)


def write_table(figures: dict[str, Any]) -> str:
    """Write the figures as a table for people."""
    lines = ["client  frames/s  p50 ms  p95 ms  dropped  without a face"]
    for number, client in enumerate(figures["clients"], start=1):
        lines.append(
            f"{number:6}  {client['frames_per_second']:8.1f}  {client['delay_p50_ms']:6.1f}  "
            f"{client['delay_p95_ms']:6.1f}  {client['dropped']:7}  {client['faceless']:14}"
            f"  {client['closed']}".rstrip()
        )
    plain = figures["plain_requests"]
    lines.append(
        f"plain requests meanwhile: {plain['count']}, p50 {plain['p50_ms']:.0f} ms, "
        f"p95 {plain['p95_ms']:.0f} ms, failed {plain['failed']}"
    )
    if "server" in figures:
        server = figures["server"]
        lines.append(
            f"server: {server['processor_percent']:.0f}% of one core; from start to end: memory "
            f"{server['memory_start_mb']:.0f} to {server['memory_end_mb']:.0f} MB "
            f"({server['memory_mb_per_hour']:+.1f} MB an hour), threads {server['threads_start']} "
            f"to {server['threads_end']}, open files {server['files_start']} to "
            f"{server['files_end']}"
        )
    return "\n".join(lines)


def _measure(
    url: str,
    frames: Sequence[bytes],
    photo: bytes,
    count: int,
    seconds: float,
    rate: float,
    pid: int | None,
) -> dict[str, Any]:
    clients = [Client() for _ in range(count)]
    started = time.monotonic()
    ends = started + seconds
    plain: list[float] = []
    failed: list[str] = []
    threads = [
        threading.Thread(target=_play, args=(client, url, frames, rate, offset / count, ends))
        for offset, client in enumerate(clients)
    ]
    threads.append(threading.Thread(target=_ask, args=(url, photo, plain, failed, ends)))
    for thread in threads:
        thread.start()
    # Once every worker has met frames and photos; what it takes then is no growth.
    time.sleep(min(3.0, seconds / 2))
    measured_from = time.monotonic()
    taken = [usage(pid)] if pid else []
    for thread in threads:
        while thread.is_alive():
            thread.join(SAMPLE_SECONDS)
            if pid and thread.is_alive():
                taken.append(usage(pid))
    figures: dict[str, Any] = {
        "url": url,
        "seconds": seconds,
        "camera_rate": rate,
        "processor_count": os.cpu_count(),
        "clients": [_summarize(client, seconds) for client in clients],
        "plain_requests": {
            "count": len(plain),
            "failed": len(failed),
            "p50_ms": percentile(plain, 50),
            "p95_ms": percentile(plain, 95),
        },
    }
    if pid:
        figures["server"] = _summarize_usage(taken, time.monotonic() - measured_from)
    return figures


def _play(
    client: Client, url: str, frames: Sequence[bytes], rate: float, phase: float, ends: float
) -> None:
    try:
        live = Socket.connect(f"{url.replace('http', 'ws', 1)}/api/v1/stream")
        with closing(live):
            _play_over(live, client, frames, rate, phase, ends)
    except SocketClosed as error:
        client.closed = str(error)


def _play_over(
    live: Socket, client: Client, frames: Sequence[bytes], rate: float, phase: float, ends: float
) -> None:
    begun = time.monotonic() - (phase / rate if rate else 0)
    while (now := time.monotonic()) < ends:
        taken = now
        if rate:
            # The camera's next picture; those taken during the last answer are gone.
            number = int((now - begun) * rate) + 1
            client.dropped += max(0, number - client.camera_frames - 1)
            client.camera_frames = number
            taken = begun + number / rate
            time.sleep(max(0.0, taken - now))
        else:
            client.camera_frames += 1
        live.send(frames[client.camera_frames % len(frames)])
        answer = live.receive(ANSWER_SECONDS)
        if not isinstance(answer, str):
            raise SocketClosed(1006, f"no answer within {ANSWER_SECONDS:g} s")
        client.delays.append((time.monotonic() - taken) * 1000)
        client.faceless += not json.loads(answer).get("faces")


def _ask(url: str, photo: bytes, plain: list[float], failed: list[str], ends: float) -> None:
    body, kind = write_form(photo)
    request = urllib.request.Request(f"{url}/api/v1/analyze", body, {"Content-Type": kind})
    while time.monotonic() < ends:
        started = time.monotonic()
        try:
            # The address is the caller's own.
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:  # nosec B310
                response.read()
        except OSError as error:
            failed.append(str(error))
        else:
            plain.append((time.monotonic() - started) * 1000)
        time.sleep(max(0.0, started + PLAIN_EVERY_SECONDS - time.monotonic()))


def _summarize_usage(taken: Sequence[Usage], seconds: float) -> dict[str, Any]:
    """Return what the server took at the first and the last of these times, and how it grew."""
    first, last = taken[0], taken[-1]
    return {
        "processor_percent": round(
            100 * (last.processor_seconds - first.processor_seconds) / seconds, 1
        ),
        "memory_start_mb": first.memory_mb,
        "memory_end_mb": last.memory_mb,
        "memory_mb_per_hour": slope_per_hour([each.memory_mb for each in taken], seconds),
        "threads_start": first.threads,
        "threads_end": last.threads,
        "files_start": first.files,
        "files_end": last.files,
        "memory_mb": [each.memory_mb for each in taken],
    }


def _summarize(client: Client, seconds: float) -> dict[str, Any]:
    return {
        "frames_per_second": round(len(client.delays) / seconds, 2),
        "delay_p50_ms": percentile(client.delays, 50),
        "delay_p95_ms": percentile(client.delays, 95),
        "delay_worst_ms": percentile(client.delays, 100),
        "dropped": client.dropped,
        "faceless": client.faceless,
        "closed": client.closed,
    }
