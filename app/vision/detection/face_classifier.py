"""Decide which squares of a photo hold a face, where exactly, and how far it is turned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.vision.geometry import Box
from app.vision.imaging.crops import cut_crop
from app.vision.models.cards import Head, ModelError
from app.vision.models.classifiers import Classifier, Runtime, load_classifier, read_probabilities
from app.vision.readings import Detection

FURTHEST = 0.6  # share of the side, and logarithm of the sides' ratio
FACE, PLACE = "face", "place"  # the face classifier's heads; FACE is its first head's class, too


@dataclass(frozen=True)
class Candidates:
    """Hold squares of a photo.

    `places` is float32 (count, 4): centre x, centre y, side, all in pixels, and clockwise turn
    in degrees; `scores` float32 (count,), the probability that each holds a face.
    """

    places: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, index: np.ndarray | list[int]) -> Candidates:
        """Return the squares of those indices, or of that mask."""
        return Candidates(self.places[index], self.scores[index])

    @staticmethod
    def join(parts: list[Candidates]) -> Candidates:
        """Return all squares of several."""
        return Candidates(
            np.concatenate([part.places for part in parts]),
            np.concatenate([part.scores for part in parts]),
        )

    def to_detections(self) -> list[Detection]:
        """Return the squares as detections, in whole pixels."""
        return [
            Detection(_to_box(x, y, side), float(score), float(roll))
            for (x, y, side, roll), score in zip(self.places, self.scores, strict=True)
        ]


class FaceClassifier:
    """Ask the network whether squares hold faces."""

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

    def verify(self, grey: np.ndarray, places: np.ndarray, mirrored: bool = False) -> Candidates:
        """Score places, and refine each to where its face seems to lie.

        `grey` is uint8 (height, width), `places` float32 (count, 4) in its pixels. A face and
        its mirror image are the same answer: with `mirrored` both are asked and averaged, which
        is surer and takes twice the time. Returns as many squares, each scored as it was asked.
        """
        if not len(places):
            return Candidates(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
        crops = np.stack(
            [
                cut_crop(grey, Detection(_to_box(x, y, side), 0.0, float(roll)), self.card.shape)
                for x, y, side, roll in places
            ]
        )
        logits, offsets = self._ask(crops)
        if mirrored:
            other_logits, other = self._ask(np.ascontiguousarray(crops[:, :, ::-1]))
            logits = (logits + other_logits) / 2
            offsets = (offsets + other * (-1, 1, 1, -1, 1)) / 2
        _, probabilities = read_probabilities(self._face, logits)
        return Candidates(
            _refine(places, offsets), probabilities[:, self._column].astype(np.float32)
        )

    def _ask(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run the network: face logits (count, 2) and places (count, 5)."""
        answers = self._network.logits(crops)
        return answers[FACE], answers[PLACE]


def _refine(places: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Move, resize and turn squares by what the network answers.

    `offsets` is (count, 5): x and y in shares of the side along the square's turned axes, the
    logarithm of the sides' ratio, and sine and cosine of the further turn.
    """
    x, y, side, roll = places.T
    angle = np.radians(roll)
    # No training square lies further off: an answer beyond that is no place.
    dx, dy = np.clip(offsets.T[:2], -FURTHEST, FURTHEST)
    size, sine, cosine = offsets.T[2:]
    turned = roll + np.degrees(np.arctan2(sine, cosine))
    return np.stack(
        [
            x + side * (dx * np.cos(angle) - dy * np.sin(angle)),
            y + side * (dx * np.sin(angle) + dy * np.cos(angle)),
            side * np.exp(np.clip(size, -FURTHEST, FURTHEST)),
            (turned + 180) % 360 - 180,
        ],
        axis=1,
    ).astype(np.float32)


def _to_box(x: float, y: float, side: float) -> Box:
    """Round a square to whole pixels."""
    length = max(1, round(float(side)))
    return Box(round(float(x) - length / 2), round(float(y) - length / 2), length, length)
