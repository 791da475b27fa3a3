"""Measure how well faces are found, beside plain Haar on the same pictures in the same run."""

from __future__ import annotations

import csv
import datetime
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from itertools import chain, pairwise
from multiprocessing import get_context
from pathlib import Path

import cv2
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from app.intervals import wilson_interval
from app.markdown import markdown_table
from app.settings import count_processors
from app.vision.detection.detector import EFFORTS, Effort, FaceDetector
from bench.machine import describe_hardware
from training.datasets.composites import (
    PHOTO_PLACE,
    PlacedFace,
    iou,
    list_photos,
    list_sources,
    paste_face,
    read_grey,
)

TURNS = (0, 20, -20, 40, -40, 90, -90, 180)
SIZES = (20, 24, 30, 40, 60, 100, 200)
GAMMAS = (1, 2, 3, 4)
FOUND = 0.4  # joint share of area from which a box is the face's
FRAME = (480, 640)
FACE_SIDE = 160  # in a frame, where nothing else is said
SCORES = (0.0, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)  # edges of the reliability table


@dataclass(frozen=True)
class Picture:
    """Hold a picture, RGB uint8, and the faces in it."""

    pixels: np.ndarray
    faces: tuple[PlacedFace, ...]


@dataclass(frozen=True)
class Found:
    """Hold a face that was found, with its score (None where the detector gives none)."""

    place: PlacedFace
    score: float | None


Finder = Callable[[np.ndarray], list[Found]]


@dataclass(frozen=True)
class Row:
    """Hold one detector's figures in one case.

    `recall` is the share of faces found with its 95% interval (None without faces),
    `false_boxes` are per picture, `roll_error` is the median over the faces found in degrees,
    `milliseconds` the median of one core's.
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


Measured = tuple[Row, list[tuple[float, bool]]]  # with whether each score was a face's


@dataclass(frozen=True)
class Report:
    """Collect what is measured: the rows, and for each effort whether each score was a face's."""

    rows: list[Row]
    scored: dict[str, list[tuple[float, bool]]]


def write_detection_report(
    data: Path, models: Path, out: Path, seed: int, limit: int | None
) -> list[Row]:
    """Measure every case with plain Haar and every effort; write table and plots to `out`.

    Every processor takes a share of the cases. `data` is the folder that `data prepare faces`
    reads; its validation part is measured, of the people at most `limit` photos. Returns the
    rows. Raises `DataError` where a source is missing.
    """
    shares = count_processors()
    measure = partial(_measure_cases, data, models, seed, limit, shares)
    with ProcessPoolExecutor(shares, get_context("spawn")) as pool:
        measured = dict(chain.from_iterable(pool.map(measure, range(shares))))
    report = Report([], {effort: [] for effort in EFFORTS})
    for _, found in sorted(measured.items()):
        for row, scored in found:
            report.rows.append(row)
            if row.detector in report.scored:
                report.scored[row.detector] += scored
    out.mkdir(parents=True, exist_ok=True)
    _write_csv(report.rows, out)
    _write_page(report, FaceDetector.load(models).face_classifier.digest, out)
    _draw_plots(report.rows, out)
    return report.rows


def _measure_cases(
    data: Path, models: Path, seed: int, limit: int | None, shares: int, share: int
) -> list[tuple[int, list[Measured]]]:
    """Measure every so many cases, each by its number, with every detector."""
    detector = FaceDetector.load(models)
    finders: dict[str, Finder] = {"haar": _plain_haar()}
    finders |= {effort: _our_finder(detector, effort) for effort in EFFORTS}
    return [
        (number, [_measure(case, name, finder, pictures) for name, finder in finders.items()])
        for number, (case, pictures) in enumerate(_draw_cases(data, seed, limit))
        if number % shares == share
    ]


def _our_finder(detector: FaceDetector, effort: Effort) -> Finder:
    """Return the detector at one effort."""

    def find(pixels: np.ndarray) -> list[Found]:
        return [
            Found(
                PlacedFace(
                    face.box.x + face.box.width / 2,
                    face.box.y + face.box.height / 2,
                    face.box.width,
                    face.roll_degrees,
                ),
                face.score,
            )
            for face in detector.detect(pixels, effort)
        ]

    return find


def _plain_haar() -> Finder:
    """Return OpenCV's frontal cascade at its usual settings, 1.1 and 5."""
    folder = cv2.data.haarcascades  # type: ignore[attr-defined] # no stub
    cascade = cv2.CascadeClassifier(f"{folder}haarcascade_frontalface_default.xml")

    def find(pixels: np.ndarray) -> list[Found]:
        boxes = cascade.detectMultiScale(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), 1.1, 5)
        return [Found(PlacedFace(x + w / 2, y + h / 2, w, 0.0), None) for x, y, w, h in boxes]

    return find


def _measure(case: str, name: str, find: Finder, pictures: list[Picture]) -> Measured:
    """Run one detector over the pictures of a case; tell of each score whether it was a face's."""
    found = false = count = 0
    milliseconds, roll_errors, scored = [], [], []
    for picture in pictures:
        # One thread's processor time is what one core takes, however busy the machine is.
        started = time.process_time()
        boxes = find(picture.pixels)
        milliseconds.append((time.process_time() - started) * 1000)
        for face in picture.faces:
            places = (box.place for box in boxes)
            near = max(places, key=lambda place: iou(face, place), default=None)
            count += 1
            if near and iou(face, near) >= FOUND:
                found += 1
                turn = face.roll_degrees - near.roll_degrees
                roll_errors.append(abs((turn + 180) % 360 - 180))
        for box in boxes:
            right = any(iou(face, box.place) >= FOUND for face in picture.faces)
            false += not right
            if box.score is not None:
                scored.append((box.score, right))
    low, high = wilson_interval(found, count)
    row = Row(
        case=case,
        detector=name,
        pictures=len(pictures),
        recall=round(found / count, 4) if count else None,
        recall_low=round(low, 4) if count else None,
        recall_high=round(high, 4) if count else None,
        false_boxes=round(false / len(pictures), 4),
        roll_error=round(float(np.median(roll_errors)), 1) if roll_errors else None,
        milliseconds=round(float(np.median(milliseconds)), 1),
    )
    return row, scored


def _draw_cases(data: Path, seed: int, limit: int | None) -> Iterator[tuple[str, list[Picture]]]:
    """Draw the pictures of each case from the validation part."""
    sources = list_sources(data, "validation", seed)
    photos = [read_grey(file) for file in list_photos(data, "validation", seed)[:limit]]
    scenes = [read_grey(file) for file in sources.scenes]
    generator = np.random.default_rng(seed)

    def frame(photo: np.ndarray, side: float, turn: float = 0.0, gamma: float = 1.0) -> Picture:
        scene = scenes[generator.integers(len(scenes))]
        canvas = cv2.resize(scene, FRAME[::-1])
        room = min(FRAME[0] / 2, side * (1.0 if turn else 0.7))
        face = PlacedFace(
            generator.uniform(room, FRAME[1] - room),
            generator.uniform(room, FRAME[0] - room),
            side,
            turn,
        )
        pixels = paste_face(canvas, photo, PHOTO_PLACE, face, 0.0)
        return Picture(_as_rgb((255 * (pixels / 255) ** gamma).astype(np.uint8)), (face,))

    yield "plain", [_portrait(photo) for photo in photos]
    yield "framed", [frame(photo, FACE_SIDE) for photo in photos]
    for turn in TURNS:
        yield f"turn {turn}", [frame(photo, FACE_SIDE, turn) for photo in photos]
    for side in SIZES:
        yield f"size {side}", [frame(photo, side) for photo in photos]
    for gamma in GAMMAS:
        yield f"gamma {gamma}", [frame(photo, FACE_SIDE, gamma=gamma) for photo in photos]
    yield (
        "six faces",
        [_group(photos, scenes, generator) for _ in range(math.ceil(len(photos) / 3))],
    )
    yield "no face, scenes", [Picture(_as_rgb(scene), ()) for scene in scenes]
    animals = [read_grey(file) for file in sources.animals]
    yield "no face, animals", [Picture(_as_rgb(animal), ()) for animal in animals]


def _portrait(photo: np.ndarray) -> Picture:
    """Take a photo as it is."""
    side = photo.shape[0]
    face = PlacedFace(PHOTO_PLACE.x * side, PHOTO_PLACE.y * side, PHOTO_PLACE.side * side, 0.0)
    return Picture(_as_rgb(photo), (face,))


def _group(
    photos: list[np.ndarray], scenes: list[np.ndarray], generator: np.random.Generator
) -> Picture:
    """Set six faces of 60 to 160 pixels into 1280 x 800."""
    canvas = cv2.resize(scenes[generator.integers(len(scenes))], (1280, 800))
    faces = []
    for number in range(6):
        side = generator.uniform(60, 160)
        left, top = (number % 3) * 426, (number // 3) * 400
        face = PlacedFace(
            left + generator.uniform(120, 306), top + generator.uniform(120, 280), side, 0.0
        )
        photo = photos[generator.integers(len(photos))]
        canvas = paste_face(canvas, photo, PHOTO_PLACE, face, 0.0)
        faces.append(face)
    return Picture(_as_rgb(canvas), tuple(faces))


def _as_rgb(grey: np.ndarray) -> np.ndarray:
    """Repeat a grey picture's channel."""
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)


def _write_csv(rows: list[Row], out: Path) -> None:
    """Write all figures."""
    columns = [field.name for field in fields(Row)]
    with (out / "detection.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows([getattr(row, column) for column in columns] for row in rows)


def _write_page(report: Report, face_classifier: str, out: Path) -> None:
    """Write the figures as tables, with the plots."""
    rows = report.rows
    names = list(dict.fromkeys(row.detector for row in rows))
    table = []
    for case in dict.fromkeys(row.case for row in rows):
        of_case = [row for row in rows if row.case == case]
        cells = [
            f"{'' if r.recall is None else format(r.recall, '.1%')} / {r.false_boxes:.3f} / "
            f"{r.milliseconds:.0f}"
            for r in of_case
        ]
        table.append([case, str(of_case[0].pictures), *cells])
    hardware = describe_hardware()
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    text = [
        "# How well faces are found",
        f"{date}, {hardware['processor']}, face classifier {face_classifier[:12]}.",
        "Share of faces found / false boxes per picture / median milliseconds on one core. "
        "The shares' 95% intervals stand in detection.csv.",
        "Photos of people and pictures of clothes and animals that nothing was trained on. Faces "
        "are set into 640 x 480 unless plain, 160 pixels large where nothing else is said.",
        markdown_table(table, ["case", "pictures", *names]),
        "\n".join(
            f"![recall by {name}](recall-by-{name}.png)" for name in ("turn", "size", "gamma")
        ),
        "## What a score is worth",
        "Share of the boxes with such a score, over all cases, that are a face / their number.",
        markdown_table(_rate_scores(report.scored), ["score", *EFFORTS]),
        "Written by `python -m training detect-report DIR`; don't edit.",
    ]
    (out / "README.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")


def _rate_scores(scored: dict[str, list[tuple[float, bool]]]) -> list[list[str]]:
    """Tell for each range of scores, by effort, how many boxes are faces."""
    rows = []
    for low, high in pairwise(SCORES):
        cells = []
        for effort in EFFORTS:
            right = [
                face for score, face in scored[effort] if low <= score < high or score == high == 1
            ]
            cells.append(f"{np.mean(right):.1%} / {len(right)}" if right else "")
        rows.append([f"{low} to {high}", *cells])
    return rows


def _draw_plots(rows: list[Row], out: Path) -> None:
    """Draw recall over turn, size and darkness."""
    for name, label in (
        ("turn", "turn in degrees"),
        ("size", "side of the face in pixels"),
        ("gamma", "gamma (higher is darker)"),
    ):
        figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
        for detector in dict.fromkeys(row.detector for row in rows):
            points = sorted(
                (int(row.case.split()[1]), row.recall or 0.0)
                for row in rows
                if row.detector == detector and row.case.startswith(f"{name} ")
            )
            axes.plot(*zip(*points, strict=True), marker=".", label=detector)
        axes.set(xlabel=label, ylabel="share found", ylim=(-0.02, 1.02))
        axes.legend()
        figure.savefig(out / f"recall-by-{name}.png", dpi=90)
        plt.close(figure)
