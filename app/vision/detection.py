"""Find faces: OpenCV's Haar cascade on a copy of bounded size."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from app.vision.readings import Box, Detection
from app.vision.tracing import Trace, keep

CASCADE = Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"  # type: ignore[attr-defined] # no stub


@dataclass(frozen=True)
class DetectionSettings:
    """Set how the cascade looks, with the reason for each value.

    Measured on every second photo of the `photos` pack and 307 pictures without a human face.
    """

    # Longest side of the copy that is searched, in pixels: time grows with its area, and a face
    # has to span min_face pixels of it.
    working_side: int = 640
    # Step between the sizes looked for: 1.2 halves the time, and recall falls from 94% to 84%.
    scale_step: float = 1.1
    # Windows that must agree: 3 would find 96% instead of 94%, at twice the false boxes.
    agreeing_windows: int = 5
    # Smallest face on the copy, in pixels: the cascade's own window is 24.
    min_face: int = 24
    # Share of the smaller of two boxes that may lie in the other before the weaker one goes.
    overlap: float = 0.4
    # Faces answered at most, the surest first: what one request may cost the classifiers.
    max_faces: int = 64


# The level weight that scores one half, and how fast the score changes. Set near the median of
# false boxes (2 to 3; faces: 7), not fitted: the score ranks boxes and is no probability.
EVEN_WEIGHT = 2.0
WEIGHT_SPREAD = 1.0


Effort = Literal["fast", "balanced"]

# Longest side of the copy that the fast search looks through, in pixels.
FAST_SIDE = 320
# A face is looked for again within this many sides of its last box, on a copy where it is this
# many pixels wide, at sizes up to this factor from its last one.
NEAR_SIDES = 2.0
NEAR_FACE = 48
NEAR_FACTOR = 1.35


class FaceDetector:
    """Find upright, frontal faces."""

    def __init__(self, settings: DetectionSettings | None = None) -> None:
        """Keep the settings; each thread loads a cascade of its own, as one serves one thread."""
        self.settings = settings or DetectionSettings()
        self._cascades = threading.local()

    def adjusted(self, **changes: float) -> FaceDetector:
        """Return a detector with some settings changed."""
        return FaceDetector(replace(self.settings, **changes))  # type: ignore[arg-type]

    def detect(
        self, image: np.ndarray, effort: Effort = "balanced", trace: Trace | None = None
    ) -> list[Detection]:
        """Find the faces in a photo.

        `image` is RGB uint8 (height, width, 3). Returns detections in its pixels, sorted from
        left to right, none overlapping another by more than the settings allow. `trace` also
        gets what happens on the way.
        """
        side = FAST_SIDE if effort == "fast" else self.settings.working_side
        working, scale = _working_copy(image, side)
        keep(trace, "working_copy", picture=working, scale=scale)
        if trace is not None:
            keep(trace, "windows", boxes=self._windows(working), scale=scale)
        boxes, _, weights = self._cascade().detectMultiScale3(
            working,
            scaleFactor=self.settings.scale_step,
            minNeighbors=self.settings.agreeing_windows,
            minSize=(self.settings.min_face, self.settings.min_face),
            outputRejectLevels=True,
        )
        found = [
            Detection(_scale_box(np.asarray(box), scale), _score(float(weight)))
            for box, weight in zip(boxes, np.ravel(weights), strict=True)
        ]
        keep(trace, "proposals", detections=found)
        kept = merge_overlapping(found, self.settings.overlap)[: self.settings.max_faces]
        keep(trace, "faces", detections=kept)
        return sorted(kept, key=lambda detection: (detection.box.x, detection.box.y))

    def detect_near(
        self, image: np.ndarray, previous: Sequence[Detection]
    ) -> list[Detection | None]:
        """Find each face again near its last place; None stands for one that is lost.

        `image` is RGB uint8 (height, width, 3) and `previous` in its pixels.
        """
        return [self._find_near(image, detection) for detection in previous]

    def _find_near(self, image: np.ndarray, previous: Detection) -> Detection | None:
        """Search the neighbourhood of one face's last box."""
        box = previous.box
        reach = box.width * (NEAR_SIDES - 1) / 2
        left, top = (max(0, round(edge - reach)) for edge in (box.x, box.y))
        right, bottom = round(box.x + box.width + reach), round(box.y + box.height + reach)
        region = image[top:bottom, left:right]
        if min(region.shape[:2], default=0) < box.width / NEAR_FACTOR:
            return None
        scale = box.width / NEAR_FACE
        size = tuple(max(1, round(side / scale)) for side in region.shape[1::-1])
        grey = cv2.resize(
            cv2.cvtColor(region, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA
        )
        boxes, _, weights = self._cascade().detectMultiScale3(
            grey,
            scaleFactor=self.settings.scale_step,
            minNeighbors=3,  # Fewer than a search asks for: a face was here a moment ago.
            minSize=(round(NEAR_FACE / NEAR_FACTOR),) * 2,
            maxSize=(round(NEAR_FACE * NEAR_FACTOR),) * 2,
            outputRejectLevels=True,
        )
        if not len(boxes):
            return None
        best = int(np.ravel(weights).argmax())
        found = _scale_box(np.asarray(boxes[best]), scale)
        moved = Box(found.x + left, found.y + top, found.width, found.height)
        return Detection(moved, _score(float(np.ravel(weights)[best])))

    def _windows(self, working: np.ndarray) -> np.ndarray:
        """Return every window that passes the cascade, int (count, 4), before any is merged."""
        windows = self._cascade().detectMultiScale(
            working,
            scaleFactor=self.settings.scale_step,
            minNeighbors=0,
            minSize=(self.settings.min_face, self.settings.min_face),
        )
        return np.reshape(windows, (-1, 4))

    def _cascade(self) -> cv2.CascadeClassifier:
        """Return this thread's cascade."""
        if not hasattr(self._cascades, "frontal"):
            self._cascades.frontal = cv2.CascadeClassifier(str(CASCADE))
        cascade: cv2.CascadeClassifier = self._cascades.frontal
        return cascade


def _working_copy(image: np.ndarray, longest_side: int) -> tuple[np.ndarray, float]:
    """Return a grey copy for searching, and the photo's pixels for each of its pixels."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = max(image.shape[:2]) / longest_side
    if scale <= 1:
        return grey, 1.0
    height, width = (max(1, round(side / scale)) for side in image.shape[:2])
    return cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), scale


def merge_overlapping(detections: list[Detection], overlap: float) -> list[Detection]:
    """Keep the surest of detections that overlap, the surest first.

    Two overlap when they share more than `overlap` of the smaller one's area.
    """
    kept: list[Detection] = []
    for detection in sorted(detections, key=lambda found: -found.score):
        if all(_shared_area(detection.box, other.box) <= overlap for other in kept):
            kept.append(detection)
    return kept


def _shared_area(one: Box, other: Box) -> float:
    """Return the shared area as a share of the smaller box."""
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    smaller = min(one.width * one.height, other.width * other.height)
    return max(0, width) * max(0, height) / smaller


def _scale_box(box: np.ndarray, scale: float) -> Box:
    """Bring a box from the working copy to the photo."""
    x, y, width, height = (round(float(value) * scale) for value in box)
    return Box(x, y, width, height)


def _score(weight: float) -> float:
    """Turn a level weight into a score from 0 to 1 that ranks boxes."""
    return 1 / (1 + math.exp(-(weight - EVEN_WEIGHT) / WEIGHT_SPREAD))
