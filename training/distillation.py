"""Let finished models teach: mix their probabilities into a new network's targets."""

import numpy as np

from app.vision.cards import Card
from app.vision.classifiers import load_classifier
from training.data import DataError, Part, shape_pictures
from training.evaluation import run_network
from training.recipes import Distillation


def mix_in_teachers(
    targets: dict[str, np.ndarray], train: Part, distillation: Distillation
) -> dict[str, np.ndarray]:
    """Return each head's targets, float32 (count, classes), with the teachers' share in them.

    A row of zeros, whose right answer nobody knows, becomes the teachers' alone. Raises
    `DataError` where a teacher has other heads or classes.
    """
    sums = {name: np.zeros_like(values) for name, values in targets.items()}
    for folder in distillation.teachers:
        teacher = load_classifier(folder, threads=0)
        _check_heads(teacher.card, targets)
        pictures = shape_pictures(train.pictures, teacher.card.shape)
        # A face and its mirror image are the same answer; their average is a better one.
        for side in (pictures, pictures[:, :, ::-1]):
            for name, logits in run_network(teacher.network, np.ascontiguousarray(side)).items():
                if name in sums:
                    sums[name] += _softmax(logits)
    mixed = {}
    for name, values in targets.items():
        taught = sums[name] / sums[name].sum(axis=1, keepdims=True)
        known = values.sum(axis=1, keepdims=True) > 0
        share = np.where(known, distillation.share, 1.0).astype(np.float32)
        mixed[name] = (1 - share) * values + share * taught
    return mixed


def _check_heads(card: Card, targets: dict[str, np.ndarray]) -> None:
    """Refuse a teacher of other heads."""
    for name, values in targets.items():
        if name not in card.heads or len(card.heads[name].classes) != values.shape[1]:
            raise DataError(
                f"The teacher {card.name!r} has no head {name!r} of {values.shape[1]} classes."
            )


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities at temperature 1, at which the teachers learned."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), np.float32)
