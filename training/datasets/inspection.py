"""Check a data set before training: counts, faults, leakage and near-duplicates."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from training.datasets.loading import (
    SPLITS,
    digest_picture,
    list_classes,
    list_pictures,
    read_picture,
)
from training.datasets.splitting import group_hashes, hash_differences
from training.recipe import DataError

UNEVEN = 3  # ratio of two classes' sizes from which imbalance is reported


@dataclass(frozen=True)
class Picture:
    """Hold a picture's split, label, sides in pixels and two hashes."""

    split: str
    label: str
    file: Path
    height: int
    width: int
    digest: str
    differences: np.ndarray


@dataclass
class Inspection:
    """Hold what was found in a data set.

    `counts` is split → class → pictures. `faults` must be fixed; `leakage` lists pictures in
    two splits, which would make figures too good; `remarks` need no action. `digest` is a hash of
    all pictures with their splits and labels.
    """

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    leakage: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    digest: str = ""


def inspect(folder: Path) -> Inspection:
    """Count a data set's pictures by split and class, and list what is wrong with it.

    A folder of class folders counts as one split. Faults are empty classes, splits with different
    classes, pictures that can't be read and the same picture under two labels. Leakage is the
    same picture, or nearly the same, in two splits. Raises `DataError` where there is no class.
    """
    found = Inspection()
    pictures: list[Picture] = []
    for split in _list_parts(folder):
        found.counts[split] = {}
        for name in list_classes(folder, split):
            files = list_pictures(folder / split / name)
            found.counts[split][name] = len(files)
            if not files:
                found.faults.append(f"The class {name!r} is empty in {split or folder}.")
            for file in files:
                try:
                    pictures.append(_read(split, name, file))
                except DataError as error:
                    found.faults.append(f"Unreadable: {error}")
    if len({tuple(classes) for classes in found.counts.values()}) > 1:
        found.faults.append("The splits have different classes.")
    if pictures:
        _compare(pictures, found)
        lines = sorted(f"{each.split}/{each.label}/{each.digest}" for each in pictures)
        found.digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        found.remarks += [*_describe_balance(found.counts), _describe_sizes(pictures)]
    return found


def _list_parts(folder: Path) -> list[str]:
    splits = [split for split in SPLITS if (folder / split).is_dir()]
    if splits:
        return splits
    if any(list_pictures(inner) for inner in folder.iterdir() if inner.is_dir()):
        return [""]
    raise DataError(
        f"{folder} has none of the folders {', '.join(SPLITS)}, nor class folders with pictures."
    )


def _read(split: str, label: str, file: Path) -> Picture:
    picture = read_picture(file)
    height, width = picture.shape[:2]
    # The sides belong to the digest: the same bytes may make two pictures.
    digest = f"{height}x{width} {digest_picture(picture)}"
    return Picture(split, label, file, height, width, digest, hash_differences(picture))


def _compare(pictures: list[Picture], found: Inspection) -> None:
    same = np.unique([picture.digest for picture in pictures], return_inverse=True)[1]
    near = group_hashes(np.stack([picture.differences for picture in pictures]))
    sames, nears = _list_groups(pictures, same), _list_groups(pictures, near)
    # Groups of identical pictures are reported already.
    nears = [group for group in nears if len({picture.digest for picture in group}) > 1]
    duplicates = "groups of near-duplicates"
    kinds = ((sames, "pictures", found.faults), (nears, duplicates, found.remarks))
    for groups, name, mixed in kinds:
        across = [group for group in groups if len({picture.split for picture in group}) > 1]
        _report(across, f"{name} are in two splits", found.leakage)
        labels = [group for group in groups if len({picture.label for picture in group}) > 1]
        _report(labels, f"{name} have two labels", mixed)
    _report(sames, "pictures occur more than once", found.remarks)
    _report(nears, f"{duplicates} were found", found.remarks)


def _list_groups(pictures: list[Picture], numbers: np.ndarray) -> list[list[Picture]]:
    groups: dict[int, list[Picture]] = {}
    for picture, number in zip(pictures, numbers, strict=True):
        groups.setdefault(int(number), []).append(picture)
    return [group for group in groups.values() if len(group) > 1]


def _report(groups: list[list[Picture]], what: str, sentences: list[str]) -> None:
    if groups:
        first, *others = groups[0]
        kind = (first.split, first.label)
        # The most telling pair: two splits or labels, where the group has them.
        other = next((each for each in others if (each.split, each.label) != kind), others[0])
        sentences.append(f"{len(groups)} {what}, such as {first.file} and {other.file}.")


def _describe_balance(counts: dict[str, dict[str, int]]) -> list[str]:
    sentences = []
    for split, classes in counts.items():
        smallest, largest = (pick(classes, key=classes.__getitem__) for pick in (min, max))
        if classes[smallest] and classes[largest] >= UNEVEN * classes[smallest]:
            sentences.append(
                f"Imbalanced classes{f' in {split}' if split else ''}: {largest} has "
                f"{classes[largest]} pictures, {smallest} {classes[smallest]}. Compare "
                "macro-F1 too, not only accuracy."
            )
    return sentences


def _describe_sizes(pictures: list[Picture]) -> str:
    sides = np.array([(picture.width, picture.height) for picture in pictures])
    (low_width, low_height), (width, height) = sides.min(axis=0), np.median(sides, axis=0)
    high_width, high_height = sides.max(axis=0)
    if (sides == sides[0]).all():
        return f"Every picture is {low_width} x {low_height} pixels."
    return (
        f"Pictures are {low_width} to {high_width} pixels wide (median {width:g}) and "
        f"{low_height} to {high_height} high (median {height:g})."
    )
