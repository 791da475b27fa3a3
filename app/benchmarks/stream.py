"""Measure live reading: what each client gets, and what is left for plain requests.

Each client plays a made sequence of a moving face at a camera's speed and keeps to the page's own
rule: one frame under way, and the newest one next.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.benchmarks.moving import encode_frame, move_picture
from app.vision.images import decode_image
from app.web.sockets import Socket, SocketClosed

FRAMES = 150  # Five seconds at 30 frames a second; then the sequence starts again.
PLAIN_EVERY_SECONDS = 0.5
ANSWER_SECONDS = 30.0
START_SECONDS = 60.0
ROOT = Path(__file__).resolve().parents[2]


class BenchmarkError(Exception):
    """Tell why nothing could be measured."""


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
        return _measure(url, frames, photo, clients, seconds, rate, pid=None)
    with _own_server() as (address, pid):
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
            f"server: {server['processor_percent']:.0f}% of one core, memory "
            f"{server['memory_start_mb']:.0f} MB at the start, {server['memory_end_mb']:.0f} MB "
            "at the end"
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
    """Run the clients and the plain requests beside each other."""
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
    before = _usage(pid) if pid else None
    measured_from = time.monotonic()
    for thread in threads:
        thread.join()
    figures: dict[str, Any] = {
        "url": url,
        "seconds": seconds,
        "camera_rate": rate,
        "processor_count": os.cpu_count(),
        "clients": [_summarize(client, seconds) for client in clients],
        "plain_requests": {
            "count": len(plain),
            "failed": len(failed),
            "p50_ms": _percentile(plain, 50),
            "p95_ms": _percentile(plain, 95),
        },
    }
    if pid and before:
        after = _usage(pid)
        spent = (after[0] - before[0]) / (time.monotonic() - measured_from)
        figures["server"] = {
            "processor_percent": round(spent * 100, 1),
            "memory_start_mb": before[1],
            "memory_end_mb": after[1],
        }
    return figures


def _play(
    client: Client, url: str, frames: Sequence[bytes], rate: float, phase: float, ends: float
) -> None:
    """Play the sequence to the server as the live page would."""
    try:
        live = Socket.connect(f"{url.replace('http', 'ws', 1)}/api/v1/stream")
        with closing(live):
            _play_over(live, client, frames, rate, phase, ends)
    except SocketClosed as error:
        client.closed = str(error)


def _play_over(
    live: Socket, client: Client, frames: Sequence[bytes], rate: float, phase: float, ends: float
) -> None:
    """Send the newest frame, wait for its answer, and so on."""
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
    """Send photos as plain requests now and then."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="photo"\r\n\r\n'
    body = head.encode() + photo + f"\r\n--{boundary}--\r\n".encode()
    request = urllib.request.Request(
        f"{url}/api/v1/analyze",
        body,
        {"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    while time.monotonic() < ends:
        started = time.monotonic()
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:
                response.read()
        except OSError as error:
            failed.append(str(error))
        else:
            plain.append((time.monotonic() - started) * 1000)
        time.sleep(max(0.0, started + PLAIN_EVERY_SECONDS - time.monotonic()))


def _summarize(client: Client, seconds: float) -> dict[str, Any]:
    """Return one client's figures."""
    return {
        "frames_per_second": round(len(client.delays) / seconds, 2),
        "delay_p50_ms": _percentile(client.delays, 50),
        "delay_p95_ms": _percentile(client.delays, 95),
        "delay_worst_ms": _percentile(client.delays, 100),
        "dropped": client.dropped,
        "faceless": client.faceless,
        "closed": client.closed,
    }


def _percentile(values: Sequence[float], share: int) -> float:
    """Return a percentile, 0 where nothing was measured."""
    return round(float(np.percentile(values, share)), 1) if values else 0.0


@contextmanager
def _own_server() -> Iterator[tuple[str, int]]:
    """Run a server as `make serve` does; yields its address and the id of its first process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--no-control-socket", "wsgi:app"],
        cwd=ROOT,
        env={**os.environ, "PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_ready(server, url)
        yield url, server.pid
    finally:
        server.terminate()
        server.wait()


def _wait_until_ready(server: subprocess.Popen[bytes], url: str) -> None:
    """Wait for the server's first answer."""
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise BenchmarkError(f"The server did not start at {url}; try `make serve` to see why.")


def _usage(pid: int) -> tuple[float, float]:
    """Return the processor seconds and the megabytes of a process and its children (Linux)."""
    seconds, kilobytes = 0.0, 0
    for each in [pid, *_children(pid)]:
        process = Path(f"/proc/{each}")
        times = process.joinpath("stat").read_text().rpartition(")")[2].split()
        seconds += (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
        # Pss shares out what processes have in common, so that the sum counts it once.
        rollup = process.joinpath("smaps_rollup").read_text().splitlines()
        kilobytes += next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return seconds, round(kilobytes / 1000, 1)


def _children(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
