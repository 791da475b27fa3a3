"""Read pictures of no class: some that a network learns to know nothing of, some to measure that.

Source: Hendrycks et al., "Deep anomaly detection with outlier exposure" (2019), section 3.
"""

import numpy as np
from scipy.optimize import minimize_scalar

from app.vision.cards import NONE_OF_THESE, Head, Outside
from app.vision.classifiers import find_energies, read_answers, read_probabilities
from app.vision.crops import CropShape
from training.data import OUTSIDE, Drawing, Part, read_part
from training.recipes import OutsideSet
from training.splitting import split_in_folds

HALVES = 2
HALVING_SIDE = 64  # Near-duplicates are told at one size: then a half is the same one at any size.


def read_outside(sets: dict[str, OutsideSet], part: str, side: int, seed: int) -> dict[str, Part]:
    """Return each set's part, with pictures uint8 (count, side, side, 3), by the set's name.

    A folder without parts is halved with near-duplicates together: the first half is learned
    from, the other one is the validation part. Raises `DataError` as `read_part` does.
    """
    return {name: _read(outside, part, side, seed) for name, outside in sets.items()}


def join_outside(train: Part, sets: dict[str, Part]) -> Part:
    """Return a part with pictures of no class behind its own."""
    if not sets:
        return train
    files = tuple(file for outside in sets.values() for file in outside.files)
    return Part(
        np.concatenate([train.pictures, *(outside.pictures for outside in sets.values())]),
        np.concatenate([train.labels, np.full(len(files), OUTSIDE)]),
        train.classes,
        train.files + files,
        None,
    )


def find_refused(head: Head, logits: np.ndarray) -> np.ndarray:
    """Mark the pictures that are answered by "none of these": bool (count,)."""
    answers = read_answers(head, logits).argmax(axis=1)
    return np.asarray(answers == head.labels.index(NONE_OF_THESE))


def find_outside(head: Head, inside: np.ndarray, outside: np.ndarray, refused: float) -> Outside:
    """Return from which energy on pictures are of no class, and how fast that becomes likelier.

    `inside` and `outside` are the head's logits for pictures of the classes and of none, float
    (count, classes). "None of these" is then the likeliest answer to the share `refused` of the
    former. The slope is that of a logistic regression on the energies, through the one that the
    same share exceeds, both kinds weighing the same.
    """
    energies, others = find_energies(inside), find_energies(outside)
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
    return Outside(energy_limit=round(float(limit), 4), slope=round(slope, 4))


def _read(outside: OutsideSet, part: str, side: int, seed: int) -> Part:
    """Read one set's pictures of a part."""
    shape = CropShape(side, 3)
    if (outside.folder / part).is_dir():
        return read_part(outside.folder, part, shape, Drawing(outside.count, seed))
    small = read_part(outside.folder, "", CropShape(HALVING_SIDE, 3))
    learned, held_out = next(split_in_folds(small, HALVES, seed))
    return read_part(outside.folder, "", shape).subset(learned if part == "train" else held_out)
