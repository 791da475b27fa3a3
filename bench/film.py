"""Measure films on the command line: speed, memory, times of label changes, lasting numbers."""

import csv
import io
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from bench import BenchmarkError
from bench.moving import move_picture
from bench.pictures import fit_face
from bench.serving import usage

TICK = Fraction(1, 90_000)
SIZE = (640, 480)
FPS = 5
SPEED_SECONDS = 120
PART_SECONDS = 20
# Long films have few frames and are read at a lower rate, to end in minutes.
MEMORY_MINUTES, MEMORY_FPS, MEMORY_RATE = (5, 60), 1, 2
TURNS_RATE = 10
SAMPLE_SECONDS = 0.5
# Changes at none of the times that are read.
CHANGES = (1.03, 2.51, 3.27, 4.99, 6.15, 7.73, 8.88, 10.41)
FACE = (slice(64, 149), slice(246, 331))  # the rows and columns of the face in `fit_face(*SIZE)`
MOUTH = (slice(120, 153), slice(254, 314))
SMILES = "happy"
TURNS, VISIBLE_SECONDS, AWAY_SECONDS, EMPTY_SECONDS = 10, 1.0, 2.0, 4.0
Row = dict[str, str]


def write_film(
    path: Path,
    frames: Iterable[np.ndarray],
    rate: int = 30,
    times: Iterable[float] | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rotation: int = 0,
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write RGB frames as a film, at a rate or at times in seconds; returns the path.

    `rotation` is that of the metadata, in degrees counterclockwise, `aspect` a pixel's.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        assert isinstance(stream, av.VideoStream)
        stream.pix_fmt = pixel_format
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        if times is not None:
            stream.codec_context.time_base = TICK
        for index, pixels in enumerate(frames):
            if index == 0:
                stream.height, stream.width = pixels.shape[:2]
                at = iter(times or ())
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(next(at) / TICK), TICK
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def change_face() -> tuple[np.ndarray, np.ndarray]:
    """Return the astronaut smiling, and with the mouth upside down."""
    smiling = fit_face(*SIZE)
    other = smiling.copy()
    other[MOUTH] = smiling[MOUTH][::-1]
    return smiling, other


def turn_away(turns: int) -> Iterator[np.ndarray]:
    """Yield, at `TURNS_RATE`, people who turn away for two seconds and drift meanwhile.

    Between two of them nobody is there for as long as a track may last, and longer.
    """
    random = np.random.default_rng(0)
    seen = fit_face(*SIZE)
    away = seen.copy()
    head = np.zeros(seen.shape[:2], np.uint8)
    cv2.ellipse(head, (288, 107), (52, 62), 0, 0, 360, 255, -1)
    away[head > 0] = np.median(seen[40:60, 250:320].reshape(-1, 3), axis=0)
    side = FACE[0].stop - FACE[0].start
    for _ in range(turns):
        start = random.uniform((-180, -40), (180, 200))
        drift = random.uniform(-0.5, 0.5, 2) * side
        whole = 2 * VISIBLE_SECONDS + AWAY_SECONDS
        for index in range(round(whole * TURNS_RATE)):
            share = np.clip((index / TURNS_RATE - VISIBLE_SECONDS) / AWAY_SECONDS, 0, 1)
            shift = start + share * drift
            picture = away if 0 < share < 1 else seen
            matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
            yield cv2.warpAffine(picture, matrix, SIZE, borderMode=cv2.BORDER_REPLICATE)
        for _ in range(round(EMPTY_SECONDS * TURNS_RATE)):
            yield np.full_like(seen, 90)


def make_film(folder: Path, rate: int, seconds: int) -> Path:
    """Write a film of a moving face, which repeats after `PART_SECONDS`; returns the path."""
    frames = move_picture(fit_face(*SIZE), PART_SECONDS * rate, rate=rate)
    part = write_film(folder / "part.mp4", frames, rate, options={"preset": "veryfast"})
    target = folder / f"{seconds}.mp4"
    with av.open(str(target), "w") as container, av.open(str(part)) as film:
        stream = container.add_stream_from_template(film.streams.video[0])
        length = film.streams.video[0].duration or 0
        for turn in range(seconds // PART_SECONDS):
            film.seek(0)
            for packet in film.demux(video=0):
                if packet.dts is not None and packet.pts is not None:
                    packet.dts += turn * length
                    packet.pts += turn * length
                    packet.stream = stream
                    container.mux(packet)
    return target


def analyze(film: Path, *options: str) -> tuple[list[Row], float, list[tuple[float, float]]]:
    """Return a film's rows, the seconds it took, and the process's memory in MB over time."""
    started = time.monotonic()
    memory: list[tuple[float, float]] = []
    with tempfile.TemporaryFile("w+") as out:
        command = (sys.executable, "-m", "app", "analyze", str(film), "--csv", "-", *options)
        with subprocess.Popen(command, stdout=out) as process:
            while process.poll() is None:
                with suppress(OSError, StopIteration):  # It may have just ended.
                    memory.append((time.monotonic() - started, usage(process.pid).memory_mb))
                time.sleep(SAMPLE_SECONDS)
        seconds = time.monotonic() - started
        if process.returncode:
            raise BenchmarkError(f"raut analyze {film.name} failed.")
        out.seek(0)
        return list(csv.DictReader(io.StringIO(out.read()))), seconds, memory


def measure_speed(folder: Path) -> dict[str, Any]:
    """Measure the speed, in multiples of real time, of one moving face; the start included."""
    film = make_film(folder, 30, SPEED_SECONDS)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    rows, seconds, _ = analyze(film, "--fps", str(FPS))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "film_seconds": SPEED_SECONDS,
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor, 1),
        "times_real_time": round(SPEED_SECONDS / seconds, 1),
        "frames": len({row["frame"] for row in rows}),
        "without_a_face": sum(not row["face"] for row in rows),
    }


def measure_memory(folder: Path) -> dict[str, Any]:
    """Measure the memory over a short and a long film."""
    figures: dict[str, Any] = {"fps": MEMORY_FPS}
    for minutes in MEMORY_MINUTES:
        film = make_film(folder, MEMORY_RATE, minutes * 60)
        rows, seconds, memory = analyze(film, "--fps", str(MEMORY_FPS))
        # Until then models are loaded, and buffers grow to their sizes.
        steady = np.array(memory[len(memory) // 4 :])
        slope = np.polyfit(steady[:, 0] / seconds * minutes, steady[:, 1], 1)[0]
        figures[f"{minutes}_minutes"] = {
            "frames": len(rows),
            "peak_mb": round(max(each for _, each in memory)),
            "end_mb": round(float(steady[-1, 1])),
            "mb_per_film_minute": round(float(slope), 3),
        }
    return figures


def measure_changes(folder: Path) -> dict[str, Any]:
    """Measure how late a change of the label is told, of changes at known times."""
    faces = change_face()
    times = np.arange(0, CHANGES[-1] + 1, 1 / 30)
    frames = (faces[int(np.searchsorted(CHANGES, at, "right")) % 2] for at in times)
    rows, _, _ = analyze(write_film(folder / "changes.mp4", frames), "--fps", str(FPS))
    told = [
        float(row["time_s"])
        for before, row in itertools.pairwise(rows)
        if (row["expression_label"] == SMILES) != (before["expression_label"] == SMILES)
    ]
    errors = [time - change for time, change in zip(told, CHANGES, strict=False)]
    return {
        "changes": len(CHANGES),
        "told": len(told),
        "step_s": 1 / FPS,
        "error_s": [round(error, 3) for error in errors],
    }


def measure_turns(folder: Path) -> dict[str, Any]:
    """Count the people who keep their number while they turn away for two seconds."""
    film = write_film(folder / "turns.mp4", turn_away(TURNS), TURNS_RATE)
    rows, _, _ = analyze(film, "--fps", str(FPS))
    period = 2 * VISIBLE_SECONDS + AWAY_SECONDS + EMPTY_SECONDS
    kept = hidden = 0
    for turn in range(TURNS):
        here = [
            (float(row["time_s"]) - turn * period, row["track"])
            for row in rows
            if row["face"] and turn * period <= float(row["time_s"]) < (turn + 1) * period
        ]
        middle = VISIBLE_SECONDS + AWAY_SECONDS / 2
        hidden += not any(abs(at - middle) < AWAY_SECONDS / 2 - 0.2 for at, _ in here)
        before = {track for at, track in here if at < middle}
        kept += len(before) == 1 and before == {track for at, track in here if at > middle}
    return {"turns": TURNS, "unseen_meanwhile": hidden, "kept_their_number": kept}


MEASURES = {
    "speed": measure_speed,
    "changes": measure_changes,
    "turns": measure_turns,
    "memory": measure_memory,
}


def measure_films(only: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the figures of `MEASURES`, or of those named, with the machine's load before them."""
    with tempfile.TemporaryDirectory() as folder:
        for name in only or MEASURES:
            load = round(os.getloadavg()[0], 1)
            yield name, {**MEASURES[name](Path(folder)), "load": load}
