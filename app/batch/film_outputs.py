"""Write what is seen beside or in a film: captions (WebVTT), and a copy with boxes and labels."""

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

import cv2
import numpy as np

from app.batch.inputs import Sampling, open_film
from app.vision.table import Row

# The palette of Okabe and Ito (2008), which colour-blind people can tell apart too.
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0))
TIME_BASE = Fraction(1, 90_000)  # that of broadcast, a multiple of all common rates
Writer = Callable[[list[Row]], None]


@dataclass
class _Cue:
    start: float
    last: float
    label: str


@contextmanager
def captions(stream: IO[str], step: float) -> Iterator[Writer]:
    """Yield what takes the rows of a film's frames, `step` seconds apart, and write WebVTT.

    Each track has a cue for as long as it confidently shows an expression.
    """
    open_cues: dict[int, _Cue] = {}
    done: list[tuple[float, float, int, str]] = []

    def write(rows: list[Row]) -> None:
        now = rows[0]["time_s"]
        shown = {
            row["track"]: row["expression_label"]
            for row in rows
            if row["track"] and row.get("expression_confident")
        }
        for track, cue in list(open_cues.items()):
            if shown.get(track) == cue.label and now < cue.last + 2 * step:
                cue.last = now
            else:
                finish(track, now)
        for track in shown.keys() - open_cues.keys():
            open_cues[track] = _Cue(now, now, shown[track])

    def finish(track: int, now: float) -> None:
        cue = open_cues.pop(track)
        done.append((cue.start, min(now, cue.last + step), track, cue.label))

    yield write
    for track in list(open_cues):
        finish(track, math.inf)
    cues = [
        f"\n{_clock(start)} --> {_clock(end)}\n<v {track}>{track}: {label}\n"
        for start, end, track, label in sorted(done)
    ]
    stream.write("WEBVTT\n" + "".join(cues))


def _clock(seconds: float) -> str:
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"


@contextmanager
def annotated_film(source: str, target: Path, sampling: Sampling) -> Iterator[Writer]:
    """Yield what takes the rows of a film's frames, and write the film with them drawn in.

    The copy has all frames of the sampled part at their times, those between two that were read
    with the faces of the first. It is MP4 (H.264), without sound.
    """
    film = open_film(source)
    import av

    aside = target.with_name(target.name + ".part")
    frames = itertools.dropwhile(
        lambda frame: frame[0] < sampling.start, film.frames(sampling.start)
    )
    waiting = next(frames, None)
    shown: list[Row] = []
    with av.open(str(aside), "w", format="mp4") as container:
        encoder = container.add_stream("libx264", options={"preset": "veryfast"})
        encoder.pix_fmt = "yuv420p"
        encoder.codec_context.time_base = TIME_BASE

        def draw_until(end: float) -> None:
            nonlocal waiting
            while waiting and waiting[0] < end:
                pixels = film.upright(waiting[1])
                for row in shown:
                    _draw(pixels, row)
                if not encoder.codec_context.is_open:  # Later frames are fitted to the first.
                    encoder.height, encoder.width = (each // 2 * 2 for each in pixels.shape[:2])
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts = round((waiting[0] - sampling.start) / TIME_BASE)
                frame.time_base = TIME_BASE
                container.mux(encoder.encode(frame))
                waiting = next(frames, None)

        def write(rows: list[Row]) -> None:
            nonlocal shown
            draw_until(rows[0]["time_s"])
            shown = [row for row in rows if row["face"]]

        yield write
        draw_until(math.inf if sampling.end is None else sampling.end)
        container.mux(encoder.encode(None))
    aside.replace(target)


def _draw(pixels: np.ndarray, row: Row) -> None:
    colour = COLOURS[(row["track"] or 0) % len(COLOURS)]
    thickness = max(1, len(pixels) // 240)
    size, left, top = row["box_width"], row["box_x"], row["box_y"]
    centre = (left + size / 2, top + size / 2)
    corners = cv2.boxPoints((centre, (size, size), row["roll_degrees"]))
    cv2.polylines(pixels, [corners.round().astype(np.int32)], True, colour, thickness, cv2.LINE_AA)
    label = row.get("expression_label", "") if row.get("expression_confident", True) else "unsure"
    text, start = f"{row['track'] or ''} {label}".strip(), (left, top - 2 * thickness)
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, len(pixels) / 800
    for ink, width in (((0, 0, 0), 3 * thickness), (colour, thickness)):
        cv2.putText(pixels, text, start, font, scale, ink, width, cv2.LINE_AA)
