"""Bring downloads into the folder form that `training.datasets.loading` reads."""

import csv
import shutil
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import skimage.data
from PIL import Image

from training.datasets.loading import (
    NO_EXPRESSION,
    PICTURE_SUFFIXES,
    SPLITS,
    VOTED_CLASSES,
    VOTES_FILE,
    read_picture,
    utkface_field,
)
from training.datasets.splitting import (
    group_hashes,
    group_near_duplicates,
    hash_differences,
    hold_out,
    sample_groups,
)
from training.recipe import DataError
from training.runs import write_csv

Counts = Counter[str]  # split, or "skipped: REASON" → pictures
FER_TABLES = ("fer2013.csv", "icml_face_data.csv", "train.csv")  # in the order of preference
FER_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
FER_SPLITS = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
FER_SIDE = 48
VOTE_COLUMNS = (*sorted(set(VOTED_CLASSES.values())), *NO_EXPRESSION)
UTKFACE_CLASSES = ("male", "female")  # in the order of the file names' numbers
VALIDATION_SHARE = 0.15
SPLIT_NAMES = {"val": "validation", "valid": "validation"} | {name: name for name in SPLITS}
# scikit-image's pictures, without duplicates, line drawings and frames of a series.
NO_SCENES = {"chessboard_GRAY.png", "motorcycle_right.png", "phantom.png"}
SCENES = sorted({p.name for p in Path(skimage.data.data_dir).glob("*.[jp][pn]g")} - NO_SCENES)
MANUAL_PATTERNS = ("*.jpg", "*.jpeg", "*.png")
SMALLEST_SIDE = 200  # of a manual's picture; smaller ones are icons and formulas
LARGEST_SIDE = 640  # of the written pictures
LARGEST_ASPECT = 3.0  # longer ones are diagrams, illegible in a square


def prepare_fer2013(
    source: Path, votes: Path | None, out: Path, validation: float, seed: int
) -> Counts:
    """Write FER2013 as folders from Kaggle's table: fer2013.csv, icml_face_data.csv or train.csv.

    `source` is the table, or the zip or tar file that holds it. train.csv has no splits: about the
    share `validation` of it is held out. With FER+'s `fer2013new.csv` as `votes`, pictures that
    most raters found to be no face are left out, and `ferplus.csv` is written. Returns the number
    of pictures of each split and of skipped ones. Raises `DataError` for a file of another form.
    """
    with _unpacked(source) as root:
        rows = _read_table(_find_table(root, source), ("emotion", "pixels"), "FER2013's CSV")
    rated: Sequence[dict[str, str] | None] = [None] * len(rows)
    if votes:
        rated = _read_table(votes, ("Image name", *VOTE_COLUMNS), "FER+'s table")
        if len(rated) != len(rows):
            raise DataError(f"{votes} has {len(rated)} rows, but FER2013 has {len(rows)}.")
    read = [_read_fer_row(row, f"{source}, row {n}") for n, row in enumerate(rows, start=1)]
    splits, labels, pictures = map(list, zip(*read, strict=True))
    if "Usage" not in rows[0]:
        held_out = hold_out(labels, group_near_duplicates(pictures), validation, seed)
        splits = ["validation" if held else "train" for held in held_out]
    kept, counts = [], Counts()
    for index, (split, label, rating) in enumerate(zip(splits, labels, rated, strict=True)):
        if rating is not None and not rating["Image name"]:
            counts["skipped: no face, says FER+"] += 1
            continue
        file = f"{split}/{label}/fer{index:07d}.png"
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures[index]).save(out / file)
        counts[split] += 1
        if rating is not None:
            columns = {column: rating[column] for column in VOTE_COLUMNS}
            kept.append({"usage": split, "file": file, **columns})
    if votes:
        write_csv(out / VOTES_FILE, kept)
    return counts


def prepare_folders(source: Path, out: Path, validation: float, seed: int) -> Counts:
    """Copy a data set in class folders, with folders of splits around them or without.

    `source` is a folder, or a zip or tar file of one. `val` and `valid` become `validation`; where
    there is none, about the share `validation` of the training pictures is held out, with
    near-duplicates on one side. Returns the number of pictures of each split and of skipped ones.
    Raises `DataError` where no class folder is found.
    """
    counts = Counts()
    with _unpacked(source) as folder:
        splits = _find_splits(folder)
        for split, classes in splits.items():
            found = list(_list_readable(sorted(classes.glob("*/*")), counts))
            if not found:
                raise DataError(f"{source} has no class folders with pictures.")
            held_out = np.zeros(len(found), dtype=bool)
            if split == "train" and "validation" not in splits:
                groups = group_hashes(np.stack([hashed for _, hashed in found]))
                labels = [file.parent.name for file, _ in found]
                held_out = hold_out(labels, groups, validation, seed)
            for (file, _), held in zip(found, held_out, strict=True):
                target = "validation" if held else split
                _copy(file, out / target / file.parent.name.lower())
                counts[target] += 1
        if (folder / VOTES_FILE).is_file():
            shutil.copyfile(folder / VOTES_FILE, out / VOTES_FILE)
    return counts


def _find_splits(folder: Path) -> dict[str, Path]:
    """Return split → its folder, wherever below `folder`; all is training where there is none."""
    named = [p for p in folder.rglob("*") if p.is_dir() and p.name.lower() in SPLIT_NAMES]
    if not named:
        pictures = (p for p in sorted(folder.rglob("*/*")) if p.suffix.lower() in PICTURE_SUFFIXES)
        first = next(pictures, None)
        return {"train": first.parent.parent if first else folder}
    highest = min((p.parent for p in named), key=lambda parent: (len(parent.parts), parent))
    return {SPLIT_NAMES[p.name.lower()]: p for p in sorted(named) if p.parent == highest}


def _list_readable(files: Iterable[Path], counts: Counts) -> Iterator[tuple[Path, np.ndarray]]:
    """Yield the pictures among files with their hashes; count the others by reason."""
    for file in files:
        if file.suffix.lower() not in PICTURE_SUFFIXES:
            counts["skipped: no picture by the name"] += 1
            continue
        try:
            yield file, hash_differences(read_picture(file))
        except DataError:
            counts["skipped: unreadable"] += 1


def prepare_utkface(source: Path, out: Path, seed: int) -> Counts:
    """Split UTKFace, a folder, zip or tar file, into train and validation by perceived gender.

    Near-duplicates stay on one side. Files keep their names, which hold age and race. Returns the
    number of pictures of each split and of skipped ones. Raises `DataError` where nothing is found.
    """
    counts = Counts()
    with _unpacked(source) as folder:
        # Kaggle's zip holds the pictures in several folders.
        named = {file.name: file for file in sorted(folder.rglob("*.jpg"), reverse=True)}
        fitting = sorted(file for file in named.values() if _utkface_class(file))
        counts["skipped: no age, gender and race in the name"] = len(named) - len(fitting)
        found = list(_list_readable(fitting, counts))
        if not found:
            raise DataError(f"{source} has no files named age_gender_race_time.jpg as in UTKFace.")
        groups = group_hashes(np.stack([hashed for _, hashed in found]))
        held_out = sample_groups(groups, VALIDATION_SHARE, seed)
        for (file, _), validates in zip(found, held_out, strict=True):
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
    pictures = []
    for file in files:
        with Image.open(file) as header:
            shorter, longer = sorted(header.size)
        if shorter >= SMALLEST_SIDE and longer <= LARGEST_ASPECT * shorter:
            picture = Image.fromarray(read_picture(file))
            picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
            pictures.append(np.asarray(picture))
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


def _utkface_class(file: Path) -> str | None:
    age, gender = (utkface_field(file, index) for index in (0, 1))
    return UTKFACE_CLASSES[gender] if age >= 0 and gender in (0, 1) else None


@contextmanager
def _unpacked(source: Path) -> Iterator[Path]:
    """Yield a folder or table as it is, and a zip or tar file as a folder of its files."""
    if source.is_dir() or source.suffix.lower() == ".csv":
        yield source
        return
    with TemporaryDirectory() as folder:
        try:
            if zipfile.is_zipfile(source):
                with zipfile.ZipFile(source) as archive:
                    # zipfile keeps within the folder by itself.
                    archive.extractall(folder)  # nosec B202
            else:
                with tarfile.open(source) as packed:
                    packed.extractall(folder, filter="data")
        except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise DataError(
                f"{source} is no folder, .csv, or whole zip or tar file: {error}. A download may "
                "have been cut off."
            ) from error
        shutil.rmtree(Path(folder) / "__MACOSX", ignore_errors=True)  # of archives made on a Mac
        yield Path(folder)


def _find_table(root: Path, source: Path) -> Path:
    found = [root] if root.is_file() else [f for n in FER_TABLES for f in sorted(root.rglob(n))]
    if not found:
        raise DataError(
            f"{source} holds none of {', '.join(FER_TABLES)}. If it holds class folders with "
            "pictures, bring it into the form by `python -m training data prepare folders`."
        )
    return found[0]


def _read_table(path: Path, columns: Sequence[str], of: str) -> list[dict[str, str]]:
    """Read a CSV file's rows. Raises `DataError` where it is no text, has no rows or lacks columns.

    Blanks around the columns' names are dropped: icml_face_data.csv has some.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
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
    usage, emotion = row.get("Usage", "Training").strip(), row["emotion"].strip()
    *others, last = FER_SPLITS
    if usage not in FER_SPLITS:
        raise DataError(f"{location}: Usage must be {', '.join(others)} or {last}, not {usage!r}.")
    if emotion not in map(str, range(len(FER_CLASSES))):
        raise DataError(f"{location}: emotion must be from 0 to 6, not {emotion!r}.")
    try:
        values = np.array(row["pixels"].split(), np.uint8).reshape(FER_SIDE, FER_SIDE)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{location}: pixels must be 2304 numbers from 0 to 255.") from error
    return FER_SPLITS[usage], FER_CLASSES[int(emotion)], values
