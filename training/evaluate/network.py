"""Evaluate a served model on a data set in the folder form."""

from pathlib import Path
from typing import Any

import numpy as np

from app.vision.models.cards import Card, Head
from app.vision.models.classifiers import (
    Network,
    load_classifier,
    read_answers,
    run_in_batches,
    select_thresholds,
)
from training.datasets.loading import Split, find_children, find_shared, list_answers, read_split
from training.evaluate.metrics import describe_reliability, measure_answers
from training.recipe import DataError

BATCH = 256
MOST_PIXELS = 2**20  # in one batch: the maps of 256 whole pictures would take many gigabytes


def evaluate(model: Path, data: Path, part: str, runtime: str = "auto") -> dict[str, Any]:
    """Measure each head of a model against its own labels.

    Returns `accuracy` (the labels' head), `accuracy_ferplus` (the votes' head, where votes are
    given), and each head's figures, also without the pictures that stand in the training part.
    Raises `DataError` for a data set that doesn't fit the model, `ModelError` for a bad model.
    """
    classifier = load_classifier(model, runtime, threads=0)  # type: ignore[arg-type]
    card = classifier.card
    pictures = read_split(data, part, card.shape)
    logits = run_network(classifier.network, pictures.pictures)
    new = np.ones(len(pictures.labels), dtype=bool)
    if part != "train" and (data / "train").is_dir():
        new = ~find_shared(pictures, read_split(data, "train", card.shape))
    figures = measure_heads(card, logits, pictures, new)
    answer: dict[str, Any] = {"model": card.name, "part": part, "heads": figures}
    for name, head in card.heads.items():
        key = "accuracy" if head.targets == "labels" else f"accuracy_{name}"
        if "accuracy" in figures.get(name, {}):
            answer[key] = figures[name]["accuracy"]
    return answer


def run_network(network: Network, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Run all pictures through a network, some at a time: head → logits (count, classes)."""
    return run_in_batches(network, pictures, choose_batch(pictures))


def choose_batch(pictures: np.ndarray) -> int:
    """Return how many pictures or features (count, height, width, channels) go in one batch."""
    return max(1, min(BATCH, MOST_PIXELS // int(np.prod(pictures.shape[1:3]))))


def measure_heads(
    card: Card, logits: dict[str, np.ndarray], pictures: Split, new: np.ndarray
) -> dict[str, Any]:
    """Return each head's figures; `new` marks the pictures that don't stand in training.

    A head of which no picture's right answer is known has no figures.
    """
    figures: dict[str, Any] = {}
    for name, head in card.heads.items():
        if not has_answers(head, pictures):
            continue
        if head.targets == "places":
            figures[name] = place_errors(logits[name], pictures)
            continue
        probabilities = read_answers(head, logits[name])
        limits = select_thresholds(card, head, logits)
        labels = right_answers(head, pictures)
        counted = labels >= 0
        if not counted.any():
            continue
        figures[name] = measure_answers(
            probabilities[counted], labels[counted], head.labels, limits[counted]
        )
        raw = head.model_copy(update={"temperature": 1.0})
        uncalibrated = read_answers(raw, logits[name][counted])
        figures[name]["reliability_uncalibrated"] = describe_reliability(
            uncalibrated, uncalibrated.argmax(axis=1) == labels[counted]
        )
        if not new.all():
            unseen = counted & new
            figures[name]["without_training_faces"] = (
                measure_answers(probabilities[unseen], labels[unseen], head.labels, limits[unseen])
                if unseen.any()
                else {"count": 0}
            )
    return figures


def has_answers(head: Head, pictures: Split) -> bool:
    """Tell whether the pictures bring what a head's answers are measured by."""
    known = {
        "labels": True,
        "votes": pictures.votes is not None,
        "children": bool((find_children(pictures.files) >= 0).any()),
        "places": pictures.places is not None,
    }
    return known[head.targets]


def place_errors(values: np.ndarray, pictures: Split) -> dict[str, float]:
    """Return median errors of a places head over the pictures whose place is known.

    `centre` is the distance as a share of the square's side, `size` the factor between the sides
    less 1, `roll` in degrees.
    """
    assert pictures.places is not None
    known = pictures.places.any(axis=1)
    found, right = values[known], pictures.places[known]
    turn = np.arctan2(found[:, 3], found[:, 4]) - np.arctan2(right[:, 3], right[:, 4])
    errors = {
        "centre": np.hypot(*(found[:, :2] - right[:, :2]).T),
        "size": np.expm1(np.abs(found[:, 2] - right[:, 2])),
        "roll": np.degrees(np.abs((turn + np.pi) % (2 * np.pi) - np.pi)),
    }
    return {name: round(float(np.median(error)), 4) for name, error in errors.items()}


def right_answers(head: Head, pictures: Split) -> np.ndarray:
    """Return the right answers as indices into the head's answerable classes.

    -1 where there is none: raters tie, or most saw a class that the head leaves out.
    Raises `DataError` for a class that the model doesn't know.
    """
    answerable = head.answerable
    names, labels = list_answers(pictures, head.targets)
    if head.targets != "votes":
        unknown = [name for name in names if name not in answerable]
        if unknown:
            raise DataError(
                f"The data has the class {unknown[0]!r}; the model knows {', '.join(answerable)}."
            )
    # The last place is for -1: nobody knows.
    index = np.array([answerable.index(n) if n in answerable else -1 for n in (*names, "")])
    return index[labels]
