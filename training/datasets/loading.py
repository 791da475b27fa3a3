"""Read data sets in their folder form: DATA/<split>/<class>/*.png or *.jpg.

`ferplus.csv` beside the splits holds ten raters' votes for each file. Files of UTKFace keep their
names (age_gender_race_time), from which subgroups' ages and races are read.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from app.errors import RautError
from app.vision.detection.box_maps import BOX_VALUES, draw_map
from app.vision.detection.face_classifier import MIRRORED_PLACE, REASONS
from app.vision.imaging.crops import CropShape, shape_crop
from app.vision.imaging.decoding import decode_image
from training.recipe import DataError
from training.runs import read_csv

SPLITS = ("train", "validation", "test")
PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
VOTES_FILE = "ferplus.csv"
PLACES_FILE = "places.csv"
PLACE_VALUES = ("x", "y", "size", "sine", "cosine")
BOXES_FILE = "boxes.csv"  # of whole pictures: a row for each square in them
BOX_COLUMNS = ("x", "y", "side", "roll", "certain")
REASONS_FILE = "reasons.csv"
UNKNOWN = -1.0  # of a reason
# Expression class → FER+'s column. Contempt is a class in training only.
VOTED_CLASSES = {
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "sad": "sadness",
    "surprise": "surprise",
    "neutral": "neutral",
    "contempt": "contempt",
}
NO_EXPRESSION = ("unknown", "NF")  # NF: no face
# UTKFace writes age, gender and race into its files' names: 31_1_2_20170116.jpg.
RACES = ("White", "Black", "Asian", "Indian", "other")
AGE_BANDS = {"0-2": 3, "3-12": 13, "13-17": 18, "18-59": 60, "60+": 200}  # band → first age above
CHILDREN = ("child", "older")  # classes of a head of children, under 13
FIRST_AGE_OF_OLDER = 13
# Targets that a table gives, by the name of their field in `Split` → values and the table.
GIVEN = {
    "votes": (tuple(VOTED_CLASSES), VOTES_FILE),
    "places": (PLACE_VALUES, PLACES_FILE),
    "reasons": (REASONS, REASONS_FILE),
    "boxes": (BOX_VALUES, BOXES_FILE),
}
OOD = -2  # the label of an out-of-distribution picture


@dataclass(frozen=True)
class Split:
    """Hold one split of a data set in memory.

    `pictures` is uint8 (count, size, size, channels), `labels` int64 (count,) indices into
    `classes` (`OOD` for none of them), and `files` the paths. `votes` is float32 (count,
    len(VOTED_CLASSES)), the raters' shares, and `places` float32 (count, len(PLACE_VALUES)), the
    face's position in the crop: a row is 0 where it isn't known, all is None without the file.
    `reasons` is float32 (count, len(REASONS)), 1 where a face can't be read for this reason, 0
    where it can, `UNKNOWN` else, or None without the file. `boxes` is float16 (count, height,
    width, len(BOX_VALUES)), as `app.vision.detection.box_maps` says, or None.
    """

    pictures: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    votes: np.ndarray | None = None
    places: np.ndarray | None = None
    reasons: np.ndarray | None = None
    boxes: np.ndarray | None = None

    def subset(self, chosen: np.ndarray) -> "Split":
        """Return the chosen pictures: a bool mask (count,) or int64 indices, also repeated ones."""
        given = {name: getattr(self, name) for name in ("pictures", "labels", *GIVEN)}
        files = tuple(self.files[index] for index in np.arange(len(self.files))[chosen])
        taken = {name: values[chosen] for name, values in given.items() if values is not None}
        return replace(self, files=files, **taken)

    def spread(self, count: int) -> np.ndarray:
        """Return at most `count` of the pictures, evenly spaced."""
        return self.pictures[:: max(1, -(-len(self.pictures) // count))]

    def repeat(self, times: Mapping[str, int]) -> "Split":
        """Repeat the pictures of some classes. Raises `DataError` for an unknown class."""
        if unknown := sorted(set(times) - set(self.classes)):
            known = ", ".join(self.classes)
            raise DataError(f"There is no class {unknown[0]!r} to repeat. Classes: {known}.")
        counts = np.array([times.get(name, 1) for name in self.classes])
        return self.subset(np.repeat(np.arange(len(self.labels)), counts[self.labels]))

    def with_mirror_images(self) -> "Split":
        """Append each picture's mirror image, with the same targets and the face's place there."""
        half = len(self.labels)
        twice = self.subset(np.tile(np.arange(half), 2))
        twice.pictures[half:] = twice.pictures[half:, :, ::-1]
        if twice.places is not None:
            twice.places[half:] *= MIRRORED_PLACE
        return twice


def list_answers(split: Split, targets: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the classes of a head with these targets, and each picture's label.

    `targets` is as in recipes and cards. Labels are int64 (count,) indices, -1 for unknown ones
    and for targets of which not one class holds. Raises `DataError` if the split has no such
    targets.
    """
    if targets == "labels":
        return split.classes, split.labels
    if targets == "children":
        children = find_children(split.files)
        if (children < 0).all():
            raise DataError("A head has ages as targets, but no file name holds one.")
        return CHILDREN, children
    names, file = GIVEN[targets]
    given = getattr(split, targets)
    if given is None:
        raise DataError(f"A head has {targets} as targets, but there is no {file}.")
    return names, find_majority(given) if targets == "votes" else np.full(len(given), -1)


def list_classes(folder: Path, split: str) -> tuple[str, ...]:
    """Return a split's classes in alphabetical order. Raises `DataError` if it has none."""
    if not (folder / split).is_dir():
        raise DataError(
            f"There is no folder {folder / split}. The form is {folder}/<split>/<class>/*.png; "
            "`python -m training data prepare` makes it from the usual downloads."
        )
    classes = tuple(sorted(p.name for p in (folder / split).iterdir() if p.is_dir()))
    if not classes:
        raise DataError(f"{folder / split} has no class folders.")
    return classes


def list_pictures(folder: Path) -> list[Path]:
    """List a class folder's picture files by name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)


def read_picture(file: Path) -> np.ndarray:
    """Read a file as RGB uint8 (height, width, 3). Raises `DataError` if it can't be read."""
    try:
        return decode_image(file.read_bytes())
    except RautError as refusal:
        raise DataError(f"{file}: {refusal.detail}") from refusal


def _read_crop(file: Path, shape: CropShape) -> np.ndarray:
    """Read a crop. Grey PNG files, of which the detector has 100,000s, take half the time."""
    if shape.channels == 1 and file.suffix == ".png":
        grey = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        if grey is not None and grey.ndim == 2 and grey.dtype == np.uint8:
            return shape_crop(grey, shape)
    return shape_crop(read_picture(file), shape)


@dataclass(frozen=True)
class SubsetSpec:
    """Select pictures of a split.

    `count` pictures are sampled by `seed`, equally many of each class; a `count` below 1 is the
    share of each class. People younger than `youngest`, by UTKFace's file names, are left out.
    """

    count: float | None = None
    seed: int = 0
    youngest: int = 0


def read_split(
    folder: Path, split: str, shape: CropShape, subset: SubsetSpec | None = None
) -> Split:
    """Read a split of crops, brought to a network's size and channels.

    Raises `DataError` for a missing folder, a class with too few pictures, or an unreadable one.
    """
    classes = list_classes(folder, split)
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = list_pictures(folder / split / name)
        if not found:
            raise DataError(f"The class {name!r} is empty: {folder / split / name}.")
        if subset:
            found = _sample(found, subset, label, len(classes))
        files += found
        labels += [label] * len(found)
    pictures = np.stack([_read_crop(file, shape) for file in files])
    votes = _read_columns(folder, VOTES_FILE, tuple(VOTED_CLASSES.values()), files)
    if votes is not None:
        votes /= np.maximum(votes.sum(axis=1, keepdims=True), 1.0)
    return Split(
        *(pictures, np.asarray(labels), classes, tuple(files), votes),
        _read_columns(folder, PLACES_FILE, PLACE_VALUES, files),
        _read_columns(folder, REASONS_FILE, REASONS, files, UNKNOWN),
        _read_boxes(folder, files, shape.size),
    )


def _sample(files: list[Path], subset: SubsetSpec, label: int, classes: int) -> list[Path]:
    if subset.youngest:
        old_enough = read_ages(tuple(files)) >= subset.youngest
        files = [file for file, kept in zip(files, old_enough, strict=True) if kept]
    wanted = subset.count or 0
    count = max(1, int(wanted * len(files) if wanted < 1 else wanted / classes))
    if len(files) < count:
        raise DataError(f"Class {label + 1} has {len(files)} pictures; {count} can't be sampled.")
    if subset.count is None:
        return files
    return sample_files(files, count, (subset.seed, label))


def sample_files(files: list[Path], count: int, seed: int | tuple[int, int]) -> list[Path]:
    """Return `count` files sampled by a seed, in their order."""
    chosen = np.random.default_rng(seed).permutation(len(files))[:count]
    return [files[index] for index in sorted(chosen)]


def shape_pictures(pictures: np.ndarray, shape: CropShape) -> np.ndarray:
    """Resize and convert pictures, uint8 (count, side, side, channels), to a crop's shape."""
    if pictures.shape[1:] == (shape.size, shape.size, shape.channels):
        return pictures
    as_rgb = pictures if pictures.shape[-1] == 3 else np.repeat(pictures, 3, axis=-1)
    return np.stack([shape_crop(picture, shape) for picture in as_rgb])


def read_ages(files: tuple[Path, ...]) -> np.ndarray:
    """Read ages from UTKFace's file names: int64 (count,), -1 where a name holds none."""
    return np.array([utkface_field(file, 0) for file in files])


def read_races(files: tuple[Path, ...]) -> np.ndarray:
    """Read race labels from UTKFace's file names: int64 (count,) into `RACES`, -1 for none."""
    return np.array([utkface_field(file, 2) for file in files])


def find_children(files: tuple[Path, ...]) -> np.ndarray:
    """Return int64 (count,) indices into `CHILDREN`, -1 where the file's name holds no age."""
    ages = read_ages(files)
    return np.where(ages < 0, -1, (ages >= FIRST_AGE_OF_OLDER).astype(int))


def find_majority(votes: np.ndarray) -> np.ndarray:
    """Return the raters' majority class: int64 (count,), -1 for ties and without votes."""
    highest = votes.max(axis=1, keepdims=True)
    single = (votes == highest).sum(axis=1) == 1
    return np.where(single, votes.argmax(axis=1), -1)


def digest_picture(picture: np.ndarray) -> str:
    """Return a hash of a picture's pixels, independent of its file."""
    return hashlib.sha256(picture.tobytes()).hexdigest()


def find_shared(split: Split, other: Split) -> np.ndarray:
    """Return which pictures of a split are in another one too: bool (count,)."""
    known = {digest_picture(picture) for picture in other.pictures}
    return np.array([digest_picture(picture) in known for picture in split.pictures], dtype=bool)


def utkface_field(file: Path, index: int) -> int:
    """Return a number in the name of UTKFace's file: age, gender, race; -1 if it isn't so named."""
    fields = file.name.split("_")
    return int(fields[index]) if len(fields) == 4 and fields[index].isdigit() else -1


def _read_boxes(folder: Path, files: list[Path], size: int) -> np.ndarray | None:
    """Read a table's squares and draw each file's map: float16 (count, height, width, values)."""
    if not (folder / BOXES_FILE).is_file():
        return None
    squares: dict[str, list[list[float]]] = {}
    for row in read_csv(folder / BOXES_FILE):
        squares.setdefault(row["file"], []).append([float(row[column]) for column in BOX_COLUMNS])
    named = (squares.get(file.relative_to(folder).as_posix(), []) for file in files)
    return np.stack([draw_map(np.array(each).reshape(-1, 5), size) for each in named])


def _read_columns(
    folder: Path, table: str, columns: tuple[str, ...], files: list[Path], missing: float = 0.0
) -> np.ndarray | None:
    """Read a table's numbers for each file: float32 (count, columns), `missing` without a row."""
    if not (folder / table).is_file():
        return None
    numbers = {
        row["file"]: np.array([float(row[column]) for column in columns], np.float32)
        for row in read_csv(folder / table)
    }
    none = np.full(len(columns), missing, np.float32)
    return np.stack([numbers.get(file.relative_to(folder).as_posix(), none) for file in files])
