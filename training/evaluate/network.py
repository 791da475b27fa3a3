"""Evaluate a served model on a data set in the folder form."""

from pathlib import Path
from typing import Any

import numpy as np

from app.vision.detection.box_maps import MIDDLE, UNIT
from app.vision.detection.face_classifier import REASONS
from app.vision.models.cards import Card, Head
from app.vision.models.classifiers import (
    Network,
    join_heads,
    load_classifier,
    read_answers,
    run_in_batches,
    select_thresholds,
)
from training.datasets.loading import (
    GIVEN,
    Split,
    find_children,
    find_shared,
    list_answers,
    read_split,
)
from training.evaluate import Figures, Heads, Logits
from training.evaluate.metrics import describe_reliability, measure_answers
from training.recipe import DataError

BATCH = 256
PROPOSED = 0.2  # score from which a position is proposed
MOST_PIXELS = 2**18  # per batch: the feature maps of more take gigabytes in each network


def evaluate(model: Path, data: Path, split: str) -> Figures:
    """Measure each head of a model against its own labels.

    Returns `accuracy` (the labels' head), `accuracy_<head>` of the others, and each head's figures,
    also without the pictures that are in the training split too. Raises `DataError` for data that
    doesn't fit the model and `ModelError` for a bad model.
    """
    classifier = load_classifier(model, threads=0)
    card = classifier.card
    measured = read_split(data, split, card.shape)
    logits = run_network(classifier, measured.pictures)
    new = np.ones(len(measured.labels), dtype=bool)
    if split != "train" and (data / "train").is_dir():
        new = ~find_shared(measured, read_split(data, "train", card.shape))
    figures = measure_heads(card, logits, measured, new)
    accuracies = {
        "accuracy" if head.targets == "labels" else f"accuracy_{name}": figures[name]["accuracy"]
        for name, head in card.heads.items()
        if "accuracy" in figures.get(name, {})
    }
    return {"model": card.name, "part": split, "heads": figures, **accuracies}


def run_network(network: Network, pictures: np.ndarray) -> Logits:
    """Run pictures through a network in batches: head → logits (count, classes)."""
    return run_in_batches(network, pictures, choose_batch(pictures))


def choose_batch(pictures: np.ndarray) -> int:
    """Return the batch size for pictures or features (count, height, width, channels)."""
    return max(1, min(BATCH, MOST_PIXELS // int(np.prod(pictures.shape[1:3]))))


def measure_heads(card: Card, logits: Logits, split: Split, new: np.ndarray) -> Figures:
    """Return each head's figures; `new` marks the pictures that are not in the training split.

    A head without known labels has no figures.
    """
    figures: Figures = {}
    for name, head in card.heads.items():
        if head.targets in MEASURES and _has_answers(head, split):
            figures[name] = MEASURES[head.targets](logits[name], split)
        labels = _known_labels(head, split)
        if labels is None:
            continue
        known = labels >= 0
        probabilities = read_answers(head, logits[name])
        thresholds = select_thresholds(card, head, logits, probabilities)
        seen = (probabilities[known], labels[known], head.labels, thresholds[known])
        figures[name] = measure_answers(*seen)
        raw = head.model_copy(update={"temperature": 1.0})
        uncalibrated = read_answers(raw, logits[name][known])
        right = uncalibrated.argmax(axis=1) == labels[known]
        figures[name]["reliability_uncalibrated"] = describe_reliability(uncalibrated, right)
        if not new.all():
            kept = known & new
            unseen = (probabilities[kept], labels[kept], head.labels, thresholds[kept])
            own = measure_answers(*unseen) if kept.any() else {"count": 0}
            figures[name]["without_training_faces"] = own
    return figures


def compare_quantized(
    heads: Heads, exact: Logits, quantized: Logits, split: Split
) -> dict[str, dict[str, float]]:
    """Return each head's accuracy by both networks' logits, as `exact` and `quantized`."""
    exact, quantized = join_heads(heads, exact), join_heads(heads, quantized)
    accuracies: dict[str, dict[str, float]] = {}
    for name, head in heads.items():
        labels = _known_labels(head, split)
        if labels is not None:
            accuracies[name] = {}
            for form, logits in (("exact", exact[name]), ("quantized", quantized[name])):
                right = (read_answers(head, logits).argmax(axis=1) == labels)[labels >= 0]
                accuracies[name][form] = round(float(right.mean()), 4)
    return accuracies


def _known_labels(head: Head, split: Split) -> np.ndarray | None:
    """Return a classifying head's labels as `true_labels` does; None if none is known."""
    one_class = head.targets not in MEASURES and _has_answers(head, split)
    labels = true_labels(head, split) if one_class else None
    return labels if labels is not None and (labels >= 0).any() else None


def _has_answers(head: Head, split: Split) -> bool:
    if head.targets in GIVEN:
        return getattr(split, head.targets) is not None
    return head.targets == "labels" or bool((find_children(split.files) >= 0).any())


def place_errors(values: np.ndarray, split: Split) -> dict[str, float]:
    """Return a localisation head's median errors over the pictures whose face is located.

    `centre` is the distance as a share of the crop's side, `size` the ratio of the sides minus 1,
    `roll` is in degrees.
    """
    assert split.places is not None
    known = split.places.any(axis=1)
    return _median_errors(values[known], split.places[known])


def _median_errors(found: np.ndarray, right: np.ndarray, side: Any = 1.0) -> dict[str, float]:
    """Return the median errors of squares (count, 5): x, y, logarithm of the side, sine, cosine."""
    turn = np.arctan2(found[:, 3], found[:, 4]) - np.arctan2(right[:, 3], right[:, 4])
    errors = {
        "centre": np.hypot(*(found[:, :2] - right[:, :2]).T) / side,
        "size": np.expm1(np.abs(found[:, 2] - right[:, 2])),
        "roll": np.degrees(np.abs((turn + np.pi) % (2 * np.pi) - np.pi)),
    }
    return {name: round(float(np.median(error)), 4) for name, error in errors.items()}


def reason_shares(logits: np.ndarray, split: Split) -> dict[str, float]:
    """Return for each reason the share of faces with it that are marked, and of others.

    A face is marked where the reason is likelier than not.
    """
    assert split.reasons is not None
    shares = {}
    for column, name in enumerate(REASONS):
        marked, truth = logits[:, column] > 0, split.reasons[:, column]
        for key, value in ((name, 1), (f"{name}_false", 0)):
            chosen = marked[truth == value]
            shares[key] = round(float(chosen.mean()), 4) if len(chosen) else 0.0
    return shares


def box_errors(values: np.ndarray, split: Split) -> dict[str, float]:
    """Return a proposer's figures over the positions of maps (count, height, width, values).

    `proposed` is the share of faces' positions that are, `false` the positions per picture
    that are proposed on background; `centre`, as a share of the side, `size` and `roll` are the
    median errors as in `place_errors`.
    """
    assert split.boxes is not None
    truth = split.boxes.astype(np.float32)
    proposed = values[..., 0] > np.log(PROPOSED / (1 - PROPOSED))
    positive = truth[..., 0] == 1
    found, right = values[positive], truth[positive]
    side = np.exp(right[:, 3]) * MIDDLE / UNIT
    return {
        "proposed": round(float(proposed[positive].mean()), 4),
        "false": round(float((proposed & (truth[..., 0] == 0)).sum() / len(truth)), 4),
        **_median_errors(found[:, 1:], right[:, 1:], side),
    }


# The figures of heads whose answer is not one class.
MEASURES = {"places": place_errors, "reasons": reason_shares, "boxes": box_errors}


def true_labels(head: Head, split: Split) -> np.ndarray:
    """Return the true labels as indices into the head's answerable classes, int (count,).

    -1 where there is none: raters tie, or the majority voted for an excluded class. Raises
    `DataError` for a class that the model doesn't have.
    """
    answerable = head.answerable
    names, labels = list_answers(split, head.targets)
    unknown = [name for name in names if name not in answerable]
    if unknown and head.targets != "votes":
        known = ", ".join(answerable)
        raise DataError(f"The data has the class {unknown[0]!r}; the model knows {known}.")
    # The last entry is for the label -1, unknown.
    index = np.array([answerable.index(n) if n in answerable else -1 for n in (*names, "")])
    return index[labels]
