"""Classify whether boxes hold a face, and refine where it lies and how far it is rotated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from app.vision.geometry import Box, iou, nms, square_corners
from app.vision.imaging.crops import cut_squares
from app.vision.models.cards import Head, ModelError
from app.vision.models.classifiers import Classifier, load_classifier, read_probabilities
from app.vision.models.files import Runtime
from app.vision.readings import Detection

SIZES = (1.0, 0.88, 1.14)  # of a box that is decided about
LIKELY = 0.5  # score from which other views of a box are asked, too
SMALL = 1e-6
PROMISING = 0.3  # score from which a box is refined and classified again
REFINED = 0.4  # score from which a refined box is decided about
MERGE_IOU = 0.5  # from which refined boxes are one
OVERLAP = 0.4  # over the smaller area, above which the box with the lower score is suppressed
FURTHEST = 0.6  # of the side, and logarithm of the ratio of the sides
# The heads in the card; FACE is a class of the first, too, and PLACE holds the offsets.
FACE, PLACE, REASON = "face", "place", "reason"
# Why a face can't be read; the classes of the head REASON, of which several may hold.
REASONS = ("covered_lower", "covered_eyes", "turned", "blurred")
MIRRORED_PLACE = (-1, 1, 1, -1, 1)  # factors of the offsets in the mirror image


@dataclass(frozen=True)
class Candidates:
    """Hold boxes that may hold a face; each is a rotated square.

    `boxes` is float32 (count, 4): centre x, centre y and side in pixels, and clockwise rotation
    in degrees; `scores` float32 (count,), the probability that each holds a face. `reasons` is
    float32 (count, len(REASONS)), the probabilities that a face can't be read for one of `REASONS`,
    or None where nobody asked.
    """

    boxes: np.ndarray
    scores: np.ndarray
    reasons: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, index: np.ndarray | list[int]) -> Candidates:
        """Return the candidates of those indices, or of that mask."""
        reasons = None if self.reasons is None else self.reasons[index]
        return Candidates(self.boxes[index], self.scores[index], reasons)

    def suppress(self) -> Candidates:
        """Return what non-maximum suppression keeps."""
        return self.take(nms(square_corners(self.boxes), self.scores, OVERLAP))

    def merge(self) -> Candidates:
        """Return those that are no near-copy of a better one.

        A box beside a face or within one may have the better score until a network decides.
        """
        return self.take(nms(square_corners(self.boxes), self.scores, MERGE_IOU, iou))

    @staticmethod
    def join(parts: list[Candidates]) -> Candidates:
        """Concatenate candidates."""
        given = [part.reasons for part in parts if part.reasons is not None]
        return Candidates(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate(given) if len(given) == len(parts) else None,
        )

    def to_detections(self) -> list[Detection]:
        """Return the candidates as detections, in whole pixels of the photo."""
        unasked: list[list[float]] = [[]] * len(self)
        reasons = unasked if self.reasons is None else self.reasons.tolist()
        rows = zip(self.boxes.tolist(), self.scores.tolist(), reasons, strict=True)
        return [
            Detection(
                box=to_box(x, y, side),
                score=score,
                roll_degrees=roll,
                reasons=dict(zip(REASONS, row, strict=bool(row))),
            )
            for (x, y, side, roll), score, row in rows
        ]


class FaceClassifier:
    """Classify boxes of an image by the face classifier's network."""

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

    def classify(self, grey: np.ndarray, boxes: np.ndarray, mirrored: bool = False) -> Candidates:
        """Score boxes, and refine each to where its face seems to lie.

        `grey` is uint8 (height, width), `boxes` float32 (count, 4) in its pixels, as in
        `Candidates`. `mirrored` averages the outputs for the crops and their mirror images, which
        is more accurate and takes twice the time. Returns as many refined boxes, each with the
        score of the box it came from.
        """
        if not len(boxes):
            none = np.zeros((0, len(REASONS)), np.float32)
            return Candidates(none[:, :4], none[:, 0], none)
        crops = cut_squares(grey, boxes, self.card.shape)
        logits, offsets, reasons = self._run(crops)
        if mirrored:
            others = self._run(np.ascontiguousarray(crops[:, :, ::-1]))
            logits = (logits + others[0]) / 2
            offsets = (offsets + others[1] * MIRRORED_PLACE) / 2
            reasons = (reasons + others[2]) / 2
        _, probabilities = read_probabilities(self._face, logits)
        return Candidates(
            _refine(boxes, offsets),
            probabilities[:, self._column].astype(np.float32),
            (1 / (1 + np.exp(-reasons))).astype(np.float32),
        )

    def decide(self, grey: np.ndarray, boxes: np.ndarray) -> Candidates:
        """Classify boxes as `classify` does, with scores that fewer false ones reach.

        Of likely boxes the logits are averaged over mirror images, two other sizes and the
        refined box: a face is one in all of them.
        """
        first = self.classify(grey, boxes)
        likely = first.scores >= LIKELY
        views = [boxes[likely] * np.array((1, 1, size, 1), np.float32) for size in SIZES]
        seen = self.classify(grey, np.concatenate([*views, first.boxes[likely]]), mirrored=True)
        scores = np.clip(seen.scores.reshape(len(SIZES) + 1, -1), SMALL, 1 - SMALL)
        odds = np.exp(np.log(scores / (1 - scores)).mean(axis=0))
        decided = replace(
            seen.take(np.arange(likely.sum())), scores=(odds / (1 + odds)).astype(np.float32)
        )
        return Candidates.join([decided, first.take(~likely)])

    def refine(
        self, grey: np.ndarray, boxes: np.ndarray, promising: float = PROMISING
    ) -> tuple[Candidates, Candidates]:
        """Score proposals, and refine the promising ones twice, without near-copies.

        Takes what `classify` does. Returns a score for each proposal, and what is left.
        """
        first = self.classify(grey, boxes)
        left = first.take(first.scores >= promising).merge()
        refined = self.classify(grey, left.boxes)
        return first, refined.take(refined.scores >= REFINED).merge()

    def _run(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return logits (count, 2), offsets (count, 5) and the reasons' logits (count, 4).

        A network without that head gives no reason.
        """
        outputs = self._network.logits(crops)
        none = np.full((len(crops), len(REASONS)), -np.inf, np.float32)
        return outputs[FACE], outputs[PLACE], outputs.get(REASON, none)


def _refine(boxes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Move, resize and rotate boxes by the network's offsets.

    `offsets` is (count, 5): x and y as shares of the side along the box's rotated axes, the
    logarithm of the ratio of the sides, and sine and cosine of the further rotation.
    """
    x, y, side, roll = boxes.T
    angle = np.radians(roll)
    # No box in training lies further off.
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


def to_box(x: float, y: float, side: float) -> Box:
    """Return a box, by its centre and side, in whole pixels."""
    length = max(1, round(side))
    return Box(round(x - length / 2), round(y - length / 2), length, length)
