"""Cut the proposer's training crops: parts of photos at scales where their faces are in its range.

Faces are turned to any angle. `boxes.csv` has their boxes, and those that count neither as face nor
as background.
"""

from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from app.vision.detection.pyramid import shrink
from training.datasets import Random
from training.datasets.composites import (
    RotatedBox,
    Sources,
    degrade,
    list_sources,
    read_grey,
    sample_background,
)
from training.datasets.hard_faces import HardPhoto, read_hard_photos
from training.datasets.loading import BOX_COLUMNS, BOXES_FILE
from training.datasets.made_scenes import sample_composite
from training.runs import write_csv

SIDE = 96  # of a crop, in pixels
SIDES = (13.0, 30.0)  # of the face that a crop is cut for: the range of one pyramid level
EDGE = 10  # pixels from the crop's border within which that face's centre isn't put
LEAST_SHOWN = 6.0  # side in pixels below which a face is left out of the table
CROPS_OF_FACE = {"train": 5, "validation": 2}
WEIGHT_OF_TURNED = 4  # profiles are few
CROPS_OF_PHOTO = {"train": 3, "validation": 1}  # anywhere
COMPOSITES = {"train": 3000, "validation": 300}

Faces = list[tuple[RotatedBox, bool]]  # and whether it is certainly a face
Scene = tuple[np.ndarray, Faces, list[RotatedBox]]  # with the squares to cut crops around
Row = dict[str, str]  # a crop's file, and numbers of what it shows


def prepare_proposals(source: Path, out: Path, seed: int) -> dict[str, int]:
    """Write crops as OUT/<split>/{face,other} with `boxes.csv`; return each split's count.

    Raises `DataError` if a source is missing.
    """
    make_folders(out)
    counts = {}
    rows: list[Row] = []
    for split in ("train", "validation"):
        photos = read_hard_photos(source, split)
        sources = list_sources(source, split, seed)
        worker = _Worker(photos, sources, out, split, (seed, split == "validation"))
        jobs = [("photo", n) for n in range(len(photos))]
        jobs += [("composite", n) for n in range(COMPOSITES[split])]
        jobs += [("background", n) for n in range(len(sources.backgrounds))]
        counts[split] = 0
        with ProcessPoolExecutor(None, get_context("spawn"), _start, (worker,)) as pool:
            for written, count in pool.map(_cut_job, jobs, chunksize=20):
                rows += written
                counts[split] += count
    write_csv(out / BOXES_FILE, rows)
    return counts


def make_folders(out: Path) -> None:
    """Make the folders of both classes in both splits."""
    for split in ("train", "validation"):
        for name in ("face", "other"):
            (out / split / name).mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True)
class _Worker:
    photos: list[HardPhoto]
    sources: Sources
    out: Path
    split: str
    seed: tuple[int, int]


_worker: _Worker


def _start(worker: _Worker) -> None:
    global _worker
    cv2.setNumThreads(1)
    _worker = worker


def _cut_job(job: tuple[str, int]) -> tuple[list[Row], int]:
    kind, number = job
    generator = np.random.default_rng((*_worker.seed, list(_JOBS).index(kind), number))
    picture, faces, targets = _JOBS[kind](number, generator)
    behind = sample_background(_worker.sources.backgrounds, generator)
    rows: list[Row] = []
    for index, target in enumerate(targets):
        crop, shown = cut_part(picture, faces, target, behind, generator)
        if generator.random() < 0.5:
            crop = degrade(crop, generator)
        certain = any(known for _, known in shown)
        folder = f"{_worker.split}/{'face' if certain else 'other'}"
        name = f"{folder}/{kind}{number:05d}-{index:02d}.png"
        cv2.imwrite(str(_worker.out / name), crop)
        for face, known in shown:
            numbers = (*(f"{value:.2f}" for value in astuple(face)[:4]), str(int(known)))
            rows.append({"file": name, **dict(zip(BOX_COLUMNS, numbers, strict=True))})
    return rows, len(targets)


def _cut_photo(number: int, generator: Random) -> Scene:
    photo = _worker.photos[number]
    picture = read_grey(photo.file)
    targets = [_anywhere(picture, generator) for _ in range(CROPS_OF_PHOTO[_worker.split])]
    for face in photo.faces:
        if face.certain:
            count = CROPS_OF_FACE[_worker.split]
            if _worker.split == "train" and (face.kind == "profile" or face.sunglasses):
                count *= WEIGHT_OF_TURNED
            targets += [face.box] * count
    return picture, [(face.box, face.certain) for face in photo.faces], targets


def _cut_composite(_: int, generator: Random) -> Scene:
    picture, faces = sample_composite(_worker.sources, generator)
    boxes = [face.box for face in faces]
    return picture, [(box, True) for box in boxes], boxes


def _cut_background(number: int, generator: Random) -> Scene:
    picture = read_grey(_worker.sources.backgrounds[number])
    return picture, [], [_anywhere(picture, generator) for _ in range(2)]


_JOBS = {"photo": _cut_photo, "composite": _cut_composite, "background": _cut_background}


def _anywhere(picture: np.ndarray, generator: Random) -> RotatedBox:
    height, width = picture.shape
    side = math.exp(generator.uniform(math.log(12), math.log(max(13, min(height, width)))))
    return RotatedBox(generator.uniform(0, width), generator.uniform(0, height), side, 0.0)


def cut_part(
    picture: np.ndarray, faces: Faces, target: RotatedBox, behind: np.ndarray, generator: Random
) -> tuple[np.ndarray, Faces]:
    """Cut a crop around a square, which gets a size in `SIDES` and any angle.

    Beyond the photo its edge is repeated, or the picture `behind` is shown. Returns the crop,
    uint8 (SIDE, SIDE), and the faces in it, in its pixels.
    """
    side = math.exp(generator.uniform(math.log(SIDES[0]), math.log(SIDES[1])))
    scale = side / target.side
    if scale < 1:  # as the detector makes its levels
        height, width = picture.shape
        level = shrink(picture, max(2, round(width * scale)), max(2, round(height * scale)))
        across, left = level.shape[1] / width, 1.0
    else:
        level, across, left = picture, 1.0, scale
    turn = generator.normal(0, 12) if generator.random() < 0.6 else generator.uniform(-180, 180)
    mirrored = generator.random() < 0.5
    matrix = cv2.getRotationMatrix2D((target.x * across, target.y * across), -turn, left)
    matrix[:, 2] += generator.uniform(EDGE, SIDE - EDGE, 2) - (target.x * across, target.y * across)
    crop = cv2.warpAffine(level, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    if generator.random() < 0.6:
        inside = cv2.warpAffine(np.ones_like(level), matrix, (SIDE, SIDE)) > 0
        top, start = (int(generator.integers(0, length - SIDE + 1)) for length in behind.shape)
        crop = np.where(inside, crop, behind[top : top + SIDE, start : start + SIDE])
    if mirrored:
        crop = np.ascontiguousarray(crop[:, ::-1])
    shown = []
    for face, certain in faces:
        x, y = matrix[:, :2] @ (face.x * across, face.y * across) + matrix[:, 2]
        roll = face.roll_degrees + turn
        if mirrored:
            x, roll = SIDE - 1 - x, -roll
        size = face.side * across * left
        reach = size / 2
        inside = -reach < x < SIDE + reach and -reach < y < SIDE + reach
        if inside and size >= LEAST_SHOWN:
            roll = (roll + 180) % 360 - 180
            shown.append((RotatedBox(x, y, size, roll), certain))
    return crop, shown
