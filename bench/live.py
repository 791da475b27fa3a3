"""Measure live streams, and photos beside them.

Each client plays a generated sequence of a moving face at a camera's rate as the live page does:
one frame is under way, and the newest one goes next.
"""

import json
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from app.vision.imaging.decoding import decode_image
from bench.load import Clients
from bench.moving import encode_frame, move_picture
from bench.report import figures_table
from bench.serving import ANSWER_SECONDS, Usage, percentile, server_at, slope_per_hour, usage

FRAMES = 150  # five seconds at 30 frames a second, repeated
PHOTO_RATE = 2.0  # a second, beside the streams
SAMPLE_SECONDS = 1.0
WARM_UP_SECONDS = 3.0  # until each worker has had frames and photos; later growth is a leak
COLUMNS = {
    "client": "client",
    "frames_per_second": "frames/s",
    "delay_p50_ms": "p50 ms",
    "delay_p95_ms": "p95 ms",
    "dropped": "dropped",
    "faceless": "without a face",
    "closed": "closed",
}


@dataclass
class Client:
    """A live page; `delays` are in milliseconds from the camera to the answer."""

    delays: list[float] = field(default_factory=list)
    camera_frames: int = 0
    dropped: int = 0
    faceless: int = 0
    closed: str = ""

    def play(
        self, url: str, frames: Sequence[bytes], rate: float, phase: float, ends: float
    ) -> None:
        """Stream frames until `ends` on `time.monotonic`; `phase` (0 to 1) shifts the camera."""
        address = f"{url.replace('http', 'ws', 1)}/api/v1/stream"
        try:
            with connect(address, compression=None) as socket:
                begun = time.monotonic() - (phase / rate if rate else 0)
                while (now := time.monotonic()) < ends:
                    taken, number = now, self.camera_frames + 1
                    if rate:
                        # The camera's next frame; those taken during the last answer are dropped.
                        number = int((now - begun) * rate) + 1
                        self.dropped += max(0, number - self.camera_frames - 1)
                        taken = begun + number / rate
                        time.sleep(max(0.0, taken - now))
                    self.camera_frames = number
                    socket.send(frames[number % len(frames)])
                    answer = socket.recv(ANSWER_SECONDS)
                    self.delays.append((time.monotonic() - taken) * 1000)
                    self.faceless += not json.loads(answer).get("faces")
        except (OSError, WebSocketException) as error:
            self.closed = str(error)

    def to_json(self, seconds: float) -> dict[str, Any]:
        """Return the client's figures."""
        return {
            "frames_per_second": round(len(self.delays) / seconds, 2),
            "delay_p50_ms": percentile(self.delays, 50),
            "delay_p95_ms": percentile(self.delays, 95),
            "dropped": self.dropped,
            "faceless": self.faceless,
            "closed": self.closed,
        }


def measure_streams(
    picture: Path, clients: int, seconds: float, rate: float, url: str | None
) -> dict[str, Any]:
    """Measure the server at `url`, or a local one; returns the figures.

    `rate` is the cameras', in frames a second; 0 sends as fast as answers come. Raises
    `BenchmarkError` where the server can't be reached.
    """
    photo = picture.read_bytes()
    frames = [encode_frame(frame) for frame in move_picture(decode_image(photo), FRAMES)]
    streams = [Client() for _ in range(clients)]
    with (
        server_at(url) as (address, pid),
        closing(Clients(address, photo, 1)) as sender,
        ThreadPoolExecutor(clients + 1) as pool,
    ):
        ends = time.monotonic() + seconds
        photos = pool.submit(sender.open_loop, PHOTO_RATE, seconds)
        running: set[Future[Any]] = {photos} | {
            pool.submit(client.play, address, frames, rate, number / clients, ends)
            for number, client in enumerate(streams)
        }
        time.sleep(min(WARM_UP_SECONDS, seconds / 2))
        sampled_from = time.monotonic()
        samples = []
        while running:
            if pid:
                samples.append(usage(pid))
            done, running = wait(running, SAMPLE_SECONDS)
            for each in done:
                each.result()
        sampled = time.monotonic() - sampled_from
    figures: dict[str, Any] = {
        "clients": [client.to_json(seconds) for client in streams],
        "photos": photos.result().to_json(),
    }
    if samples:
        figures["server"] = _describe_usage(samples, sampled)
    return figures


def write_table(figures: dict[str, Any]) -> str:
    """Return the figures as text."""
    clients = [{"client": number, **row} for number, row in enumerate(figures["clients"], start=1)]
    photos = figures["photos"]
    lines = [
        figures_table(clients, COLUMNS),
        f"photos beside them: {photos['answered']} of {photos['sent']} read, "
        f"p50 {photos['answered_p50_ms']:.0f} ms, p95 {photos['answered_p95_ms']:.0f} ms",
    ]
    lines += [figures["server"]] if "server" in figures else []
    return "\n".join(lines)


def _describe_usage(samples: Sequence[Usage], seconds: float) -> str:
    first, last = samples[0], samples[-1]
    percent = 100 * (last.processor_seconds - first.processor_seconds) / seconds
    slope = slope_per_hour([each.memory_mb for each in samples], seconds)
    return (
        f"server: {percent:.0f}% of one core; from start to end: memory {first.memory_mb:.0f} to "
        f"{last.memory_mb:.0f} MB ({slope:+.1f} MB an hour), threads {first.threads} to "
        f"{last.threads}, open files {first.files} to {last.files}"
    )
