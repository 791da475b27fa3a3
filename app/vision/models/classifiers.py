"""Classify crops: a network's logits become calibrated probabilities, as the model's card says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from app.errors import RautError
from app.vision.budget import Budget
from app.vision.geometry import softmax
from app.vision.models.cards import Card, Head, ModelError, load_card
from app.vision.models.files import FILES, Runtime, choose_file, hash_file, read_verified
from app.vision.models.keras_network import KerasNetwork
from app.vision.models.onnx_network import OnnxNetwork
from app.vision.models.visibility import find_reasons
from app.vision.readings import Detection, Prediction, Reason
from app.vision.tracing import Trace

# A head's probability of 0 must not outweigh all that another head has seen.
LEAST_PROBABILITY = 1e-6


class Network(Protocol):
    """Run a network in one of the runtimes."""

    def logits(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """Map uint8 crops (count, size, size, channels) to each head's float32 (count, classes)."""


class MirrorAveraging:
    """Average a network's logits for each crop and for its mirror image."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def logits(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """Map uint8 crops as `Network` does, by one batch of twice the size."""
        both = self._network.logits(np.concatenate([crops, crops[:, :, ::-1]]))
        return {name: (v[: len(crops)] + v[len(crops) :]) / 2 for name, v in both.items()}


@dataclass(eq=False)
class Classifier:
    """Classify crops by one model, as its card says, and by one head, the card's own by default."""

    card: Card
    network: Network
    digest: str
    folder: Path
    head_name: str = ""

    def __post_init__(self) -> None:
        self.head_name = self.head_name or self.card.default_head

    @property
    def head(self) -> Head:
        """Return the head that answers."""
        return self.card.heads[self.head_name]

    def warm_up(self) -> None:
        """Run the network once, as the first run takes longest.

        Raises `ModelError` where its input or outputs differ from the card, `RautError` where an
        inference server doesn't answer.
        """
        shape = self.card.shape
        expected = {name: (1, len(head.classes)) for name, head in self.card.outputs.items()}
        try:
            logits = self.network.logits(
                np.zeros((1, shape.size, shape.size, shape.channels), np.uint8)
            )
        except RautError:
            raise
        except Exception as error:  # Each runtime has its own for crops of another shape.
            raise self._unlike_card(str(error)) from error
        if (found := {name: values.shape for name, values in logits.items()}) != expected:
            raise self._unlike_card(f"it answers {found} where {expected} is described")

    def _unlike_card(self, reason: str) -> ModelError:
        return ModelError(f"The model in {self.folder} doesn't answer as its card says: {reason}.")

    def logits(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """Map uint8 crops to the logits of all heads, of those that join others too."""
        return join_heads(self.card.heads, self.network.logits(crops))

    def predict(
        self,
        crops: np.ndarray,
        trace: Trace | None = None,
        mirrored: bool = False,
        detections: Sequence[Detection] = (),
    ) -> list[Prediction]:
        """Classify uint8 crops (count, size, size, channels) in one batch.

        With `mirrored`, a model whose card says so also reads each crop's mirror image.
        `detections` are the crops' faces: those that the card calls unreadable get a `reason`.
        """
        if not len(crops):
            return []
        averages = mirrored and self.card.mirror_averaging
        network = MirrorAveraging(self.network) if averages else self.network
        logits = join_heads(self.card.heads, network.logits(crops))
        if trace:
            trace.add("logits", self.card.name, logits=logits[self.head_name])
        rows = read_answers(self.head, logits[self.head_name])
        thresholds = select_thresholds(self.card, self.head, logits, rows)
        reasons: list[Reason | None] = [None] * len(crops)
        if detections and self.card.visibility:
            reasons = find_reasons(self.card.visibility, crops, detections)
        return [
            self._predict(dict(zip(self.head.labels, row, strict=True)), threshold, reason)
            for row, threshold, reason in zip(
                rows.tolist(), thresholds.tolist(), reasons, strict=True
            )
        ]

    def _predict(
        self, probabilities: dict[str, float], threshold: float, reason: Reason | None
    ) -> Prediction:
        label = max(probabilities, key=probabilities.__getitem__)
        return Prediction(
            label=label,
            probability=probabilities[label],
            confident=reason is None and probabilities[label] >= threshold,
            probabilities=probabilities,
            threshold=threshold,
            reason=reason,
        )


def read_probabilities(head: Head, logits: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Turn a head's logits (count, classes) into its answerable classes and their probabilities.

    Excluded classes are dropped before the softmax, at the head's temperature (Guo et al., "On
    calibration of modern neural networks", 2017, section 4.2).
    """
    kept = head.answerable_indices
    scaled = logits[:, kept].astype(np.float64) / head.temperature
    return head.answerable, softmax(scaled)


def run_in_batches(
    network: Network, crops: np.ndarray, count: int, budget: Budget | None = None
) -> dict[str, np.ndarray]:
    """Run a network on `count` crops at a time: each head's float32 (crops, classes).

    Raises `RautError` as the budget does.
    """
    starts = (budget or Budget()).over(range(0, len(crops), count))
    batches = [network.logits(crops[start : start + count]) for start in starts]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def read_answers(head: Head, logits: np.ndarray) -> np.ndarray:
    """Turn a head's logits (count, classes) into the probabilities of its labels.

    Returns float64 (count, labels), in the order of `head.labels`. The probability of
    `NONE_OF_THESE` is taken from each class in proportion.
    """
    _, classes = read_probabilities(head, logits)
    if head.ood is None:
        return classes
    above = energy_scores(logits) - head.ood.energy_limit
    none = np.exp(-np.logaddexp(0, -head.ood.slope * above))[:, None]
    return np.concatenate([classes * (1 - none), none], axis=1)


def energy_scores(logits: np.ndarray) -> np.ndarray:
    """Return the energy of each row, float64 (count,): higher for out-of-distribution images.

    `logits` are a head's own, float (count, classes). Source: Liu et al., "Energy-based
    out-of-distribution detection" (2020), equation 4 at temperature 1.
    """
    return np.asarray(-np.logaddexp.reduce(logits.astype(np.float64), axis=1))


def join_heads(heads: dict[str, Head], logits: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Add the logits of the heads that join others to those of the network's own, float."""
    joined = {name: _join(heads, head, logits) for name, head in heads.items() if head.join}
    return logits | joined


def _join(heads: dict[str, Head], head: Head, logits: dict[str, np.ndarray]) -> np.ndarray:
    assert head.join is not None
    prior = np.log([head.join.prior[name] for name in head.classes])
    total = np.tile(-head.join.strength * prior, (len(next(iter(logits.values()))), 1))
    for name, weight in head.join.weights.items():
        names, probabilities = read_probabilities(heads[name], logits[name])
        order = [names.index(each) for each in head.classes]
        total += weight * np.log(np.maximum(probabilities[:, order], LEAST_PROBABILITY))
    return total


def select_thresholds(
    card: Card, head: Head, logits: dict[str, np.ndarray], probabilities: np.ndarray
) -> np.ndarray:
    """Return the probability from which each prediction is confident: float64 (count,).

    `probabilities` are those of the head's labels, (count, labels).
    """
    thresholds = choose_thresholds(head, probabilities)
    if condition := head.conditional_threshold:
        names, shares = read_probabilities(card.heads[condition.head], logits[condition.head])
        found = shares.argmax(axis=1) == names.index(condition.found)
        thresholds[found] = condition.threshold
    return thresholds


def choose_thresholds(head: Head, probabilities: np.ndarray) -> np.ndarray:
    """Return the threshold of each row's likeliest label, float64 (count,)."""
    by_label = [head.class_thresholds.get(name, head.threshold) for name in head.labels]
    return np.array(by_label)[probabilities.argmax(axis=1)]


def load_classifier(
    folder: Path, runtime: Runtime = "auto", threads: int = 1, head: str | None = None
) -> Classifier:
    """Load a model folder, its file verified against its card.

    `auto` loads the ONNX export with 8-bit convolutions if the card has one, `onnx` the exact
    export, which agrees with Keras. The exact one is verified in any case, as the steps page shows
    its layers. Raises `ModelError` that names the missing, altered or unreadable file, or says
    that the model has no head of that name.
    """
    card = load_card(folder)
    if head is not None and head not in card.heads:
        raise ModelError(
            f"The model in {folder} has no labels {head!r}. Choose from {', '.join(card.heads)}."
        )
    chosen = choose_file(runtime, card)
    path = folder / FILES[chosen]
    if chosen != "onnx":
        read_verified(folder / FILES["onnx"], card)
    content = read_verified(path, card)
    try:
        network: Network = (
            KerasNetwork(content) if runtime == "keras" else OnnxNetwork(content, threads)
        )
    except ImportError as error:
        raise ModelError(
            f"{path} needs {error.name}, which is not installed here. "
            "Install requirements.txt, or set RAUT_RUNTIME=onnx."
        ) from error
    except Exception as error:  # Each runtime has its own for unreadable content.
        raise ModelError(f"{path} can't be read as a model: {error}") from error
    return Classifier(card, network, hash_file(content), folder, head or "")
