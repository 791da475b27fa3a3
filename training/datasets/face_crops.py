"""Cut the face classifier's training crops: faces near their position, and other candidates.

The crops are what the detector classifies: squares near a face that is rotated, shrunk, darkened,
blurred and compressed, with the offset to the face; and squares that the permissive cascade
proposes where there is no face.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import IO

import cv2
import numpy as np

from app.files import atomic_write
from app.vision.detection.detector import FACE_CLASSIFIER
from app.vision.detection.face_classifier import FaceClassifier
from app.vision.detection.proposals import CascadeProposer
from app.vision.geometry import Box, iou
from app.vision.imaging.crops import CropShape, cut_crop
from app.vision.readings import Detection
from training.datasets.composites import (
    PHOTO_PLACE,
    FacePlace,
    PlacedFace,
    Sources,
    degrade,
    list_sources,
    paste_face,
    read_grey,
    sample_background,
)
from training.datasets.loading import PLACE_VALUES, PLACES_FILE

Cut = Callable[[int], list["Sample"]]
Row = list[str]  # a file, and its face's offset if that is known
SHAPE = CropShape(32, 1)
# Between the detector's first pass and its next. With the proposals of exactly those two, 5
# instead of 3 of 149 animals were false positives, and one framed face more was missed.
WORKING_SIDE = 320
MISTAKEN = 0.1  # score from which a square without a face is a hard negative
TURNS = (0.0, 40.0, -40.0, 90.0, -90.0, 140.0, -140.0, 180.0)
LARGEST_ROLL = 60.0  # degrees beyond which a crop is no positive
COMPOSITES = {"train": 5000, "validation": 800}
SMALLEST_WRONG_ROLL = 110.0  # degrees beyond which a crop is a negative
NEAR, FAR = 0.35, 0.15  # IoU: a positive from the first, a negative below the second


@dataclass(frozen=True)
class Sample:
    """Hold a crop, and the offset to its face: None for no face, () for an unknown one."""

    crop: np.ndarray
    place: tuple[float, ...] | None


def prepare_faces(
    source: Path, out: Path, seed: int, mistakes_of: Path | None = None
) -> dict[str, int]:
    """Write crops of faces and of other things as OUT/<split>/{face,other} with `places.csv`.

    With `mistakes_of`, a folder of models, only adds to OUT/train what the face classifier among
    them wrongly takes for faces. Returns the number of pictures of each split. Raises `DataError`
    if a source is missing.
    """
    if mistakes_of:
        sources = list_sources(source, "train", seed)
        worker = _Worker(sources, out, "train", (seed, False), mistakes_of)
        mistakes = _cut_all(worker, [(_cut_mistakes, 2 * len(sources.backgrounds))])
        return {"train": len(list(mistakes))}
    counts = {}
    rows: list[Row] = []
    for split in ("train", "validation"):
        sources = list_sources(source, split, seed)
        for name in ("face", "other"):
            (out / split / name).mkdir(parents=True, exist_ok=True)
        worker = _Worker(sources, out, split, (seed, split == "validation"))
        jobs: list[tuple[Cut, int]] = [
            (_cut_composite, COMPOSITES[split]),
            (_cut_background, len(sources.backgrounds)),
        ]
        written = list(_cut_all(worker, jobs))
        counts[split] = len(written)
        rows += [row for row in written if len(row) > 1]
    atomic_write(out / PLACES_FILE, partial(_write_places, rows))
    return counts


def _write_places(rows: list[Row], stream: IO[bytes]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([["file", *PLACE_VALUES], *rows])
    stream.write(text.getvalue().encode())


def relate(face: PlacedFace, square: PlacedFace) -> tuple[float, ...]:
    """Return a face's offset from a square: the face classifier's regression targets.

    x and y are shares of the square's side along its own, rotated axes; size is the logarithm of
    the sides' ratio; sine and cosine are of the face's roll relative to the square's.
    """
    angle = math.radians(square.roll_degrees)
    dx, dy = (face.x - square.x) / square.side, (face.y - square.y) / square.side
    roll = math.radians(face.roll_degrees - square.roll_degrees)
    return (
        dx * math.cos(angle) + dy * math.sin(angle),
        dy * math.cos(angle) - dx * math.sin(angle),
        math.log(face.side / square.side),
        math.sin(roll),
        math.cos(roll),
    )


def _cut_all(worker: _Worker, jobs: list[tuple[Cut, int]]) -> Iterator[Row]:
    # A forked copy of a process in which TensorFlow has run would deadlock on its threads.
    spawning = get_context("spawn")
    with ProcessPoolExecutor(None, spawning, _start_worker, (worker,)) as pool:
        for cut, count in jobs:
            for rows in pool.map(_write_samples, repeat(cut), range(count), chunksize=10):
                yield from rows


@dataclass(frozen=True)
class _Worker:
    sources: Sources
    out: Path
    split: str
    seed: tuple[int, int]
    models: Path | None = None  # folder of the face classifier whose mistakes are mined


_worker: _Worker
_proposer: CascadeProposer
_face_classifier: FaceClassifier | None


def _start_worker(worker: _Worker) -> None:
    global _worker, _proposer, _face_classifier
    cv2.setNumThreads(1)
    _worker, _proposer = worker, CascadeProposer()
    _face_classifier = (
        FaceClassifier.load(worker.models / FACE_CLASSIFIER) if worker.models else None
    )


def _write_samples(cut: Cut, number: int) -> list[Row]:
    rows: list[Row] = []
    for index, sample in enumerate(cut(number)):
        name = "other" if sample.place is None else "face"
        kind = cut.__name__.removeprefix("_cut_")
        if _face_classifier:
            # Another face classifier makes mistakes of its own.
            kind += f"-of-{_face_classifier.digest[:6]}-"
        file = f"{_worker.split}/{name}/{kind}{number:05d}-{index:02d}.png"
        cv2.imwrite(str(_worker.out / file), sample.crop)
        rows.append([file, *(f"{value:.4f}" for value in sample.place or ())])
    return rows


def _cut_composite(number: int) -> list[Sample]:
    generator = np.random.default_rng((*_worker.seed, 0, number))
    picture, faces = sample_composite(_worker.sources, generator)
    samples = []
    for face in faces:
        for loose in (True, True, True, True, False, False, False, False):
            square = _sample_nearby(face, loose, generator)
            samples.append(
                Sample(_cut(picture, square), relate(face, square) if face.known else ())
            )
    others = []
    turn = 0.0 if generator.random() < 0.5 else float(generator.choice(TURNS[1:]))
    for square in _propose(picture, turn):
        near = max(faces, key=lambda face: iou(face.corners, square.corners))
        share = iou(near.corners, square.corners)
        off = abs((near.roll_degrees - square.roll_degrees + 180) % 360 - 180)
        if share > NEAR and off <= LARGEST_ROLL:
            place = relate(near, square) if near.known else ()
            samples.append(Sample(_cut(picture, square), place))
        elif share < FAR or off > SMALLEST_WRONG_ROLL:
            others.append(square)
    return samples + _sample_negatives(picture, others, 14, generator)


def _cut_background(number: int) -> list[Sample]:
    generator = np.random.default_rng((*_worker.seed, 1, number))
    picture = _read_background(number, generator)
    turns = (0.0, *generator.choice(TURNS[1:], 2, replace=False))
    squares = [square for turn in turns for square in _propose(picture, float(turn))]
    return _sample_negatives(picture, squares, 24, generator)


def _sample_negatives(
    picture: np.ndarray, squares: list[PlacedFace], most: int, generator: np.random.Generator
) -> list[Sample]:
    chosen = generator.permutation(len(squares))[:most]
    return [Sample(_cut(picture, squares[index]), None) for index in chosen]


def _read_background(number: int, generator: np.random.Generator) -> np.ndarray:
    picture = read_grey(_worker.sources.backgrounds[number])
    zoom = generator.uniform(1.0, 2.2)
    return degrade(cv2.resize(picture, None, fx=zoom, fy=zoom), generator)


def _cut_mistakes(number: int) -> list[Sample]:
    assert _face_classifier
    generator = np.random.default_rng((*_worker.seed, 2, number))
    faces: list[PlacedFace] = []
    if number < len(_worker.sources.backgrounds):
        picture = _read_background(number, generator)
    else:
        picture, faces = sample_composite(_worker.sources, generator)
    mistaken = []
    for turn in (0.0, float(generator.choice(TURNS[1:]))):
        proposals = _propose(picture, turn)
        places = np.array([(p.x, p.y, p.side, p.roll_degrees) for p in proposals], np.float32)
        for _ in range(3):
            answers = _face_classifier.classify(picture, places.reshape(-1, 4))
            taken = answers.scores > MISTAKEN
            squares = [PlacedFace(*place) for place in places.reshape(-1, 4)[taken].tolist()]
            mistaken += [
                square
                for square in squares
                if all(iou(face.corners, square.corners) < FAR for face in faces)
            ]
            places = answers.squares[taken]
    return _sample_negatives(picture, mistaken, 12, generator)


def sample_composite(
    sources: Sources, generator: np.random.Generator
) -> tuple[np.ndarray, list[PlacedFace]]:
    """Sample a picture of one to four faces at random sizes and rolls, with their positions."""
    canvas = sample_background(sources.backgrounds, generator)
    faces: list[PlacedFace] = []
    # A feathered square must not give a face away: other things are pasted in the same way.
    if generator.random() < 0.4:
        patch = sample_background(sources.backgrounds, generator)[:300, :300]
        where = _sample_position(canvas, True, generator)
        canvas = paste_face(canvas, patch, FacePlace(0.5, 0.5, 0.9), where, 0.05)
    for _ in range(generator.choice((1, 2, 3, 4), p=(0.55, 0.2, 0.15, 0.1))):
        file, place = _sample_face(sources, generator)
        face = _sample_position(canvas, place.known, generator)
        if any(iou(face.corners, other.corners) > 0.02 for other in faces):
            continue
        feather = generator.choice((0.0, 0.03, 0.1))
        crop = read_grey(file)
        if place.side > 1:
            room = crop.shape[0] // 8  # the box is larger than the crop
            crop = cv2.copyMakeBorder(crop, *(room,) * 4, cv2.BORDER_REPLICATE)
            grown = crop.shape[0] / (crop.shape[0] - 2 * room)
            place = FacePlace(
                0.5 + (place.x - 0.5) / grown, 0.5 + (place.y - 0.5) / grown, place.side / grown
            )
        canvas = paste_face(canvas, crop, place, face, feather)
        faces.append(face)
    return degrade(canvas, generator), faces


def _sample_face(sources: Sources, generator: np.random.Generator) -> tuple[Path, FacePlace]:
    photos = sum(place == PHOTO_PLACE for _, place in sources.faces[:1000])
    if generator.random() < 0.35:
        return sources.faces[generator.integers(photos)]
    return sources.faces[generator.integers(photos, len(sources.faces))]


def _sample_position(canvas: np.ndarray, known: bool, generator: np.random.Generator) -> PlacedFace:
    height, width = canvas.shape
    side = math.exp(generator.uniform(math.log(18), math.log(0.9 * height)))
    x, y = (
        generator.uniform(0.03, 0.97) * length
        if generator.random() < 0.1
        else generator.uniform(min(side / 2, length / 2), max(length - side / 2, length / 2))
        for length in (width, height)
    )
    roll = generator.normal(0, 15) if generator.random() < 0.5 else generator.uniform(-180, 180)
    return PlacedFace(x, y, side, roll, known)


def _sample_nearby(face: PlacedFace, loose: bool, generator: np.random.Generator) -> PlacedFace:
    shift, size, roll = (0.22, 0.4, LARGEST_ROLL) if loose else (0.06, 0.12, 15.0)
    side = face.side * math.exp(generator.uniform(-size, size))
    x, y = (face.x, face.y) + generator.uniform(-shift, shift, 2) * max(side, face.side)
    return PlacedFace(x, y, side, face.roll_degrees - generator.uniform(-roll, roll))


def _propose(picture: np.ndarray, turn: float) -> list[PlacedFace]:
    scale = max(1.0, max(picture.shape) / WORKING_SIDE)
    size = tuple(round(side / scale) for side in picture.shape[::-1])
    working = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return [
        PlacedFace(x * scale, y * scale, side * scale, turn)
        for x, y, side, _ in _proposer.propose(working, 4, turn)[2][:40]
    ]


def _cut(picture: np.ndarray, square: PlacedFace) -> np.ndarray:
    side = round(square.side)
    box = Box(round(square.x - side / 2), round(square.y - side / 2), side, side)
    return cut_crop(picture, Detection(box=box, score=0, roll_degrees=square.roll_degrees), SHAPE)
