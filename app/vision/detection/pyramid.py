"""Compute the grey levels of a photo's pyramid, and cut them into tiles."""

import time
from collections.abc import Iterator

import cv2
import numpy as np

from app.vision.budget import Budget
from app.vision.imaging.decoding import LazyImage

TILE, TILE_OVERLAP = 640, 64  # pixels of a pyramid level
# Pixels of the finest level searched: all of a 12 megapixel photo. A finer level of a larger one
# would take four times as long, for faces of 14 of its pixels.
MOST_SEARCHED = 4096 * 3072
PANORAMA = 2.5  # the ratio of its sides


class Pyramid:
    """Compute a photo's grey levels, each twice as fine as the one before, each once."""

    def __init__(self, photo: LazyImage, working_side: int, budget: Budget | None = None) -> None:
        self.budget = budget or Budget()
        self._since = time.perf_counter()
        self._photo = photo
        self._working_side = working_side
        self._greys: dict[int, np.ndarray] = {}
        self._levels: dict[int, tuple[np.ndarray, float]] = {}

    def lap(self) -> float:
        """Return the milliseconds since the last call, or since construction."""
        before, self._since = self._since, time.perf_counter()
        return (self._since - before) * 1000

    def scale(self, octave: int) -> float:
        """Return the photo's pixels for each of the level's; 1 for the photo itself."""
        longest = max(self._photo.width, self._photo.height)
        return max(1.0, longest / (self._working_side * 2**octave))

    @property
    def is_panorama(self) -> bool:
        """Return whether one side is much longer than the other."""
        sides = (self._photo.width, self._photo.height)
        return max(sides) > PANORAMA * min(sides)

    def finest_octave(self) -> int:
        """Return the octave whose level has the photo's own size, or is the largest allowed."""
        octave, pixels = 0, self._photo.width * self._photo.height
        while self.scale(octave) > 1 and pixels / self.scale(octave + 1) ** 2 <= MOST_SEARCHED:
            octave += 1
        return octave

    def level(self, octave: int) -> tuple[np.ndarray, float]:
        """Return a grey level, uint8 (height, width), and its scale, while there is time."""
        self.budget.check()
        if octave not in self._levels:
            scale = self.scale(octave)
            finer, _ = self._levels.get(octave + 1, (None, 0.0))
            level = self._grey(scale) if finer is None else finer
            if scale > 1:
                sides = (self._photo.width, self._photo.height)
                width, height = (max(1, round(side / scale)) for side in sides)
                level = shrink(level, width, height)
            self._levels[octave] = (level, scale)
        return self._levels[octave]

    def _grey(self, scale: float) -> np.ndarray:
        pixels, decoded = self._photo.pixels(scale)
        if decoded not in self._greys:
            self._greys[decoded] = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        return self._greys[decoded]


def cut_tiles(level: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield left, top and pixels of tiles, which bound the proposals and memory of each search.

    They overlap by more than the largest face of a finer pass.
    """
    height, width = level.shape
    for top in range(0, max(1, height - TILE_OVERLAP), TILE - TILE_OVERLAP):
        for left in range(0, max(1, width - TILE_OVERLAP), TILE - TILE_OVERLAP):
            yield left, top, level[top : top + TILE, left : left + TILE]


def halvings(grey: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Yield a grey image, and up to `count` - 1 copies, each of half the last one's sides."""
    for number in range(count):
        if number:
            grey = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        yield grey
        if min(grey.shape) < 2:
            return


def shrink(grey: np.ndarray, width: int, height: int) -> np.ndarray:
    """Shrink an image: by halves first, whose means are fast, then by less than a half.

    Area interpolation at other ratios takes ten times as long in OpenCV.
    """
    while grey.shape[1] >= 2 * width and grey.shape[0] >= 2 * height:
        half = (grey.shape[1] // 2, grey.shape[0] // 2)
        grey = cv2.resize(grey, half, interpolation=cv2.INTER_AREA)
    return cv2.resize(grey, (width, height), interpolation=cv2.INTER_LINEAR)


def equalize(grey: np.ndarray) -> np.ndarray:
    """Equalize the contrast of a grey image locally (CLAHE).

    Source: Zuiderveld, "Contrast limited adaptive histogram equalization" (1994).
    """
    return cv2.createCLAHE(clipLimit=4.0, tileGridSize=(4, 4)).apply(grey)
