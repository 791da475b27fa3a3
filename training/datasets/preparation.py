"""Bring downloads into the folder form that `training.datasets.loading` reads."""

import csv
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import skimage.data
from PIL import Image

from training.datasets.loading import (
    NO_EXPRESSION,
    SPLITS,
    VOTED_CLASSES,
    VOTES_FILE,
    list_pictures,
    read_picture,
)
from training.recipe import DataError
from training.runs import write_csv

FER_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
FER_SPLITS = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
FER_SIDE = 48
VOTE_COLUMNS = (*sorted(set(VOTED_CLASSES.values())), *NO_EXPRESSION)
UTKFACE_CLASSES = ("male", "female")  # in the order of the file names' numbers
VALIDATION_SHARE = 0.15
# scikit-image's pictures, without duplicates, line drawings and frames of a series.
NO_SCENES = {"chessboard_GRAY.png", "motorcycle_right.png", "phantom.png"}
SCENES = sorted({p.name for p in Path(skimage.data.data_dir).glob("*.[jp][pn]g")} - NO_SCENES)
MANUAL_PATTERNS = ("*.jpg", "*.jpeg", "*.png")
SMALLEST_SIDE = 200  # of a manual's picture; smaller ones are icons and formulas
LARGEST_SIDE = 640  # of the written pictures
LARGEST_ASPECT = 3.0  # longer ones are diagrams, illegible in a square
# Two differing bits of 256 are JPEG noise; strangers differ in 60 and more.
NEAR_DUPLICATE_BITS = 10


def prepare_fer2013(source: Path, votes: Path | None, out: Path) -> dict[str, int]:
    """Write FER2013 as folders from Kaggle's `fer2013.csv` or `icml_face_data.csv`.

    With FER+'s `fer2013new.csv` as `votes`, pictures that most raters found to be no face are
    left out, and `ferplus.csv` is written. Returns the number of pictures of each split. Raises
    `DataError` for a file of another form.
    """
    rows = _read_table(source, ("emotion", "pixels", "Usage"), "FER2013's CSV")
    rated: Sequence[dict[str, str] | None] = [None] * len(rows)
    if votes:
        rated = _read_table(votes, ("Image name", *VOTE_COLUMNS), "FER+'s table")
        if len(rated) != len(rows):
            raise DataError(f"{votes} has {len(rated)} rows, but FER2013 has {len(rows)}.")
    kept: list[dict[str, str]] = []
    counts = dict.fromkeys(SPLITS, 0)
    for index, (row, rating) in enumerate(zip(rows, rated, strict=True)):
        if rating is not None and not rating["Image name"]:
            continue  # FER+ leaves the name out where it found no face.
        split, label, picture = _read_fer_row(row, f"{source}, row {index + 1}")
        file = f"{split}/{label}/fer{index:07d}.png"
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(out / file)
        counts[split] += 1
        if rating is not None:
            columns = {column: rating[column] for column in VOTE_COLUMNS}
            kept.append({"usage": split, "file": file, **columns})
    if votes:
        write_csv(out / VOTES_FILE, kept)
    return counts


def prepare_folders(source: Path, out: Path) -> dict[str, int]:
    """Copy a data set that already has split and class folders, `val` and `valid` renamed.

    Returns the number of pictures of each split. Raises `DataError` where no split is found.
    """
    names = {"val": "validation", "valid": "validation", **{split: split for split in SPLITS}}
    counts: Counter[str] = Counter()
    for folder in sorted(p for p in source.iterdir() if p.is_dir() and p.name.lower() in names):
        split = names[folder.name.lower()]
        for class_folder in sorted(p for p in folder.iterdir() if p.is_dir()):
            for file in list_pictures(class_folder):
                _copy(file, out / split / class_folder.name.lower())
                counts[split] += 1
    if not counts:
        raise DataError(f"{source} has no folders train, validation or test with class folders.")
    if (source / VOTES_FILE).is_file():
        shutil.copyfile(source / VOTES_FILE, out / VOTES_FILE)
    return counts


def prepare_utkface(source: Path, out: Path, seed: int) -> dict[str, int]:
    """Split UTKFace, a folder or a tar file, into train and validation by perceived gender.

    Near-duplicates stay on one side. Files keep their names, which hold age and race.
    Returns the number of pictures of each split. Raises `DataError` where nothing is found.
    """
    with _unpacked(source) as folder:
        files = sorted(p for p in folder.rglob("*.jpg") if _utkface_class(p))
        if not files:
            raise DataError(f"{source} has no files named age_gender_race_time.jpg as in UTKFace.")
        groups = group_near_duplicates([read_picture(file) for file in files])
        held_out = _sample_groups(groups, VALIDATION_SHARE, seed)
        counts = {"train": 0, "validation": 0}
        for file, validates in zip(files, held_out, strict=True):
            split = "validation" if validates else "train"
            _copy(file, out / split / str(_utkface_class(file)))
            counts[split] += 1
    return counts


def prepare_scenes(out: Path) -> dict[str, int]:
    """Copy scikit-image's pictures of objects, scenes, animals, textures and two people.

    OOD detection is measured on them. Returns the number of pictures.
    """
    for name in SCENES:
        _copy(Path(skimage.data.data_dir) / name, out)
    return {"scenes": len(SCENES)}


def prepare_manuals(source: Path, out: Path) -> dict[str, int]:
    """Write a manual's pictures as OUT/*.jpg: photos, pages, drawings and screens.

    Small and very long pictures are left out, as are near-duplicates of each other and of
    scikit-image's pictures, on which networks are measured. Returns the number of pictures.
    Raises `DataError` if there is none or one can't be read.
    """
    files = sorted(file for pattern in MANUAL_PATTERNS for file in source.rglob(pattern))
    pictures = [_shrink(read_picture(file)) for file in files if _is_shown_large(file)]
    measured = [read_picture(Path(skimage.data.data_dir) / name) for name in SCENES]
    _, first = np.unique(group_near_duplicates([*measured, *pictures]), return_index=True)
    kept = [pictures[index - len(measured)] for index in first if index >= len(measured)]
    if not kept:
        raise DataError(
            f"{source} has no pictures of {SMALLEST_SIDE} pixels and more that aren't too long."
        )
    out.mkdir(parents=True, exist_ok=True)
    for number, values in enumerate(kept):
        Image.fromarray(values).save(out / f"{number:05d}.jpg", quality=90)
    return {"manuals": len(kept)}


def _copy(file: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, folder / file.name)


def _shrink(picture: np.ndarray) -> np.ndarray:
    shrunk = Image.fromarray(picture)
    shrunk.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    return np.asarray(shrunk)


def _is_shown_large(file: Path) -> bool:
    try:
        with Image.open(file) as picture:
            shorter, longer = sorted(picture.size)
    except OSError as error:
        raise DataError(f"{file} can't be read as a picture: {error}.") from error
    return shorter >= SMALLEST_SIDE and longer <= LARGEST_ASPECT * shorter


def group_near_duplicates(pictures: list[np.ndarray]) -> np.ndarray:
    """Assign each group of near-duplicates a number: int64 (count,).

    Pictures are RGB uint8. Compared by the 256-bit difference hash: whether each point of a
    16x16 grid is brighter than its right neighbour (Krawetz, "Kind of like that", 2013).
    """
    return group_hashes(np.stack([hash_differences(picture) for picture in pictures]))


def group_hashes(hashes: np.ndarray) -> np.ndarray:
    """Assign nearly equal difference hashes, uint64 (count, 4), one number: int64 (count,)."""
    groups = np.arange(len(hashes))
    for index in range(len(hashes) - 1):
        bits = np.bitwise_count(hashes[index + 1 :] ^ hashes[index]).sum(axis=1)
        for near in np.flatnonzero(bits <= NEAR_DUPLICATE_BITS) + index + 1:
            groups[groups == groups[near]] = groups[index]
    return groups


def hash_differences(picture: np.ndarray) -> np.ndarray:
    """Return a picture's difference hash as uint64 (4,)."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (17, 16), interpolation=cv2.INTER_AREA)
    return np.packbits(small[:, 1:] > small[:, :-1]).view(np.uint64)


def _sample_groups(groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    names = np.unique(groups)
    np.random.default_rng(seed).shuffle(names)
    counts = np.bincount(groups)[names]
    chosen = names[np.cumsum(counts) <= share * len(groups)]
    return np.isin(groups, chosen)


def _utkface_class(file: Path) -> str | None:
    fields = file.name.split("_")
    if len(fields) != 4 or fields[1] not in ("0", "1"):
        return None
    return UTKFACE_CLASSES[int(fields[1])]


@contextmanager
def _unpacked(source: Path) -> Iterator[Path]:
    if source.is_dir():
        yield source
        return
    with TemporaryDirectory() as folder, tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
        yield Path(folder)


def _read_table(path: Path, columns: Sequence[str], of: str) -> list[dict[str, str]]:
    """Read a CSV file's rows. Raises `DataError` where it is no text, has no rows or lacks columns.

    Blanks around the columns' names are dropped: icml_face_data.csv has some.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            # A row that is longer or shorter than the header has None among its keys or values.
            rows = [
                {(key or "").strip(): value or "" for key, value in row.items()}
                for row in csv.DictReader(stream)
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} can't be read as CSV in UTF-8: {error}") from error
    if not rows or not rows[0].keys() >= set(columns):
        raise DataError(f"{path} lacks the columns {', '.join(columns)} of {of}.")
    return rows


def _read_fer_row(row: dict[str, str], location: str) -> tuple[str, str, np.ndarray]:
    usage, emotion = row["Usage"].strip(), row["emotion"].strip()
    if usage not in FER_SPLITS:
        *others, last = FER_SPLITS
        raise DataError(f"{location}: Usage must be {', '.join(others)} or {last}, not {usage!r}.")
    if emotion not in map(str, range(len(FER_CLASSES))):
        highest = len(FER_CLASSES) - 1
        raise DataError(f"{location}: emotion must be from 0 to {highest}, not {emotion!r}.")
    try:
        values = np.array(row["pixels"].split(), np.uint8).reshape(FER_SIDE, FER_SIDE)
    except (ValueError, OverflowError) as error:
        count = FER_SIDE * FER_SIDE
        raise DataError(f"{location}: pixels must be {count} numbers from 0 to 255.") from error
    return FER_SPLITS[usage], FER_CLASSES[int(emotion)], values
