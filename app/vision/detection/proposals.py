"""Propose boxes that may hold a face: the first stages of OpenCV's Haar cascade."""

import math
import threading
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np

from app.vision.detection.pyramid import halvings
from app.vision.geometry import iou

WINDOW = 24  # the side of the cascade's own window, in pixels
LARGEST = 46  # the largest window searched on one pyramid level; the next level is half as large
MOST_WINDOWS = 1024  # compared with each other, in 4 MB; a photo has a hundred
FRONTAL = "haarcascade_frontalface_default.xml"
ROOM = 8  # pixels added on each side of a level: a third of the smallest face


# Stages run, of 25. Each later one rejects faces as well as other boxes, those rotated by 20
# degrees first; after 12 the scan takes no longer, and some 30 proposals of a photo are left.
STAGES = 12
# Step between window sizes, two for each doubling: the face classifier refines the rest.
SCALE_STEP = 1.42
MERGE_IOU = 0.45  # from which windows are one proposal


class CascadeProposer:
    """Propose boxes of upright, frontal faces and of much else."""

    def __init__(self) -> None:
        self._text = _truncate_cascade(STAGES)
        self._cascades = threading.local()  # a cascade serves one thread

    def propose(
        self, grey: np.ndarray, octaves: int, rotation: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Propose boxes of faces rotated by about `rotation` degrees clockwise.

        `grey` is uint8 (height, width). Faces have from 24 pixels to 2 ** `octaves` times as many.
        Returns the image rotated upright, the windows that pass in it as `windows` returns them,
        and the proposals as in `merge`, in pixels of `grey`.
        """
        if not rotation:
            windows = self.windows(grey, octaves)
            return grey, windows, self.merge(windows)
        height, width = grey.shape
        upright = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), rotation, 1.0)
        cosine, sine = abs(upright[0, 0]), abs(upright[0, 1])
        new_width = math.ceil(width * cosine + height * sine)
        new_height = math.ceil(width * sine + height * cosine)
        upright[:, 2] += ((new_width - width) / 2, (new_height - height) / 2)
        rotated = cv2.warpAffine(grey, upright, (new_width, new_height))
        windows = self.windows(rotated, octaves)
        proposals = self.merge(windows)
        back = cv2.invertAffineTransform(upright)
        proposals[:, :2] = proposals[:, :2] @ back[:, :2].T + back[:, 2]
        inside = (abs(proposals[:, 0] * 2 / width - 1) < 1) & (
            abs(proposals[:, 1] * 2 / height - 1) < 1
        )
        return rotated, windows, proposals[inside]

    def windows(self, grey: np.ndarray, octaves: int) -> np.ndarray:
        """List the windows that pass the cascade, float32 (count, 3): left, top, side."""
        found = [np.zeros((0, 3), np.float32)]
        # OpenCV steps by two pixels only near the window's own size: a level for each octave costs
        # half of what one call for all sizes does.
        for octave, level in enumerate(halvings(grey, octaves)):
            # Without room around it, a face that touches the edge has no window of its own.
            padded = cv2.copyMakeBorder(level, *(ROOM,) * 4, cv2.BORDER_REPLICATE)
            if min(padded.shape) < WINDOW:
                break
            boxes = self._cascade().detectMultiScale(
                padded,
                scaleFactor=SCALE_STEP,
                minNeighbors=0,
                minSize=(WINDOW, WINDOW),
                maxSize=(LARGEST, LARGEST),
            )
            if len(boxes):
                windows = np.asarray(boxes, np.float32)[:, :3]
                windows[:, :2] -= ROOM
                found.append(windows * 2**octave)
        return np.concatenate(found)

    def merge(self, windows: np.ndarray) -> np.ndarray:
        """Merge overlapping windows: float32 (count, 4) of centre x, centre y, side and support.

        The support is the sum of the IoUs with all windows, as many windows pass at a face; the
        best supported proposals come first.
        """
        windows = windows[:: max(1, math.ceil(len(windows) / MOST_WINDOWS))]
        corners = np.hstack([windows[:, :2], windows[:, :2] + windows[:, 2:]])
        overlaps = iou(corners[:, None], corners)
        supports = overlaps.sum(axis=1)
        free = np.ones(len(windows), dtype=bool)
        merged = []
        for index in np.argsort(-supports, kind="stable"):
            if free[index]:
                members = free & (overlaps[index] > MERGE_IOU)
                x, y, mean_side = windows[members].mean(axis=0)
                merged.append((x + mean_side / 2, y + mean_side / 2, mean_side, supports[index]))
                free &= ~members
        return np.array(merged, np.float32).reshape(-1, 4)

    def _cascade(self) -> cv2.CascadeClassifier:
        if not hasattr(self._cascades, "frontal"):
            storage = cv2.FileStorage(self._text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
            self._cascades.frontal = cv2.CascadeClassifier()
            self._cascades.frontal.read(storage.getFirstTopLevelNode())
        cascade: cv2.CascadeClassifier = self._cascades.frontal
        return cascade


def read_cascade() -> ElementTree.Element:
    """Parse OpenCV's frontal cascade."""
    folder = Path(cv2.data.haarcascades)  # type: ignore[attr-defined] # no stub
    return ElementTree.fromstring((folder / FRONTAL).read_text())  # nosec B314


def _truncate_cascade(stages: int) -> str:
    """Return OpenCV's frontal cascade with its first stages only, as XML."""
    tree = read_cascade()
    count, listed = tree.find("cascade/stageNum"), tree.find("cascade/stages")
    assert count is not None
    assert listed is not None
    count.text = str(stages)
    for stage in list(listed)[stages:]:
        listed.remove(stage)
    return '<?xml version="1.0"?>' + ElementTree.tostring(tree, encoding="unicode")
