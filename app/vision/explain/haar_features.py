"""Read the first features of the Haar cascade.

Source: Viola and Jones, "Rapid object detection using a boosted cascade of simple features"
(2001), section 2.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from app.vision.detection.proposals import WINDOW, read_cascade
from app.vision.geometry import Box


@dataclass(frozen=True)
class Feature:
    """Hold one feature: a whole rectangle, and the parts of it that should be brighter.

    Both are in pixels of the cascade's window.
    """

    whole: Box
    bright: tuple[Box, ...]

    def contrast(self, window: np.ndarray) -> tuple[float, float]:
        """Return the mean grey (0 to 255) of the bright parts and of the rest of a window.

        `window` is uint8 (24, 24).
        """
        inside = np.zeros((WINDOW, WINDOW), bool)
        bright = np.zeros((WINDOW, WINDOW), bool)
        inside[_slices(self.whole)] = True
        for part in self.bright:
            bright[_slices(part)] = True
        return float(window[bright].mean()), float(window[inside & ~bright].mean())


def _slices(part: Box) -> tuple[slice, slice]:
    return slice(part.y, part.y + part.height), slice(part.x, part.x + part.width)


@cache
def first_features(count: int) -> tuple[Feature, ...]:
    """Return the first features of the cascade's first stage."""
    cascade = read_cascade().find("cascade")
    assert cascade is not None
    nodes = cascade.findall("stages/_[1]/weakClassifiers/_/internalNodes")
    features = cascade.findall("features/_")
    # A node is: left leaf, right leaf, index of the feature, threshold.
    indices = [int((node.text or "").split()[2]) for node in nodes[:count]]
    read = []
    for index in indices:
        # A rectangle is: left, top, width, height, weight of its sum; that of the whole one, the
        # first, is negative.
        rows = [(each.text or "").split() for each in features[index].findall("rects/_")]
        whole, *bright = (Box(*map(int, row[:4])) for row in rows)
        read.append(Feature(whole, tuple(bright)))
    return tuple(read)
