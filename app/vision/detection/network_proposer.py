"""Propose boxes by a small fully convolutional network, run on a grey pyramid: any pose."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from app.vision.detection.box_maps import BOX_VALUES, STRIDE, read_map
from app.vision.detection.pyramid import halvings
from app.vision.geometry import iou, nms, square_corners
from app.vision.models.cards import ModelError
from app.vision.models.classifiers import Classifier, load_classifier
from app.vision.models.files import Runtime

BOXES = "boxes"  # the head in the card
SMALLEST = 14  # side of the smallest face that is found on a level, in pixels
ROOM = 8  # pixels of the edge repeated around a level, so that a cut face has its centre on it
LEAST_SCORE = 0.2  # of a position that is proposed
MOST_BOXES = 1024  # compared with each other; a photo has fifty
MERGE_IOU = 0.5  # from which boxes of neighbouring positions and levels are one proposal


class NetworkProposer:
    """Propose boxes of faces of any pose and roll, and of something else."""

    def __init__(self, network: Classifier) -> None:
        self._network = network.network

    @classmethod
    def load(cls, folder: Path, runtime: Runtime = "auto", threads: int = 1) -> NetworkProposer:
        """Load a model folder, verified against its card. Raises `ModelError`."""
        network = load_classifier(folder, runtime, threads)
        head = network.card.heads.get(BOXES)
        if head is None or tuple(head.classes) != BOX_VALUES:
            raise ModelError(f"{folder} is no proposer: its card has other heads.")
        return cls(network)

    def propose(self, grey: np.ndarray, octaves: int) -> np.ndarray:
        """Propose the boxes of faces, best score first.

        `grey` is uint8 (height, width). Faces have from `SMALLEST` pixels to 2 ** `octaves` times
        as many. Returns float32 (count, 5): centre x, centre y and side in its pixels, clockwise
        roll in degrees, and score.
        """
        found = [np.zeros((0, 5), np.float32)]
        for octave, level in enumerate(halvings(grey, octaves)):
            boxes = self._run(level)
            boxes[:, :3] *= 2**octave
            found.append(boxes)
            if max(level.shape) < 2 * SMALLEST:
                break
        boxes = np.concatenate(found)
        boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")][:MOST_BOXES]
        return boxes[nms(square_corners(boxes), boxes[:, 4], MERGE_IOU, iou)]

    def _run(self, grey: np.ndarray) -> np.ndarray:
        height, width = grey.shape
        # Strided convolutions start elsewhere where a side is no multiple of the stride.
        below, right = (ROOM + -(side + 2 * ROOM) % STRIDE for side in (height, width))
        padded = cv2.copyMakeBorder(grey, ROOM, below, ROOM, right, cv2.BORDER_REPLICATE)
        values = self._network.logits(padded[None, :, :, None])[BOXES][0]
        boxes = read_map(values, LEAST_SCORE)
        boxes[:, :2] -= ROOM
        return boxes
