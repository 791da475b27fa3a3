"""Split a data set stratified by class, with near-duplicates together."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from training.datasets.loading import Split
from training.recipe import DataError

# Two differing bits of 256 are JPEG noise; strangers differ in 60 and more.
NEAR_DUPLICATE_BITS = 10


def split_in_folds(split: Split, folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each fold which pictures are trained on and which held out: two bool (count,).

    Each picture is held out once. Each fold has about the same share of each class, and
    near-duplicates are in the same one.
    """
    groups = group_near_duplicates(list(split.pictures))
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for _, held_out in splitter.split(split.labels, split.labels, groups):
        mask = np.zeros(len(split.labels), dtype=bool)
        mask[held_out] = True
        yield ~mask, mask


def train_validation_test_split(split: Split, seed: int) -> tuple[Split, Split, Split]:
    """Split into training (about 80%), validation (10%) and test (10%)."""
    folds = [held_out for _, held_out in split_in_folds(split, 10, seed)]
    test, validation = folds[0], folds[1]
    return split.subset(~test & ~validation), split.subset(validation), split.subset(test)


def hold_out(labels: Sequence[str], groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return which pictures to validate on, about a share of each class: bool (count,).

    Pictures of one group, int64 (count,), stay on one side. Raises `DataError` where a class has
    too few pictures.
    """
    folds = round(1 / share)
    fewest = min(labels, key=labels.count)
    if labels.count(fewest) < folds:
        raise DataError(
            f"The class {fewest!r} has {labels.count(fewest)} pictures: too few to hold out "
            f"{share:.0%} of them."
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return np.isin(np.arange(len(labels)), next(splitter.split(labels, labels, groups))[1])


def group_near_duplicates(pictures: list[np.ndarray]) -> np.ndarray:
    """Assign each group of near-duplicates a number: int64 (count,).

    Pictures are RGB or grey uint8. Compared by the 256-bit difference hash: whether each point of a
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
    """Return the difference hash of a picture, RGB or grey, as uint64 (4,)."""
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (17, 16), interpolation=cv2.INTER_AREA)
    return np.packbits(small[:, 1:] > small[:, :-1]).view(np.uint64)


def sample_groups(groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return which pictures are in about a share of all, by whole groups: bool (count,)."""
    names = np.unique(groups)
    np.random.default_rng(seed).shuffle(names)
    counts = np.bincount(groups)[names]
    chosen = names[np.cumsum(counts) <= share * len(groups)]
    return np.isin(groups, chosen)
