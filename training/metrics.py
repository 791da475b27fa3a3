"""Measure answers against what is right."""

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.metrics import confusion_matrix, f1_score, recall_score

from app.vision.cards import Head
from app.vision.classifiers import read_probabilities

CALIBRATION_BINS = 15
RESAMPLES = 1000


def measure_answers(
    probabilities: np.ndarray, labels: np.ndarray, classes: list[str], unsure_below: float
) -> dict[str, Any]:
    """Return the figures of one head's answers.

    `probabilities` is (count, classes), `labels` int (count,). All figures are shares from 0 to
    1; `accuracy_interval` is the 95% interval.
    """
    answers = probabilities.argmax(axis=1)
    right = answers == labels
    every = range(len(classes))
    recalls = recall_score(labels, answers, labels=every, average=None, zero_division=0)
    given = probabilities.max(axis=1) >= unsure_below
    return {
        "count": len(labels),
        "accuracy": _rounded(right.mean()),
        "accuracy_interval": bootstrap_interval(right),
        "balanced_accuracy": _rounded(recalls[np.isin(every, labels)].mean()),
        "macro_f1": _rounded(f1_score(labels, answers, average="macro")),
        "recall": {name: _rounded(r) for name, r in zip(classes, recalls, strict=True)},
        "confusion": confusion_matrix(labels, answers, labels=every).tolist(),
        "calibration_error": _rounded(calibration_error(probabilities, right)),
        "unanswered": _rounded(1 - given.mean()),
        "accuracy_of_answers_given": _rounded(right[given].mean()) if given.any() else None,
    }


def calibration_error(probabilities: np.ndarray, right: np.ndarray) -> float:
    """Return the expected calibration error over bins of equal width.

    Source: Guo et al., "On calibration of modern neural networks" (2017), equation 3.
    """
    return sum(
        abs(share * (mean - hits)) for share, mean, hits in reliability(probabilities, right)
    )


def reliability(probabilities: np.ndarray, right: np.ndarray) -> list[tuple[float, float, float]]:
    """Return for each filled bin its share of answers, mean probability and share of right ones."""
    best = probabilities.max(axis=1)
    bins = np.minimum((best * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return [
        (float((bins == b).mean()), float(best[bins == b].mean()), float(right[bins == b].mean()))
        for b in np.unique(bins)
    ]


def bootstrap_interval(right: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of a share, by the percentile bootstrap (Efron 1979)."""
    # Drawing right answers with replacement is a binomial draw.
    shares = np.random.default_rng(0).binomial(len(right), right.mean(), RESAMPLES) / len(right)
    low, high = np.percentile(shares, [2.5, 97.5])
    return _rounded(low), _rounded(high)


def calibrate(head: Head, logits: np.ndarray, labels: np.ndarray, minimum: float) -> Head:
    """Return the head with its temperature and "unsure" limit set on these pictures.

    The temperature makes the right answers likeliest (Guo et al. 2017, section 4.2); the limit
    is the lowest at which a share of `minimum` of the answers given is right. `labels` are
    indices into the answerable classes.
    """

    def surprise(log_temperature: float) -> float:
        tried = head.model_copy(update={"temperature": float(np.exp(log_temperature))})
        _, probabilities = read_probabilities(tried, logits)
        chosen = probabilities[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(chosen, 1e-12)).mean())

    best = minimize_scalar(surprise, bounds=(-3, 3), method="bounded").x
    calibrated = head.model_copy(update={"temperature": round(float(np.exp(best)), 4)})
    _, probabilities = read_probabilities(calibrated, logits)
    right = probabilities.argmax(axis=1) == labels
    limit = find_unsure_limit(probabilities.max(axis=1), right, minimum)
    return calibrated.model_copy(update={"unsure_below": limit})


def find_unsure_limit(best: np.ndarray, right: np.ndarray, minimum: float) -> float:
    """Return the lowest limit at which answers given are right often enough; 1 where none is."""
    order = np.argsort(-best)
    share_right = np.cumsum(right[order]) / np.arange(1, len(right) + 1)
    enough = np.flatnonzero(share_right >= minimum)
    return round(float(best[order][enough[-1]]), 4) if len(enough) else 1.0


def _rounded(value: float) -> float:
    """Round a figure to what its interval can tell."""
    return round(float(value), 4)
