"""Cut the training crops of the face refiner and of the face classifier.

The refiner's are what the detector proposes: candidates near a face that is rotated, shrunk,
covered, darkened, blurred and compressed, with the offset to the face and why it can't be read; and
candidates that the cascade and the network propose where there is no face.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass, replace
from itertools import chain, repeat
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from app.paths import MODELS
from app.vision.detection.detector import FACE_CLASSIFIER, FACE_REFINER, PROPOSER
from app.vision.detection.face_classifier import REASONS, FaceClassifier
from app.vision.detection.network_proposer import NetworkProposer
from app.vision.detection.proposals import CascadeProposer
from app.vision.geometry import iou, overlap_over_min
from app.vision.imaging.crops import CropShape, cut_squares
from training.datasets import Random
from training.datasets.composites import RotatedBox, Sources, degrade, list_sources, read_grey
from training.datasets.hard_faces import HardPhoto, read_hard_photos
from training.datasets.loading import PLACE_VALUES, PLACES_FILE, REASONS_FILE
from training.datasets.made_scenes import SeenFace, sample_composite, sample_photo
from training.datasets.proposal_crops import Row, make_folders
from training.runs import write_csv

Cut = Callable[[int], list["Sample"]]
Rows = tuple[Row, Row]  # of its face's offset, and of the reasons; shorter where unknown
REFINER_SHAPE = CropShape(32, 1)
CLASSIFIER_SHAPE = CropShape(48, 1, 0.3)  # with what is around a face: hair, ears, shoulders
# Between the detector's first pass and its next. With the proposals of exactly those two, 5
# instead of 3 of 149 animals were false positives, and one framed face more was missed.
WORKING_SIDE = 320
MISTAKEN = 0.1  # score from which a candidate without a face is a hard negative
ROLLS = (0.0, 40.0, -40.0, 90.0, -90.0, 140.0, -140.0, 180.0)
LARGEST_ROLL = 60.0  # degrees beyond which a crop is no positive
# Pictures with pasted faces, and without faces. The classifier sees fewer candidates of each.
COMPOSITES = {"train": 2500, "validation": 300}
BACKGROUNDS = {"train": 1200, "validation": 300}
MORE_FOR_CLASSIFIER = 2
STRIDE = 7919
ROUNDS_OF_PHOTOS = {"train": 2, "validation": 1}  # each otherwise turned, covered and lit
SMALLEST_WRONG_ROLL = 110.0  # degrees beyond which a crop is a negative
NEAR, FAR = 0.35, 0.15  # IoU: a positive from the first, a negative below the second


@dataclass(frozen=True)
class Sample:
    """Hold a crop, and the offset to its face: None for no face, () for an unknown one.

    `reasons` has for each of `REASONS` 1, 0, or `UNKNOWN`.
    """

    crop: np.ndarray
    offset: tuple[float, ...] | None
    reasons: tuple[float, ...] = ()


def prepare_faces(source: Path, out: Path, seed: int) -> dict[str, int]:
    """Write the refiner's crops as OUT/<split>/{face,other} with their tables.

    Returns the number of pictures of each split. Raises `DataError` if a source is missing.
    """
    return _prepare(_Stage(REFINER_SHAPE), source, out, seed)


def prepare_candidates(
    source: Path, out: Path, seed: int, mistakes_of: Path | None = None
) -> dict[str, int]:
    """Write the classifier's crops as `prepare_faces` does: what the refiner takes for a face.

    With `mistakes_of`, a folder of models, only adds to OUT/train what the face classifier among
    them wrongly takes for faces.
    """
    stage = _Stage(CLASSIFIER_SHAPE, MODELS / FACE_REFINER, MORE_FOR_CLASSIFIER)
    if not mistakes_of:
        return _prepare(stage, source, out, seed)
    stage = replace(stage, classifier=mistakes_of / FACE_CLASSIFIER)
    return {"train": len(_cut_all(stage, source, out, "train", seed))}


def _prepare(stage: _Stage, source: Path, out: Path, seed: int) -> dict[str, int]:
    make_folders(out)
    rows = {s: _cut_all(stage, source, out, s, seed) for s in ("train", "validation")}
    columns = zip(*chain.from_iterable(rows.values()), strict=True)
    for table, numbers in zip((PLACES_FILE, REASONS_FILE), columns, strict=True):
        write_csv(out / table, [row for row in numbers if len(row) > 1])
    return {split: len(written) for split, written in rows.items()}


def relate(face: RotatedBox, candidate: RotatedBox) -> tuple[float, ...]:
    """Return a face's offset from a candidate: the face classifier's regression targets.

    x and y are shares of the candidate's side along its own, rotated axes; size is the logarithm of
    the sides' ratio; sine and cosine are of the face's roll relative to the candidate's.
    """
    angle = math.radians(candidate.roll_degrees)
    dx, dy = (face.x - candidate.x) / candidate.side, (face.y - candidate.y) / candidate.side
    roll = math.radians(face.roll_degrees - candidate.roll_degrees)
    return (
        dx * math.cos(angle) + dy * math.sin(angle),
        dy * math.cos(angle) - dx * math.sin(angle),
        math.log(face.side / candidate.side),
        math.sin(roll),
        math.cos(roll),
    )


@dataclass(frozen=True)
class _Stage:
    """Describe the crops: of all proposals, or of those that a refiner lets pass.

    With `classifier` only its false positives are cut.
    """

    shape: CropShape
    refiner: Path | None = None
    more: int = 1
    classifier: Path | None = None


@dataclass(frozen=True)
class _Worker:
    stage: _Stage
    sources: Sources
    photos: list[HardPhoto]
    out: Path
    split: str
    seed: tuple[int, int, int]


_worker: _Worker
_proposer: CascadeProposer
_network: NetworkProposer
_refiner: FaceClassifier | None
_classifier: FaceClassifier | None


def _cut_all(stage: _Stage, source: Path, out: Path, split: str, seed: int) -> list[Rows]:
    sources, photos = list_sources(source, split, seed), read_hard_photos(source, split)
    numbers = (seed, int(split == "validation"), int(stage.classifier is not None))
    worker = _Worker(stage, sources, photos, out, split, numbers)
    jobs: dict[Cut, int] = {
        _cut_composite: stage.more * COMPOSITES[split],
        _cut_background: stage.more * BACKGROUNDS[split],
        _cut_photo: stage.more * ROUNDS_OF_PHOTOS[split] * len(photos),
    }
    cuts = chain.from_iterable(repeat(cut, count) for cut, count in jobs.items())
    numbered = chain.from_iterable(map(range, jobs.values()))
    # A forked copy of a process in which TensorFlow has run would deadlock on its threads.
    with ProcessPoolExecutor(None, get_context("spawn"), _start_worker, (worker,)) as pool:
        return list(chain.from_iterable(pool.map(_write_samples, cuts, numbered, chunksize=10)))


def _start_worker(worker: _Worker) -> None:
    global _worker, _proposer, _network, _refiner, _classifier
    cv2.setNumThreads(1)
    _worker, _proposer = worker, CascadeProposer()
    _network = NetworkProposer.load(MODELS / PROPOSER)
    _refiner, _classifier = (
        FaceClassifier.load(folder) if folder else None
        for folder in (worker.stage.refiner, worker.stage.classifier)
    )


def _write_samples(cut: Cut, number: int) -> list[Rows]:
    rows: list[Rows] = []
    for index, sample in enumerate(cut(number)):
        name = "other" if sample.offset is None else "face"
        kind = cut.__name__.removeprefix("_cut_")
        if _classifier:
            if sample.offset is not None:
                continue
            # Another face classifier makes mistakes of its own.
            kind += f"-of-{_classifier.digest[:6]}-"
        file = f"{_worker.split}/{name}/{kind}{number:05d}-{index:02d}.png"
        cv2.imwrite(str(_worker.out / file), sample.crop)
        offset = (f"{value:.4f}" for value in sample.offset or ())
        reasons = (f"{value:.0f}" for value in sample.reasons)
        own = ((PLACE_VALUES, offset), (REASONS, reasons))
        one, other = ({"file": file, **dict(zip(*each, strict=False))} for each in own)
        rows.append((one, other))
    return rows


def _cut_composite(number: int) -> list[Sample]:
    generator = np.random.default_rng((*_worker.seed, 0, number))
    picture, faces = sample_composite(_worker.sources, generator)
    return _cut_seen(picture, faces, [], generator)


def _cut_photo(number: int) -> list[Sample]:
    generator = np.random.default_rng((*_worker.seed, 3, number))
    photo = _worker.photos[number % len(_worker.photos)]
    picture, faces, unsure = sample_photo(photo, _worker.sources, generator)
    return _cut_seen(picture, faces, unsure, generator)


def _cut_seen(
    picture: np.ndarray, faces: list[SeenFace], unsure: list[RotatedBox], generator: Random
) -> list[Sample]:
    """Cut candidates near faces, and proposals: positives, or negatives away from every box."""
    samples = []
    for face in faces:
        looser = () if _refiner else (True,) * 4
        for loose in (*looser, False, False, False, False) * face.copies:
            candidate = _sample_nearby(face.box, loose, generator)
            samples.append(_cut_positive(picture, face, candidate))
    others = []
    roll = 0.0 if generator.random() < 0.5 else float(generator.choice(ROLLS[1:]))
    for candidate in _propose(picture, roll):
        near = max(faces, key=lambda face: iou(face.box.corners, candidate.corners), default=None)
        share = iou(near.box.corners, candidate.corners) if near else 0.0
        off = abs((near.box.roll_degrees - candidate.roll_degrees + 180) % 360 - 180) if near else 0
        if near and share > NEAR and off <= LARGEST_ROLL:
            samples.append(_cut_positive(picture, near, candidate))
        elif all(overlap_over_min(box.corners, candidate.corners) < FAR for box in unsure) and (
            share < FAR or off > SMALLEST_WRONG_ROLL
        ):
            others.append(candidate)
    return samples + _sample_negatives(picture, others, 14, generator)


def _cut_positive(picture: np.ndarray, face: SeenFace, candidate: RotatedBox) -> Sample:
    offset = relate(face.box, candidate) if face.box.known else ()
    return Sample(_cut(picture, candidate), offset, face.reasons)


def _cut_background(number: int) -> list[Sample]:
    generator = np.random.default_rng((*_worker.seed, 1, number))
    # A stride that no folder's size is a multiple of: all kinds of pictures are used.
    files = _worker.sources.backgrounds
    picture = read_grey(files[number * STRIDE % len(files)])
    zoom = generator.uniform(1.0, 2.2)
    picture = degrade(cv2.resize(picture, None, fx=zoom, fy=zoom), generator)
    candidates = _propose(picture, 0.0) + _propose(picture, float(generator.choice(ROLLS[1:])))
    return _sample_negatives(picture, candidates, 24, generator)


def _sample_negatives(
    picture: np.ndarray, candidates: list[RotatedBox], most: int, generator: Random
) -> list[Sample]:
    if _classifier:
        rows = np.array([astuple(each)[:4] for each in candidates], np.float32).reshape(-1, 4)
        answers = _classifier.classify(picture, rows, mirrored=True)
        candidates = [candidates[index] for index in np.flatnonzero(answers.scores > MISTAKEN)]
    chosen = generator.permutation(len(candidates))[:most]
    return [Sample(_cut(picture, candidates[index]), None) for index in chosen]


def _sample_nearby(face: RotatedBox, loose: bool, generator: Random) -> RotatedBox:
    shift, size, roll = (0.22, 0.4, LARGEST_ROLL) if loose else (0.06, 0.12, 15.0)
    side = face.side * math.exp(generator.uniform(-size, size))
    x, y = (face.x, face.y) + generator.uniform(-shift, shift, 2) * max(side, face.side)
    return RotatedBox(x, y, side, face.roll_degrees - generator.uniform(-roll, roll))


def _propose(picture: np.ndarray, roll: float) -> list[RotatedBox]:
    """Propose candidates as the detector does, the cascade's at a roll; the network finds any."""
    scale = max(1.0, max(picture.shape) / WORKING_SIDE)
    size = tuple(round(side / scale) for side in picture.shape[::-1])
    working = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    by_cascade = _proposer.propose(working, 4, roll)[2][:30, :3].tolist()
    candidates = [(*candidate, roll) for candidate in by_cascade]
    if not roll:
        candidates += _network.propose(working, 5)[:40, :4].tolist()
    proposed = [(x * scale, y * scale, side * scale, roll) for x, y, side, roll in candidates]
    if _refiner:
        proposals = np.array(proposed, np.float32).reshape(-1, 4)
        proposed = _refiner.refine(picture, proposals)[1].boxes.tolist()
    return [RotatedBox(*candidate) for candidate in proposed]


def _cut(picture: np.ndarray, candidate: RotatedBox) -> np.ndarray:
    row = np.array([astuple(candidate)[:4]], np.float32)
    return cut_squares(picture, row, _worker.stage.shape)[0]
