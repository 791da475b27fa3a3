"""Read pictures of no class: some that a network learns to know nothing of, some to measure that.

Source: Hendrycks et al., "Deep anomaly detection with outlier exposure" (2019), section 3.
"""

from functools import cache
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar

from app.vision.imaging.crops import CropShape, shape_crop
from app.vision.models.cards import NONE_OF_THESE, Head, OODThreshold
from app.vision.models.classifiers import energy_scores, read_answers, read_probabilities
from training.datasets.loading import OOD, Split, draw_files, list_pictures, read_picture
from training.datasets.preparation import group_near_duplicates
from training.datasets.splitting import split_in_folds
from training.recipe import DataError, OODSet

HALVES = 2
HALVING_SIDE = 64  # Near-duplicates are told at one size: then a half is the same one at any size.


def read_ood(sets: dict[str, OODSet], split: str, side: int, seed: int) -> dict[str, Split]:
    """Return each set's split, with pictures uint8 (count, side, side, 3), by the set's name.

    A folder without splits is halved with near-duplicates together: the first half is learned
    from, the other one is the validation split. A set that isn't learned has no training split, and
    without splits all of it is its validation split. Raises `DataError` for a folder that is missing
    or has no pictures, one with fewer than are to be drawn or too few different ones to be halved,
    or an unreadable picture.
    """
    return {
        name: _read(outside, split, side, seed)
        for name, outside in sets.items()
        if outside.train_on or split != "train"
    }


def check_ood(sets: dict[str, OODSet], seed: int) -> None:
    """Look for the pictures that will be measured on, before anything is trained.

    Raises `DataError` as `read_ood` does, but for unreadable pictures.
    """
    for outside in sets.values():
        _draw(_list_files(outside, "validation", seed), outside, seed)


def append_ood(train: Split, sets: dict[str, Split]) -> Split:
    """Return a split with pictures of no class behind its own."""
    if not sets:
        return train
    files = tuple(file for outside in sets.values() for file in outside.files)
    return Split(
        np.concatenate([train.pictures, *(outside.pictures for outside in sets.values())]),
        np.concatenate([train.labels, np.full(len(files), OOD)]),
        train.classes,
        train.files + files,
        None,
    )


def select_ood_threshold(head: Head, logits: np.ndarray) -> np.ndarray:
    """Mark the pictures that are answered by "none of these": bool (count,)."""
    answers = read_answers(head, logits).argmax(axis=1)
    return np.asarray(answers == head.labels.index(NONE_OF_THESE))


def fit_ood_threshold(
    head: Head, inside: np.ndarray, outside: np.ndarray, refused: float
) -> OODThreshold:
    """Return from which energy on pictures are of no class, and how fast that becomes likelier.

    `inside` and `outside` are the head's logits for pictures of the classes and of none, float
    (count, classes). "None of these" is then the likeliest answer to the share `refused` of the
    former. The slope is that of a logistic regression on the energies, through the one that the
    same share exceeds, both kinds weighing the same.
    """
    energies, others = energy_scores(inside), energy_scores(outside)
    middle = float(np.quantile(energies, 1 - refused))

    def surprise(log_slope: float) -> float:
        slope = np.exp(log_slope)
        # -log of the probability of what is right: log(1 + exp(-margin)).
        margins = slope * (middle - energies), slope * (others - middle)
        return float(sum(np.logaddexp(0, -margin).mean() for margin in margins))

    slope = float(np.exp(minimize_scalar(surprise, bounds=(-3, 3), method="bounded").x))
    # None is likeliest where its odds exceed the best class's share of the rest.
    _, classes = read_probabilities(head, inside)
    limit = np.quantile(energies - np.log(classes.max(axis=1)) / slope, 1 - refused)
    return OODThreshold(energy_limit=round(float(limit), 4), slope=round(slope, 4))


def _read(outside: OODSet, split: str, side: int, seed: int) -> Split:
    files = _draw(_list_files(outside, split, seed), outside, seed)
    random = np.random.default_rng(seed)
    shape = CropShape(side, 3)
    shown = (
        shape_crop(_show_window(read_picture(f), outside.window, random), shape) for f in files
    )
    return _join(files, [_shuffle_pieces(picture, outside.jigsaw, random) for picture in shown])


def _list_files(outside: OODSet, split: str, seed: int) -> list[Path]:
    folder = outside.folder / split if (outside.folder / split).is_dir() else outside.folder
    folders = [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]
    files = [file for path in folders if path.is_dir() for file in list_pictures(path)]
    if not files:
        raise DataError(f"There are no pictures of no class in {folder}.")
    if folder != outside.folder or not outside.train_on:
        return files
    learned, held_out = _halve(folder, tuple(files), seed)
    return learned if split == "train" else held_out


@cache
def _halve(folder: Path, files: tuple[Path, ...], seed: int) -> tuple[list[Path], list[Path]]:
    """Part a folder's files in those that are learned from and those that are measured on.

    All are read for it, so it is done once for the sets and the splits that share a folder.
    """
    shape = CropShape(HALVING_SIDE, 3)
    small = _join(list(files), [shape_crop(read_picture(file), shape) for file in files])
    if len(set(group_near_duplicates(list(small.pictures)))) < HALVES:
        raise DataError(f"{folder} has too few different pictures to be halved.")
    learned, held_out = next(split_in_folds(small, HALVES, seed))
    return list(small.subset(learned).files), list(small.subset(held_out).files)


def _draw(files: list[Path], outside: OODSet, seed: int) -> list[Path]:
    count = len(files) if outside.count is None else outside.count
    if len(files) < count:
        raise DataError(f"{outside.folder} has {len(files)} pictures to draw {count} from.")
    return draw_files(files, count, seed)


def _join(files: list[Path], pictures: list[np.ndarray]) -> Split:
    return Split(np.stack(pictures), np.zeros(len(files), int), (), tuple(files), None)


def _show_window(picture: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    if share == 1.0:
        return picture
    height, width = picture.shape[:2]
    side = max(1, round(share * min(height, width)))
    top, left = random.integers(height - side + 1), random.integers(width - side + 1)
    return picture[top : top + side, left : left + side]


def _shuffle_pieces(picture: np.ndarray, pieces: int, random: np.random.Generator) -> np.ndarray:
    """Put a picture's square pieces, so many in a row and in a column, into another order.

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
