"""Turn crops into calibrated probabilities, by Keras or by ONNX Runtime with the same answers."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, Protocol

import numpy as np

from app.errors import RautError
from app.vision.geometry import softmax
from app.vision.models.cards import Card, Head, ModelError, load_card
from app.vision.readings import Prediction
from app.vision.tracing import Trace, record

# ONNX Runtime would note an identifier of the device and its own use below the home directory, for
# its maker to collect. It reads this when it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

Runtime = Literal["auto", "keras", "onnx"]
FILES = {"keras": "model.keras", "onnx": "model.onnx", "int8": "model.int8.onnx"}


class Network(Protocol):
    """Run a network in one of the runtimes."""

    def logits(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """Map uint8 crops (count, size, size, channels) to each head's float32 (count, classes)."""


class KerasNetwork:
    """Run the model of record. Needs TensorFlow, which serving doesn't install."""

    def __init__(self, content: bytes) -> None:
        # TensorFlow tells of every processor feature it finds; only warnings are wanted.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import keras

        # Keras reads only files. The model's own could have been swapped since it was verified.
        with TemporaryDirectory() as folder:
            copy = Path(folder) / FILES["keras"]
            copy.write_bytes(content)
            self.model = keras.saving.load_model(copy, compile=False, safe_mode=True)

    def logits(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """Run all crops as one batch."""
        return {name: np.asarray(values) for name, values in self.model(crops).items()}


class OnnxNetwork:
    """Run the ONNX export."""

    def __init__(self, content: bytes, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
        self.input_name = self._session.get_inputs()[0].name
        self._heads = [output.name for output in self._session.get_outputs()]

    def logits(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """Run all crops as one batch."""
        return dict(
            zip(self._heads, self._session.run(None, {self.input_name: crops}), strict=True)
        )


class Classifier:
    """Answer for crops with one model, as its card says."""

    def __init__(
        self, card: Card, network: Network, digest: str, folder: Path, head: str | None = None
    ) -> None:
        self.card = card
        self.network = network
        self.digest = digest
        self.folder = folder
        self.head_name = head or card.default_head
        self.head = card.heads[self.head_name]

    def answering_by(self, head: str) -> Classifier:
        """Return the same model with another of its heads answering."""
        return Classifier(self.card, self.network, self.digest, self.folder, head)

    def running_on(self, network: Network) -> Classifier:
        """Return the same model run by another network object."""
        return Classifier(self.card, network, self.digest, self.folder, self.head_name)

    def warm_up(self) -> None:
        """Run the network once: the first run takes longest, and nobody should wait for it.

        Raises `ModelError` where it doesn't take or answer what its card says, `RautError` where an
        inference server doesn't answer.
        """
        shape = self.card.shape
        expected = {name: (1, len(head.classes)) for name, head in self.card.heads.items()}
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

    def predict(self, crops: np.ndarray, trace: Trace | None = None) -> list[Prediction]:
        """Answer for uint8 crops (count, size, size, channels) in one batch."""
        if not len(crops):
            return []
        logits = self.network.logits(crops)
        record(trace, "logits", self.card.name, logits=logits[self.head_name])
        answers = read_answers(self.head, logits[self.head_name])
        limits = select_thresholds(self.card, self.head, logits)
        return [self._answer(row, float(limit)) for row, limit in zip(answers, limits, strict=True)]

    def _answer(self, probabilities: np.ndarray, limit: float) -> Prediction:
        given = dict(zip(self.head.labels, probabilities.tolist(), strict=True))
        best = max(given, key=given.__getitem__)
        return Prediction(
            label=best,
            probability=given[best],
            confident=given[best] >= limit,
            probabilities=given,
            threshold=limit,
        )


def read_probabilities(head: Head, logits: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Turn a head's logits (count, classes) into its answerable classes and probabilities.

    Left-out classes are dropped, the temperature divides, the softmax follows
    (Guo et al., "On calibration of modern neural networks", 2017, section 4.2).
    """
    kept = [index for index, name in enumerate(head.classes) if name not in head.excluded]
    scaled = logits[:, kept].astype(np.float64) / head.temperature
    return [head.classes[index] for index in kept], softmax(scaled)


def run_in_batches(network: Network, crops: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Run a network on `count` crops at a time: each head's float32 (crops, classes)."""
    batches = [
        network.logits(crops[start : start + count]) for start in range(0, len(crops), count)
    ]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def read_answers(head: Head, logits: np.ndarray) -> np.ndarray:
    """Turn a head's logits (count, classes) into the probabilities of all that it may answer.

    Returns float64 (count, labels), in the order of the head's `labels`. What a picture shows of
    none of the classes is taken from each class in proportion.
    """
    _, classes = read_probabilities(head, logits)
    if head.ood is None:
        return classes
    above = energy_scores(logits) - head.ood.energy_limit
    none = np.exp(-np.logaddexp(0, -head.ood.slope * above))[:, None]
    return np.concatenate([classes * (1 - none), none], axis=1)


def energy_scores(logits: np.ndarray) -> np.ndarray:
    """Return each answer's energy, float64 (count,): the higher, the less known the picture looks.

    `logits` are a head's own, float (count, classes). Source: Liu et al., "Energy-based
    out-of-distribution detection" (2020), equation 4 at temperature 1.
    """
    return np.asarray(-np.logaddexp.reduce(logits.astype(np.float64), axis=1))


def select_thresholds(card: Card, head: Head, logits: dict[str, np.ndarray]) -> np.ndarray:
    """Return the probability from which each picture's answer is certain: float64 (count,)."""
    limits = np.full(len(next(iter(logits.values()))), head.threshold)
    if head.conditional_threshold:
        names, probabilities = read_probabilities(
            card.heads[head.conditional_threshold.head], logits[head.conditional_threshold.head]
        )
        found = probabilities.argmax(axis=1) == names.index(head.conditional_threshold.found)
        limits[found] = head.conditional_threshold.threshold
    return limits


def load_classifier(
    folder: Path, runtime: Runtime = "auto", threads: int = 1, head: str | None = None
) -> Classifier:
    """Load a model folder once its file's hash is found in its card.

    `auto` takes the ONNX export of 8-bit convolutions where the card has one, `onnx` always the
    exact one, which answers as Keras does. That one is verified in any case, as its layers are
    shown. Raises `ModelError` that names the file which is missing, altered or unreadable, or
    tells that the model has no head of that name.
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
    except Exception as error:  # Each runtime has its own for a file that makes no sense to it.
        raise ModelError(f"{path} can't be read as a model: {error}") from error
    return Classifier(card, network, hash_file(content), folder, head)


def choose_file(runtime: Runtime, card: Card) -> str:
    """Return which of the model's files a runtime loads, as a key of `FILES`."""
    if runtime == "auto":
        return "int8" if FILES["int8"] in card.files else "onnx"
    return runtime


def read_verified(path: Path, card: Card) -> bytes:
    """Read a model file once its SHA-256 is found in its card.

    Raises `ModelError` where the file is missing, not named in the card, or altered.
    """
    if not path.is_file():
        raise ModelError(f"{path} is missing.")
    content = path.read_bytes()
    if card.files.get(path.name) != hash_file(content):
        raise ModelError(f"{path} is not the file that its card describes: its SHA-256 differs.")
    return content


def hash_file(content: bytes) -> str:
    """Return a file's SHA-256 in hexadecimal, as cards name it."""
    return hashlib.sha256(content).hexdigest()
