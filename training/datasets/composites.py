"""Paste faces at known positions into pictures without people, for training and measuring.

In each data set's crops the face has nearly the same position. It was measured once by a frontal
Haar cascade, so that a pasted face's box and roll are known exactly.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from app.vision.geometry import square_corners
from training.datasets import Random
from training.datasets.loading import PICTURE_SUFFIXES, read_picture
from training.recipe import DataError


@dataclass(frozen=True)
class RelativeBox:
    """Hold the position of the face's box in a data set's crops, as shares of the crop's side.

    `known` is false if single faces differ too much from the median to train on it.
    """

    x: float  # the box's centre
    y: float
    side: float
    known: bool = True


# Pictures of animals and clothes that do show a human face, in person or in print.
WITH_FACES = {
    "cats_153.jpg",
    "dogs_017.jpg",
    "dogs_035.jpg",
    "dogs_038.jpg",
    "dogs_091.jpg",
    "dogs_188.jpg",
    "horses_134.jpg",
    "0952d8a9-daa0-4527-b622-f5cc2fb45d91.jpg",
    "3e33ad0d-e342-429c-89bd-fb1ece1a4065.jpg",
}

# Medians of detectMultiScale(1.05, 4) over 500 crops each, with edges repeated around them.
UTKFACE_BOX = RelativeBox(0.491, 0.411, 1.036)
PHOTO_BOX = RelativeBox(0.5, 0.493, 0.84)
FER2013_BOX = RelativeBox(0.5, 0.5, 0.98, known=False)


@dataclass(frozen=True)
class RotatedBox:
    """Hold a face's position in a composite: centre and side in pixels, clockwise roll."""

    x: float
    y: float
    side: float
    roll_degrees: float
    known: bool = True

    @property
    def corners(self) -> np.ndarray:
        """Return left, top, right and bottom of the unturned square."""
        return square_corners(np.array([self.x, self.y, self.side]))


@dataclass(frozen=True)
class Sources:
    """List one split's pictures: of faces with the face's position, and without faces."""

    faces: tuple[tuple[Path, RelativeBox], ...]
    scenes: tuple[Path, ...]
    animals: tuple[Path, ...]

    @property
    def backgrounds(self) -> tuple[Path, ...]:
        """All pictures without faces."""
        return self.scenes + self.animals


def list_photos(data: Path, split: str, seed: int) -> list[Path]:
    """List one half of DATA/photos, split by person."""
    return split_people(_list(data / "photos"), split, seed)


def split_people(files: list[Path], split: str, seed: int) -> list[Path]:
    """Return one half of photos, split by person, whose name precedes a number in the file's."""
    people = sorted({file.stem.rpartition("_")[0] for file in files})
    np.random.default_rng(seed).shuffle(people)
    held_out = set(people[: len(people) // 2])
    return [f for f in files if (f.stem.rpartition("_")[0] in held_out) == (split == "validation")]


def list_sources(data: Path, split: str, seed: int) -> Sources:
    """List the pictures of one split below DATA; no picture or person is in both splits.

    Reads `photos`, `gender` (UTKFace, split), `fer2013`, `clothing`, and `animals` without
    humans, of which every fourth picture is for validation. Raises `DataError` if one is missing.
    """
    photos = [(file, PHOTO_BOX) for file in list_photos(data, split, seed)]
    chips = [(file, UTKFACE_BOX) for file in _list(data / "gender" / split)]
    small = [(file, FER2013_BOX) for file in _list(data / "fer2013" / split)]
    animals = [f for kind in ("cats", "dogs", "horses") for f in _list(data / "animals" / kind)]
    ours = [f for i, f in enumerate(animals) if (i % 4 == 0) == (split == "validation")]
    scenes, animals = (
        [file for file in files if file.name not in WITH_FACES]
        for files in (_list(data / "clothing" / split), ours)
    )
    return Sources((*photos, *chips, *small), tuple(scenes), tuple(animals))


def read_grey(file: Path) -> np.ndarray:
    """Read a picture as grey uint8 (height, width)."""
    return cv2.cvtColor(read_picture(file), cv2.COLOR_RGB2GRAY)


def paste_face(
    canvas: np.ndarray,
    crop: np.ndarray,
    box: RelativeBox,
    face: RotatedBox,
    feather: float = 0.0,
    coverage: np.ndarray | None = None,
) -> np.ndarray:
    """Paste a crop so that its face is at the position `face`.

    Both are grey uint8; `feather` is the share of the crop's side over which it fades at its
    edges, or `coverage`, float32 of its shape, says where it is opaque. Returns the composite.
    """
    scale = face.side / (box.side * crop.shape[1])
    if scale < 1:
        size = tuple(max(2, round(side * scale)) for side in crop.shape[::-1])
        crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
        scale = face.side / (box.side * crop.shape[1])
    height, width = crop.shape
    if coverage is None:
        coverage = _feather(crop.shape, round(feather * width))
    elif coverage.shape != crop.shape:
        coverage = cv2.resize(coverage, (width, height), interpolation=cv2.INTER_AREA)
    x, y = box.x * width, box.y * height
    turn = cv2.getRotationMatrix2D((x, y), -face.roll_degrees, scale)
    reach = math.ceil(scale * math.hypot(width, height))
    left, top = max(0, round(face.x) - reach), max(0, round(face.y) - reach)
    below = canvas[top : round(face.y) + reach, left : round(face.x) + reach]
    turn[:, 2] += (face.x - x - left, face.y - y - top)
    size = below.shape[::-1]
    moved = cv2.warpAffine(crop, turn, size, borderMode=cv2.BORDER_REPLICATE)
    shown = cv2.warpAffine(coverage, turn, size)
    composite = canvas.copy()
    mixed = below + (moved - below.astype(np.float32)) * shown
    composite[top : top + size[1], left : left + size[0]] = np.rint(mixed)
    return composite


def _feather(shape: tuple[int, ...], fade: int) -> np.ndarray:
    height, width = shape
    mask = np.zeros(shape, np.float32)
    mask[fade : height - fade, fade : width - fade] = 1
    return cv2.blur(mask, (2 * fade + 1,) * 2, borderType=cv2.BORDER_CONSTANT)


def sample_background(files: tuple[Path, ...], generator: Random) -> np.ndarray:
    """Sample a canvas of 320 to 640 pixels: a crop of a picture, sometimes uniform grey."""
    width = int(generator.integers(320, 641))
    height = round(width * generator.uniform(0.7, 1.0))
    if generator.random() < 0.1:
        return np.full((height, width), generator.integers(256), np.uint8)
    picture = read_grey(files[generator.integers(len(files))])
    zoom = max(width / picture.shape[1], height / picture.shape[0]) * generator.uniform(1.0, 1.6)
    sides = zip((width, height), picture.shape[::-1], strict=True)
    size = [max(wanted, round(side * zoom)) for wanted, side in sides]
    larger = cv2.resize(picture, size)
    left = int(generator.integers(size[0] - width + 1))
    top = int(generator.integers(size[1] - height + 1))
    return larger[top : top + height, left : left + width]


def degrade(picture: np.ndarray, generator: Random) -> np.ndarray:
    """Darken or lighten, blur, add noise and compress a grey picture, each at random."""
    levels = np.linspace(0, 1, 256)
    if generator.random() < 0.6:
        levels = levels ** np.exp(generator.uniform(np.log(0.5), np.log(3.2)))
    if generator.random() < 0.4:
        low, high = generator.uniform(0, 0.25), generator.uniform(0.6, 1.0)
        levels = low + levels * (high - low)
    grey = cv2.LUT(picture, (levels * 255).round().astype(np.uint8))
    if generator.random() < 0.3:
        grey = cv2.GaussianBlur(grey, (0, 0), generator.uniform(0.4, 1.6))
    if generator.random() < 0.4:
        noise = generator.standard_normal(grey.shape, np.float32) * generator.uniform(1, 12)
        grey = np.clip(grey + noise, 0, 255).round().astype(np.uint8)
    if generator.random() < 0.5:
        quality = int(generator.integers(25, 95))
        _, coded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])
        grey = np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE))
    return grey


def _list(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)
    if not files:
        raise DataError(f"There are no pictures in {folder}.")
    return files
