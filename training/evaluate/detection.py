"""Measure face detection, beside plain Haar on the same pictures in the same run."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, pairwise, repeat
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import cv2
import matplotlib.pyplot as plt
import numpy as np

from app.intervals import wilson_interval
from app.markdown import markdown_table, percent
from app.settings import count_processors
from app.vision.detection.detector import EFFORTS, Effort, FaceDetector
from app.vision.geometry import iou
from training.datasets import Random
from training.datasets.composites import (
    PHOTO_BOX,
    RotatedBox,
    list_photos,
    list_sources,
    paste_face,
    read_grey,
)
from training.evaluate.reports import save_figure, write_sections
from training.machine import describe_hardware
from training.runs import write_csv

TURNS = (0, 20, -20, 40, -40, 90, -90, 180)
SIZES = (20, 24, 30, 40, 60, 100, 200)
GAMMAS = (1, 2, 3, 4)
MINIMUM_IOU = 0.4  # of a box with the face that it detects
FRAME = (480, 640)
FACE_SIDE = 160  # in a frame, by default
AXES = {
    "turn": "turn in degrees",
    "size": "side of the face in pixels",
    "gamma": "gamma (higher is darker)",
}
SCORES = (0.0, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)  # edges of the reliability table


Result = TypeVar("Result")
Picture = tuple[np.ndarray, list[RotatedBox]]  # RGB uint8, and the faces in it
# A detected face with its score (None if the detector gives none).
Detection = tuple[RotatedBox, float | None]
Detector = Callable[[np.ndarray], list[Detection]]
Score = tuple[float, bool]  # of a box, and whether the box is a face


@dataclass(frozen=True)
class Row:
    """Hold one detector's figures in one case.

    `recall` has a 95% interval (None without faces), `false_boxes` are per picture, `roll_error` is
    the median over the detected faces in degrees, `milliseconds` the median on one core.
    """

    case: str
    detector: str
    pictures: int
    recall: float | None
    recall_low: float | None
    recall_high: float | None
    false_boxes: float
    roll_error: float | None
    milliseconds: float


Measured = tuple[Row, list[Score]]


def evaluate_detector(
    data: Path, models: Path, out: Path, seed: int, limit: int | None
) -> list[Row]:
    """Measure every case with plain Haar and every effort; write table and plots to `out`.

    The cases are shared out to all processors. `data` is the folder that `data prepare faces`
    reads; its validation split is measured, with at most `limit` photos of people. Returns the
    rows. Raises `DataError` if a source is missing.
    """
    measured = dict(share_out(partial(_measure_cases, data, models, seed, limit)))
    results = [result for _, results in sorted(measured.items()) for result in results]
    rows = [row for row, _ in results]
    scores: dict[str, list[Score]] = {
        effort: [score for row, scored in results if row.detector == effort for score in scored]
        for effort in EFFORTS
    }
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "detection.csv", [asdict(row) for row in rows])
    _write_page(rows, scores, FaceDetector.load(models).face_classifier.digest, out)
    _plot_recall(rows, out)
    return rows


def share_out(measure: Callable[[int, int], list[Result]]) -> list[Result]:
    """Measure in a process for each processor; `measure` gets their number and its own."""
    shares = count_processors()
    with ProcessPoolExecutor(shares, get_context("spawn")) as pool:
        return list(chain.from_iterable(pool.map(measure, repeat(shares), range(shares))))


def load_detectors(models: Path) -> dict[str, Detector]:
    """Return plain Haar, and the detector among `models` at every effort."""
    detect = partial(detect_faces, FaceDetector.load(models))
    return {"haar": plain_haar(), **{effort: partial(detect, effort) for effort in EFFORTS}}


def _measure_cases(
    data: Path, models: Path, seed: int, limit: int | None, shares: int, share: int
) -> list[tuple[int, list[Measured]]]:
    detectors = load_detectors(models)
    return [
        (number, [_measure(case, name, detect, pictures) for name, detect in detectors.items()])
        for number, (case, pictures) in enumerate(_make_cases(data, seed, limit))
        if number % shares == share
    ]


def detect_faces(detector: FaceDetector, effort: Effort, pixels: np.ndarray) -> list[Detection]:
    """Return the faces that a detector finds, each with its score."""
    found: list[Detection] = []
    for face in detector.detect(pixels, effort):
        x, y = face.box.corners.reshape(2, 2).mean(axis=0).tolist()
        found.append((RotatedBox(x, y, face.box.width, face.roll_degrees), face.score))
    return found


def plain_haar() -> Detector:
    """Return OpenCV's frontal cascade with its usual settings, 1.1 and 5."""
    folder = cv2.data.haarcascades  # type: ignore[attr-defined] # no stub
    cascade = cv2.CascadeClassifier(f"{folder}haarcascade_frontalface_default.xml")

    def detect(pixels: np.ndarray) -> list[Detection]:
        boxes = cascade.detectMultiScale(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), 1.1, 5)
        return [(RotatedBox(x + w / 2, y + h / 2, w, 0.0), None) for x, y, w, h in boxes]

    return detect


def _measure(case: str, name: str, detect: Detector, pictures: list[Picture]) -> Measured:
    found = false = count = 0
    milliseconds, roll_errors, scored = [], [], []
    for pixels, faces in pictures:
        # The CPU time of one thread does not depend on the machine's load.
        started = time.process_time()
        boxes = detect(pixels)
        milliseconds.append((time.process_time() - started) * 1000)
        corners = np.array([box.corners for box, _ in boxes]).reshape(-1, 4)
        shared = np.array([iou(face.corners, corners) for face in faces])
        hits = shared.reshape(len(faces), len(boxes)) >= MINIMUM_IOU
        count += len(faces)
        for index in np.flatnonzero(hits.any(axis=1)):
            found += 1
            nearest, _ = boxes[shared[index].argmax()]
            difference = faces[index].roll_degrees - nearest.roll_degrees
            roll_errors.append(abs((difference + 180) % 360 - 180))
        for (_, score), is_face in zip(boxes, map(any, hits.T), strict=True):
            false += not is_face
            if score is not None:
                scored.append((score, is_face))
    shares = (found / max(1, count), *wilson_interval(found, count))
    recall, low, high = (round(share, 4) if count else None for share in shares)
    false_boxes = round(false / len(pictures), 4)
    roll_error = round(float(np.median(roll_errors)), 1) if roll_errors else None
    median = round(float(np.median(milliseconds)), 1)
    row = Row(case, name, len(pictures), recall, low, high, false_boxes, roll_error, median)
    return row, scored


def _make_cases(data: Path, seed: int, limit: int | None) -> Iterator[tuple[str, list[Picture]]]:
    sources = list_sources(data, "validation", seed)
    photos = [read_grey(file) for file in list_photos(data, "validation", seed)[:limit]]
    scenes = [read_grey(file) for file in sources.scenes]
    generator = np.random.default_rng(seed)

    def frame(photo: np.ndarray, side: float, turn: float = 0.0, gamma: float = 1.0) -> Picture:
        scene = scenes[generator.integers(len(scenes))]
        canvas = cv2.resize(scene, FRAME[::-1])
        room = min(FRAME[0] / 2, side * (1.0 if turn else 0.7))
        x, y = (generator.uniform(room, length - room) for length in reversed(FRAME))
        face = RotatedBox(x, y, side, turn)
        pixels = paste_face(canvas, photo, PHOTO_BOX, face)
        return _as_rgb((255 * (pixels / 255) ** gamma).astype(np.uint8)), [face]

    yield "plain", [_portrait(photo) for photo in photos]
    yield "framed", [frame(photo, FACE_SIDE) for photo in photos]
    for turn in TURNS:
        yield f"turn {turn}", [frame(photo, FACE_SIDE, turn) for photo in photos]
    for side in SIZES:
        yield f"size {side}", [frame(photo, side) for photo in photos]
    for gamma in GAMMAS:
        yield f"gamma {gamma}", [frame(photo, FACE_SIDE, gamma=gamma) for photo in photos]
    groups = math.ceil(len(photos) / 3)
    yield "six faces", [_group(photos, scenes, generator) for _ in range(groups)]
    yield "no face, scenes", [(_as_rgb(scene), []) for scene in scenes]
    yield "no face, animals", [(_as_rgb(read_grey(file)), []) for file in sources.animals]


def _portrait(photo: np.ndarray) -> Picture:
    """Return a photo as it is."""
    side = photo.shape[0]
    face = RotatedBox(PHOTO_BOX.x * side, PHOTO_BOX.y * side, PHOTO_BOX.side * side, 0.0)
    return _as_rgb(photo), [face]


def _group(photos: list[np.ndarray], scenes: list[np.ndarray], generator: Random) -> Picture:
    """Paste six faces of 60 to 160 pixels into 1280 x 800."""
    canvas = cv2.resize(scenes[generator.integers(len(scenes))], (1280, 800))
    faces = []
    for number in range(6):
        side = generator.uniform(60, 160)
        left, top = (number % 3) * 426, (number // 3) * 400
        x, y = left + generator.uniform(120, 306), top + generator.uniform(120, 280)
        faces.append(RotatedBox(x, y, side, 0.0))
        photo = photos[generator.integers(len(photos))]
        canvas = paste_face(canvas, photo, PHOTO_BOX, faces[-1])
    return _as_rgb(canvas), faces


def _as_rgb(grey: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)


def _write_page(rows: list[Row], scores: dict[str, list[Score]], digest: str, out: Path) -> None:
    cases: dict[str, list[Row]] = {}
    for row in rows:
        cases.setdefault(row.case, []).append(row)
    table = [[case, own[0].pictures, *map(_describe, own)] for case, own in cases.items()]
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    write_sections(
        out / "README.md",
        "# Face detection",
        f"{date}, {describe_hardware()['processor']}, face classifier {digest[:12]}.",
        "Recall / false boxes per picture / median milliseconds on one core. "
        "detection.csv has the recalls' 95% intervals.",
        "Photos of people and pictures of clothes and animals that no model was trained on. Faces "
        f"are pasted into 640 x 480 except in the case plain, {FACE_SIDE} pixels large by default.",
        markdown_table(table, ["case", "pictures", *dict.fromkeys(row.detector for row in rows)]),
        "\n".join(f"![recall by {name}](recall-by-{name}.png)" for name in AXES),
        "## Reliability of the score",
        "Share of faces among the boxes with such a score, over all cases / number of boxes.",
        markdown_table(_rate_scores(scores), ["score", *EFFORTS]),
        "Generated by `python -m training evaluate-detector DIR`; do not edit.",
    )


def _describe(row: Row) -> str:
    return f"{percent(row.recall)} / {row.false_boxes:.3f} / {row.milliseconds:.0f}"


def _rate_scores(scores: dict[str, list[Score]]) -> list[list[str]]:
    rows = []
    for low, high in pairwise(SCORES):
        rows.append([f"{low} to {high}"])
        for scored in scores.values():
            right = [face for score, face in scored if low <= score < high or score == high == 1]
            rows[-1].append(f"{np.mean(right):.1%} / {len(right)}" if right else "")
    return rows


def _plot_recall(rows: list[Row], out: Path) -> None:
    for name, label in AXES.items():
        figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
        for detector in dict.fromkeys(row.detector for row in rows):
            points = sorted(
                (int(row.case.split()[1]), row.recall or 0.0)
                for row in rows
                if row.detector == detector and row.case.startswith(f"{name} ")
            )
            axes.plot(*zip(*points, strict=True), marker=".", label=detector)
        axes.set(xlabel=label, ylabel="recall", ylim=(-0.02, 1.02))
        axes.legend()
        save_figure(figure, out / f"recall-by-{name}.png")
