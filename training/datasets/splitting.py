"""Split a data set stratified by class, with near-duplicates together."""

from collections.abc import Iterator

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from training.datasets.loading import Split
from training.datasets.preparation import group_near_duplicates


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
