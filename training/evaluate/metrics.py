"""Measure predictions against their labels, with bootstrap intervals."""

from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix

CALIBRATION_BINS = 15
RESAMPLES = 1000


def measure_answers(
    probabilities: np.ndarray, labels: np.ndarray, classes: list[str], limits: np.ndarray
) -> dict[str, Any]:
    """Return the figures of one head's predictions, each with its 95% interval.

    `probabilities` is (count, classes), `labels` int (count,), `limits` float (count,) the
    thresholds of the probability. All figures are shares from 0 to 1.
    """
    answers = probabilities.argmax(axis=1)
    right = answers == labels
    given = probabilities.max(axis=1) >= limits
    confusion = confusion_matrix(labels, answers, labels=range(len(classes)))
    # Sampling pictures with replacement samples cells of the matrix by their shares (Efron 1979).
    shares = confusion.ravel() / len(labels)
    cells = np.random.default_rng(0).multinomial(len(labels), shares, RESAMPLES)
    resampled = cells.reshape(RESAMPLES, *confusion.shape)
    # A sample has more calibration error than all by chance alone, so that the interval lies high.
    generator = np.random.default_rng(0)
    samples = (generator.integers(0, len(right), len(right)) for _ in range(RESAMPLES))
    errors = [calibration_error(probabilities[each], right[each]) for each in samples]
    recalls, recall_samples = find_recalls(confusion), find_recalls(resampled)
    balanced = np.nanmean(recall_samples, axis=-1)
    precisions = find_recalls(confusion.T)
    hits = np.trace(resampled, axis1=-2, axis2=-1)
    return {
        **measure_given(right, given),
        **_with_interval("accuracy", right.mean(), hits / len(labels)),
        **_with_interval("balanced_accuracy", np.nanmean(recalls), balanced),
        **_with_interval("macro_f1", find_macro_f1(confusion), find_macro_f1(resampled)),
        "recall": _by_class(classes, recalls),
        "recall_interval": {
            name: _interval(samples)
            for name, samples, recall in zip(classes, recall_samples.T, recalls, strict=True)
            if not np.isnan(recall)
        },
        "precision": _by_class(classes, precisions),
        "confusion": confusion.tolist(),
        **_with_interval("calibration_error", calibration_error(probabilities, right), errors),
        "reliability": describe_reliability(probabilities, right),
    }


def find_recalls(confusion: np.ndarray) -> np.ndarray:
    """Return each class's recall, float (..., classes); NaN for a class without pictures.

    `confusion` is int (..., classes, classes), a row per true class. The recalls of the transposed
    matrix are the precisions.
    """
    counts = confusion.sum(axis=-1)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return np.where(counts > 0, hits / np.maximum(counts, 1), np.nan)


def find_macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Return the mean F1 over the classes with labelled pictures: float (...)."""
    hits, labelled = np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1)
    sizes = np.maximum(labelled + confusion.sum(axis=-2), 1)
    return np.nanmean(np.where(labelled > 0, 2 * hits / sizes, np.nan), axis=-1)


def calibration_error(probabilities: np.ndarray, right: np.ndarray) -> float:
    """Return the expected calibration error over bins of equal width.

    Source: Guo et al., "On calibration of modern neural networks" (2017), equation 3.
    """
    bins = reliability(probabilities, right)
    return sum(abs(share * (mean - hits)) for share, mean, hits in bins)


def reliability(probabilities: np.ndarray, right: np.ndarray) -> list[tuple[float, float, float]]:
    """Return each filled bin's share of predictions, mean probability and accuracy."""
    best = probabilities.max(axis=1)
    bins = np.minimum((best * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return [
        (float((bins == b).mean()), float(best[bins == b].mean()), float(right[bins == b].mean()))
        for b in np.unique(bins)
    ]


def describe_reliability(probabilities: np.ndarray, right: np.ndarray) -> list[dict[str, float]]:
    """Return the bins of the reliability diagram, as in a card."""
    return [
        {"share": _rounded(share), "probability": _rounded(mean), "right": _rounded(hits)}
        for share, mean, hits in reliability(probabilities, right)
    ]


def measure_share(chosen: np.ndarray, name: str = "accuracy") -> dict[str, Any]:
    """Return the share of true values, bool (count,), with its 95% interval and the count."""
    hits = np.random.default_rng(0).binomial(len(chosen), chosen.mean(), RESAMPLES)
    share = _with_interval(name, chosen.mean(), hits / len(chosen))
    return {"count": len(chosen), **share}


def measure_given(right: np.ndarray, given: np.ndarray) -> dict[str, Any]:
    """Return the count, the accuracy and the effect of the threshold, with 95% intervals.

    `right` and `given` are bool (count,): whether a prediction is right, and whether it reaches its
    threshold. If none does, `accuracy_of_answers_given` is None.
    """
    name = "accuracy_of_answers_given"
    of_given = measure_share(right[given], name) if given.any() else {name: None}
    return {**of_given, **measure_share(~given, "unanswered"), **measure_share(right)}


def _with_interval(name: str, value: Any, samples: Any) -> dict[str, Any]:
    return {name: _rounded(value), f"{name}_interval": _interval(samples)}


def _interval(samples: Any) -> list[float]:
    """Return the 95% interval by the percentile bootstrap (Efron 1979)."""
    low, high = np.nanpercentile(samples, [2.5, 97.5])
    return [_rounded(low), _rounded(high)]


def _by_class(classes: list[str], values: np.ndarray) -> dict[str, float | None]:
    return {
        name: None if np.isnan(value) else _rounded(value)
        for name, value in zip(classes, values, strict=True)
    }


def _rounded(value: float) -> float:
    return round(float(value), 4)
