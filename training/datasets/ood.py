"""Read out-of-distribution (OOD) pictures, and fit the threshold at which they are rejected.

Some are for outlier exposure in training, others for measuring. Source: Hendrycks et al., "Deep
anomaly detection with outlier exposure" (2019), section 3.
"""

from functools import cache
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar

from app.vision.imaging.crops import CropShape, shape_crop
from app.vision.models.cards import Head, OODThreshold
from app.vision.models.classifiers import energy_scores, read_probabilities
from training.datasets.loading import OOD, Split, list_pictures, read_picture, sample_files
from training.datasets.splitting import group_near_duplicates, split_in_folds
from training.recipe import DataError, OODSet

HALVES = 2
HALVING_SIDE = 64  # One size to find near-duplicates at, so that the halves are always the same.


def read_ood(sets: dict[str, OODSet], split: str, side: int, seed: int) -> dict[str, Split]:
    """Return each set's split, with pictures uint8 (count, side, side, 3), by the set's name.

    A folder without splits is halved with near-duplicates together: the first half is the
    training split, the other one the validation split. A set with `train_on` false has no training
    split; without splits in its folder all of it is its validation split. Raises `DataError` for a
    folder that is missing, has no pictures or fewer than `count`, has too few different ones to be
    halved, or holds an unreadable picture.
    """
    asked = {name: ood for name, ood in sets.items() if ood.train_on or split != "train"}
    return {name: _read(ood, split, side, seed) for name, ood in asked.items()}


def check_ood(sets: dict[str, OODSet], seed: int) -> None:
    """Check before training that the validation pictures are there.

    Raises `DataError` as `read_ood` does, but for unreadable pictures.
    """
    for ood in sets.values():
        _list_files(ood, "validation", seed)


def append_ood(train: Split, sets: dict[str, Split]) -> Split:
    """Return a split followed by OOD pictures, which have the label `OOD`."""
    if not sets:
        return train
    files = tuple(file for ood in sets.values() for file in ood.files)
    pictures = np.concatenate([train.pictures, *(ood.pictures for ood in sets.values())])
    labels = np.concatenate([train.labels, np.full(len(files), OOD)])
    return Split(pictures, labels, train.classes, train.files + files)


def fit_ood_threshold(
    head: Head, in_logits: np.ndarray, ood_logits: np.ndarray, false_positive_rate: float
) -> OODThreshold:
    """Return the energy from which a picture is out of distribution, and the slope around it.

    `in_logits` and `ood_logits` are the head's logits for pictures of the classes and for OOD
    pictures, float (count, classes). "None of these" is then the most probable prediction for the
    share `false_positive_rate` of the former. The slope is that of a logistic regression on the
    energies, through the one that the same share exceeds, both kinds weighing the same.
    """
    energies, ood_energies = energy_scores(in_logits), energy_scores(ood_logits)
    middle = float(np.quantile(energies, 1 - false_positive_rate))

    def nll(log_slope: float) -> float:
        slope = np.exp(log_slope)
        margins = slope * (middle - energies), slope * (ood_energies - middle)
        return float(sum(np.logaddexp(0, -margin).mean() for margin in margins))

    slope = float(np.exp(minimize_scalar(nll, bounds=(-3, 3), method="bounded").x))
    # OOD is the most probable where its odds exceed the best class's share of the rest.
    _, classes = read_probabilities(head, in_logits)
    limit = np.quantile(energies - np.log(classes.max(axis=1)) / slope, 1 - false_positive_rate)
    return OODThreshold(energy_limit=round(float(limit), 4), slope=round(slope, 4))


def _read(ood: OODSet, split: str, side: int, seed: int) -> Split:
    files = _list_files(ood, split, seed)
    random = np.random.default_rng(seed)
    shape = CropShape(side, 3)
    crops = (shape_crop(_random_window(read_picture(f), ood.window, random), shape) for f in files)
    return _as_split(files, [_jigsaw(crop, ood.jigsaw, random) for crop in crops])


def _list_files(ood: OODSet, split: str, seed: int) -> list[Path]:
    folder = ood.folder / split if (ood.folder / split).is_dir() else ood.folder
    folders = [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]
    files = [file for path in folders if path.is_dir() for file in list_pictures(path)]
    if not files:
        raise DataError(f"There are no out-of-distribution pictures in {folder}.")
    if folder == ood.folder and ood.train_on:
        files = _halve(folder, tuple(files), seed)[split != "train"]
    count = len(files) if ood.count is None else ood.count
    if len(files) < count:
        raise DataError(f"{ood.folder} has {len(files)} pictures; {count} can't be sampled.")
    return sample_files(files, count, seed)


@cache  # All files are read for it: once for the sets and the splits that share a folder.
def _halve(folder: Path, files: tuple[Path, ...], seed: int) -> tuple[list[Path], list[Path]]:
    shape = CropShape(HALVING_SIDE, 3)
    small = _as_split(list(files), [shape_crop(read_picture(file), shape) for file in files])
    if len(set(group_near_duplicates(list(small.pictures)))) < HALVES:
        raise DataError(f"{folder} has too few different pictures to be halved.")
    train, validation = next(split_in_folds(small, HALVES, seed))
    return list(small.subset(train).files), list(small.subset(validation).files)


def _as_split(files: list[Path], pictures: list[np.ndarray]) -> Split:
    return Split(np.stack(pictures), np.zeros(len(files), int), (), tuple(files))


def _random_window(picture: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    if share == 1.0:
        return picture
    height, width = picture.shape[:2]
    side = max(1, round(share * min(height, width)))
    top, left = random.integers(height - side + 1), random.integers(width - side + 1)
    return picture[top : top + side, left : left + side]


def _jigsaw(picture: np.ndarray, pieces: int, random: np.random.Generator) -> np.ndarray:
    """Shuffle the square pieces of a picture, `pieces` in a row and in a column.

    Source: Noroozi and Favaro, "Unsupervised learning of visual representations by solving jigsaw
    puzzles" (2016), whose puzzles here show nothing that has a name.
    """
    if pieces == 1:
        return picture
    side = len(picture) // pieces * pieces
    cells = picture[:side, :side].reshape(pieces, side // pieces, pieces, side // pieces, 3)
    shuffled = random.permutation(cells.swapaxes(1, 2).reshape(pieces**2, side // pieces, -1))
    rows = shuffled.reshape(pieces, pieces, side // pieces, side // pieces, 3).swapaxes(1, 2)
    return shape_crop(rows.reshape(side, side, 3), CropShape(len(picture), 3))
