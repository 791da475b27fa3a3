"""Cut the crops that the face classifier learns from: faces near their place, and what looks like one.

The crops are what the detector will ask about: squares near a face that is turned, shrunk,
darkened, blurred and compressed, with the way back to the face; and squares that the permissive
cascade proposes where there is none.
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
    draw_background,
    list_sources,
    paste_face,
    read_grey,
)
from training.datasets.loading import PLACE_VALUES, PLACES_FILE

Cut = Callable[[int], list["Sample"]]
Row = list[str]  # A file, and where its face lies if that is known.
SHAPE = CropShape(32, 1)
# Between the detector's first look and its next. With the proposals of exactly those two, the
# face_classifier took 5 instead of 3 of 149 animals for faces, and missed one framed face more.
WORKING_SIDE = 320
MISTAKEN = 0.1  # score from which a square without a face is worth learning from again
TURNS = (0.0, 40.0, -40.0, 90.0, -90.0, 140.0, -140.0, 180.0)
LARGEST_ROLL = 60.0  # degrees from which a crop is no face to learn
COMPOSITES = {"train": 5000, "validation": 800}
SMALLEST_WRONG_ROLL = 110.0  # degrees from which a face counts as none
NEAR, FAR = 0.35, 0.15  # joint share of area: a face from the first, none below the second


@dataclass(frozen=True)
class Sample:
    """Hold a crop, and where its face lies: None for no face, () for a face of unknown place."""

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
    writer = csv.writer(text)
    writer.writerow(["file", *PLACE_VALUES])
    writer.writerows(rows)
    stream.write(text.getvalue().encode())


def relate(face: PlacedFace, asked: PlacedFace) -> tuple[float, ...]:
    """Return where a face lies as seen from a square: the face classifier's place targets.

    x and y are shares of the square's side along its own, turned axes; size is the logarithm of
    the sides' ratio; sine and cosine are of the face's turn less the square's.
    """
    angle = math.radians(asked.roll_degrees)
    dx, dy = (face.x - asked.x) / asked.side, (face.y - asked.y) / asked.side
    roll = math.radians(face.roll_degrees - asked.roll_degrees)
    return (
        dx * math.cos(angle) + dy * math.sin(angle),
        dy * math.cos(angle) - dx * math.sin(angle),
        math.log(face.side / asked.side),
        math.sin(roll),
        math.cos(roll),
    )


def _cut_all(worker: _Worker, jobs: list[tuple[Cut, int]]) -> Iterator[Row]:
    # A copy of a process in which TensorFlow has run would wait for its threads for ever.
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
    models: Path | None = None  # where the face classifier is whose mistakes are wanted


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
            kind += f"-of-{_face_classifier.digest[:6]}-"  # another face classifier makes mistakes of its own
        file = f"{_worker.split}/{name}/{kind}{number:05d}-{index:02d}.png"
        cv2.imwrite(str(_worker.out / file), sample.crop)
        rows.append([file, *(f"{value:.4f}" for value in sample.place or ())])
    return rows


def _cut_composite(number: int) -> list[Sample]:
    generator = np.random.default_rng((*_worker.seed, 0, number))
    picture, faces = draw_composite(_worker.sources, generator)
    samples = []
    for face in faces:
        for loose in (True, True, True, True, False, False, False, False):
            asked = _ask_nearby(face, loose, generator)
            samples.append(Sample(_cut(picture, asked), relate(face, asked) if face.known else ()))
    others = []
    turn = 0.0 if generator.random() < 0.5 else float(generator.choice(TURNS[1:]))
    for asked in _propose(picture, turn):
        near = max(faces, key=lambda face: iou(face.corners, asked.corners))
        share = iou(near.corners, asked.corners)
        off = abs((near.roll_degrees - asked.roll_degrees + 180) % 360 - 180)
        if share > NEAR and off <= LARGEST_ROLL:
            place = relate(near, asked) if near.known else ()
            samples.append(Sample(_cut(picture, asked), place))
        elif share < FAR or off > SMALLEST_WRONG_ROLL:
            others.append(asked)
    chosen = generator.permutation(len(others))[:14]
    return samples + [Sample(_cut(picture, others[index]), None) for index in chosen]


def _cut_background(number: int) -> list[Sample]:
    generator = np.random.default_rng((*_worker.seed, 1, number))
    picture = _draw_empty(number, generator)
    turns = (0.0, *generator.choice(TURNS[1:], 2, replace=False))
    asked = [square for turn in turns for square in _propose(picture, float(turn))]
    chosen = generator.permutation(len(asked))[:24]
    return [Sample(_cut(picture, asked[index]), None) for index in chosen]


def _draw_empty(number: int, generator: np.random.Generator) -> np.ndarray:
    picture = read_grey(_worker.sources.backgrounds[number])
    zoom = generator.uniform(1.0, 2.2)
    return degrade(cv2.resize(picture, None, fx=zoom, fy=zoom), generator)


def _cut_mistakes(number: int) -> list[Sample]:
    assert _face_classifier
    generator = np.random.default_rng((*_worker.seed, 2, number))
    faces: list[PlacedFace] = []
    if number < len(_worker.sources.backgrounds):
        picture = _draw_empty(number, generator)
    else:
        picture, faces = draw_composite(_worker.sources, generator)
    mistaken = []
    for turn in (0.0, float(generator.choice(TURNS[1:]))):
        asked = _propose(picture, turn)
        places = np.array([(a.x, a.y, a.side, a.roll_degrees) for a in asked], np.float32)
        for _ in range(3):
            answers = _face_classifier.verify(picture, places.reshape(-1, 4))
            taken = answers.scores > MISTAKEN
            squares = [PlacedFace(*place) for place in places.reshape(-1, 4)[taken].tolist()]
            mistaken += [
                square
                for square in squares
                if all(iou(face.corners, square.corners) < FAR for face in faces)
            ]
            places = answers.places[taken]
    chosen = generator.permutation(len(mistaken))[:12]
    return [Sample(_cut(picture, mistaken[index]), None) for index in chosen]


def draw_composite(
    sources: Sources, generator: np.random.Generator
) -> tuple[np.ndarray, list[PlacedFace]]:
    """Draw a picture of one to four faces at random sizes and turns, with their places."""
    canvas = draw_background(sources.backgrounds, generator)
    faces: list[PlacedFace] = []
    # A feathered square must say nothing: other things are pasted in the same way.
    if generator.random() < 0.4:
        patch = draw_background(sources.backgrounds, generator)[:300, :300]
        where = _draw_place(canvas, True, generator)
        canvas = paste_face(canvas, patch, FacePlace(0.5, 0.5, 0.9), where, 0.05)
    for _ in range(generator.choice((1, 2, 3, 4), p=(0.55, 0.2, 0.15, 0.1))):
        file, place = _draw_face(sources, generator)
        face = _draw_place(canvas, place.known, generator)
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


def _draw_face(sources: Sources, generator: np.random.Generator) -> tuple[Path, FacePlace]:
    photos = sum(place == PHOTO_PLACE for _, place in sources.faces[:1000])
    if generator.random() < 0.35:
        return sources.faces[generator.integers(photos)]
    return sources.faces[generator.integers(photos, len(sources.faces))]


def _draw_place(canvas: np.ndarray, known: bool, generator: np.random.Generator) -> PlacedFace:
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


def _ask_nearby(face: PlacedFace, loose: bool, generator: np.random.Generator) -> PlacedFace:
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


def _cut(picture: np.ndarray, asked: PlacedFace) -> np.ndarray:
    side = round(asked.side)
    box = Box(round(asked.x - side / 2), round(asked.y - side / 2), side, side)
    return cut_crop(picture, Detection(box, 0.0, asked.roll_degrees), SHAPE)
