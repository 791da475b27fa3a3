"""Classify whether squares hold a face, and refine where it lies and how far it is rotated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.vision.geometry import Box
from app.vision.imaging.crops import cut_crop
from app.vision.models.cards import Head, ModelError
from app.vision.models.classifiers import Classifier, load_classifier, read_probabilities
from app.vision.models.files import Runtime
from app.vision.readings import Detection

FURTHEST = 0.6  # of the side, and logarithm of the ratio of the sides
FACE, PLACE = "face", "place"  # the heads in the card; FACE is a class of the first, too


@dataclass(frozen=True)
class Candidates:
    """Hold squares that may hold a face.

    `squares` is float32 (count, 4): centre x, centre y and side in pixels, and clockwise rotation
    in degrees; `scores` float32 (count,), the probability that each holds a face.
    """

    squares: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, index: np.ndarray | list[int]) -> Candidates:
        """Return the candidates of those indices, or of that mask."""
        return Candidates(self.squares[index], self.scores[index])

    @staticmethod
    def join(parts: list[Candidates]) -> Candidates:
        """Concatenate candidates."""
        return Candidates(
            np.concatenate([part.squares for part in parts]),
            np.concatenate([part.scores for part in parts]),
        )

    def to_detections(self) -> list[Detection]:
        """Return the candidates as detections, in whole pixels."""
        return [
            _to_detection(square, float(score))
            for square, score in zip(self.squares, self.scores, strict=True)
        ]


class FaceClassifier:
    """Classify squares of an image by the face classifier's network."""

    def __init__(self, network: Classifier) -> None:
        self.card = network.card
        self.digest = network.digest
        self._network = network.network
        self._face: Head = network.card.heads[FACE]
        self._column = self._face.classes.index(FACE)

    @classmethod
    def load(cls, folder: Path, runtime: Runtime = "auto", threads: int = 1) -> FaceClassifier:
        """Load a model folder, verified against its card. Raises `ModelError`."""
        network = load_classifier(folder, runtime, threads)
        if not {FACE, PLACE} <= network.card.heads.keys():
            raise ModelError(f"{folder} is no face classifier: its card has other heads.")
        return cls(network)

    def classify(self, grey: np.ndarray, squares: np.ndarray, mirrored: bool = False) -> Candidates:
        """Score squares, and refine each to where its face seems to lie.

        `grey` is uint8 (height, width), `squares` float32 (count, 4) in its pixels, as in
        `Candidates`. `mirrored` averages the outputs for the crops and their mirror images, which
        is more accurate and takes twice the time. Returns as many refined squares, each with the
        score of the square it came from.
        """
        if not len(squares):
            return Candidates(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
        crops = np.stack(
            [cut_crop(grey, _to_detection(each, 0.0), self.card.shape) for each in squares]
        )
        logits, offsets = self._run(crops)
        if mirrored:
            other_logits, other = self._run(np.ascontiguousarray(crops[:, :, ::-1]))
            logits = (logits + other_logits) / 2
            offsets = (offsets + other * (-1, 1, 1, -1, 1)) / 2
        _, probabilities = read_probabilities(self._face, logits)
        return Candidates(
            _refine(squares, offsets), probabilities[:, self._column].astype(np.float32)
        )

    def _run(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return logits (count, 2) and offsets (count, 5)."""
        outputs = self._network.logits(crops)
        return outputs[FACE], outputs[PLACE]


def _refine(squares: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Move, resize and rotate squares by the network's offsets.

    `offsets` is (count, 5): x and y as shares of the side along the square's rotated axes, the
    logarithm of the ratio of the sides, and sine and cosine of the further rotation.
    """
    x, y, side, roll = squares.T
    angle = np.radians(roll)
    # No square in training lies further off.
    dx, dy = np.clip(offsets.T[:2], -FURTHEST, FURTHEST)
    size, sine, cosine = offsets.T[2:]
    rotated = roll + np.degrees(np.arctan2(sine, cosine))
    return np.stack(
        [
            x + side * (dx * np.cos(angle) - dy * np.sin(angle)),
            y + side * (dx * np.sin(angle) + dy * np.cos(angle)),
            side * np.exp(np.clip(size, -FURTHEST, FURTHEST)),
            (rotated + 180) % 360 - 180,
        ],
        axis=1,
    ).astype(np.float32)


def _to_detection(square: np.ndarray, score: float) -> Detection:
    x, y, side, roll = map(float, square)
    length = max(1, round(side))
    box = Box(round(x - length / 2), round(y - length / 2), length, length)
    return Detection(box=box, score=score, roll_degrees=roll)
