"""Cover faces by made things: masks, glasses, hands, scarves, microphones, veils, hats, phones.

Shapes are drawn in the face's own coordinates: from the square's centre, in sides, along its
rotated axes. Eyes and mouth are where upright frontal faces of hard-faces have them (medians).
"""

import math
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from training.datasets import Random
from training.datasets.composites import RotatedBox

EYES = ((-0.21, -0.137), (0.21, -0.137))
MOUTH = (0.0, 0.283)
EYE_RADII, MOUTH_RADII = (0.09, 0.05), (0.17, 0.07)
COVERED, FREE = 0.7, 0.2  # shares from which a part counts as covered, and up to which as free
REACH = 1.7  # sides from the centre within which everything is drawn
FINE = 4  # bits of a pixel's fraction that OpenCV draws with

Points = list[tuple[float, float]]
Layer = tuple[np.ndarray, np.ndarray]  # coverage, 0 to 1, and grey values


class _Canvas:
    """Draw in a face's coordinates on a coverage map of the picture's size."""

    def __init__(self, shape: tuple[int, ...], face: RotatedBox) -> None:
        self.coverage = np.zeros(shape, np.uint8)
        self.side = face.side
        roll = math.radians(face.roll_degrees)
        cosine, sine = math.cos(roll), math.sin(roll)
        self._axes = face.side * np.array([[cosine, -sine], [sine, cosine]])
        self._centre = np.array((face.x, face.y))
        self._roll = face.roll_degrees

    def pixels(self, points: Points | np.ndarray) -> np.ndarray:
        """Return points, (count, 2) in the face's coordinates, in pixels."""
        return np.asarray(points) @ self._axes.T + self._centre

    def polygon(self, points: Points, value: int = 255) -> None:
        cv2.fillPoly(self.coverage, [self._fix(points)], value, cv2.LINE_AA, FINE)

    def ellipse(self, centre: tuple[float, float], radii: tuple[float, float], value: int) -> None:
        x, y = self.pixels([centre])[0]
        size = (2 * radii[0] * self.side, 2 * radii[1] * self.side)
        cv2.ellipse(self.coverage, ((x, y), size, self._roll), value, -1, cv2.LINE_AA)

    def line(self, points: Points, width: float) -> None:
        """Draw a line of a width, in sides."""
        thickness = max(1, round(width * self.side))
        cv2.polylines(self.coverage, [self._fix(points)], False, 255, thickness, cv2.LINE_AA, FINE)

    def _fix(self, points: Points) -> np.ndarray:
        return (self.pixels(points) * 2**FINE).round().astype(np.int32)

    def share_covered(self, centre: tuple[float, float], radii: tuple[float, float]) -> float:
        """Return the mean coverage in an ellipse, from 0 to 1."""
        angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        rings = [np.stack([np.cos(angle), np.sin(angle)], 1) * radii * r for r in (0.4, 0.9)]
        at = self.pixels(np.concatenate(rings) + centre).round().astype(int)
        height, width = self.coverage.shape
        inside = ((at >= 0) & (at < (width, height))).all(axis=1)
        if not inside.any():
            return 1.0  # beyond the border nothing can be seen
        return float(self.coverage[at[inside, 1], at[inside, 0]].mean() / 255)


def cover_face(
    picture: np.ndarray, face: RotatedBox, texture: np.ndarray, generator: Random
) -> tuple[np.ndarray, float, float]:
    """Cover a face by something.

    `picture` is grey uint8; `texture`, another one, is what some things look like. Returns the
    picture, and whether mouth and eyes are covered: 1 for covered, 0 for free, -1 for neither.
    """
    reach = math.ceil(REACH * face.side)
    left, top = max(0, round(face.x) - reach), max(0, round(face.y) - reach)
    bottom, right = (max(1, round(middle) + reach) for middle in (face.y, face.x))
    window = (slice(top, bottom), slice(left, right))
    around, face = picture[window], replace(face, x=face.x - left, y=face.y - top)
    if not around.size:
        return picture, 0.0, 0.0
    canvas = _Canvas(around.shape, face)
    draw = list(THINGS)[generator.choice(len(THINGS), p=list(THINGS.values()))]
    draw(canvas, generator)
    opacity = float(generator.uniform(0.75, 1.0)) if draw is _sunglasses else 1.0
    coverage: np.ndarray = canvas.coverage.astype(np.float32) / 255 * opacity
    if generator.random() < 0.5:
        coverage = cv2.GaussianBlur(coverage, (0, 0), max(0.3, 0.01 * face.side))
    looks = _look(around, face, texture, draw is _sunglasses, generator)
    covered = picture.copy()
    covered[window] = np.rint(around + (looks - around) * coverage).clip(0, 255)
    mouth = canvas.share_covered(MOUTH, MOUTH_RADII) * opacity
    eyes = [canvas.share_covered(eye, EYE_RADII) * opacity for eye in EYES]
    return covered, _decide(mouth, mouth), _decide(min(eyes), max(eyes))


def _decide(least: float, most: float) -> float:
    return 1.0 if least >= COVERED else 0.0 if most <= FREE else -1.0


def _look(
    picture: np.ndarray, face: RotatedBox, texture: np.ndarray, dark: bool, generator: Random
) -> np.ndarray:
    """Return what a thing looks like all over the picture: float32 of its shape."""
    height, width = picture.shape
    level = generator.uniform(0, 70) if dark else generator.uniform(10, 250)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = generator.uniform(0, 2 * np.pi)
    along = ((x - face.x) * np.cos(angle) + (y - face.y) * np.sin(angle)) / face.side
    looks = level + along * generator.uniform(0, 60)
    pattern = generator.random()
    if pattern < 0.2:  # stripes or folds
        looks = looks + generator.uniform(5, 60) * np.sin(along * generator.uniform(10, 60))
    elif pattern < 0.35:  # a picture
        zoomed = cv2.resize(texture, (width, height))
        looks = looks * 0.3 + zoomed * 0.7
    elif pattern < 0.45:  # dots or letters
        across = ((y - face.y) * np.cos(angle) - (x - face.x) * np.sin(angle)) / face.side
        often = generator.uniform(15, 50)
        dots = (np.sin(along * often) * np.sin(across * often) > 0.5).astype(np.float32)
        looks = looks + dots * generator.uniform(-120, 120)
    if generator.random() < 0.6:  # the light that falls on the face
        light = cv2.GaussianBlur(picture, (0, 0), max(1.0, 0.08 * face.side)).astype(np.float32)
        looks = looks * (0.5 + 0.5 * light / max(1.0, float(light.mean())))
    return np.asarray(np.clip(looks, 0, 255), np.float32)


def _mask(canvas: _Canvas, generator: Random) -> None:
    # Over the nose, below it, or on the chin.
    top = generator.choice((0.0, 0.17, 0.38), p=(0.75, 0.17, 0.08)) + generator.uniform(-0.04, 0.05)
    wide, low = generator.uniform(0.3, 0.46), generator.uniform(0.47, 0.62)
    nose = top - generator.uniform(0.0, 0.1)
    jaw = generator.uniform(0.6, 0.95) * wide
    bend = generator.uniform(0.05, 0.12)
    half = [(wide, top + bend), (jaw, 0.42), (0.12, low)]
    mirrored = [(-x, y) for x, y in reversed(half)]
    canvas.polygon([(-0.12, nose + 0.02), (0.12, nose + 0.02), *half, *mirrored])
    if generator.random() < 0.6:
        for sign in (-1, 1):
            canvas.line([(sign * wide, top + bend), (sign * 0.52, -0.02)], 0.02)


def _sunglasses(canvas: _Canvas, generator: Random) -> None:
    width, height = generator.uniform(0.12, 0.19), generator.uniform(0.08, 0.15)
    low = generator.uniform(-0.03, 0.04)
    for x, y in EYES:
        if generator.random() < 0.5:
            canvas.ellipse((x, y + low), (width, height), 255)
        else:
            top, foot = y + low - height, y + low + height
            upper, lower = [(x - width, top), (x + width, top)], 0.8 * width
            canvas.polygon([*upper, (x + lower, foot), (x - lower, foot)])
        canvas.line([(x, y + low - height / 2), (2.3 * x, y - 0.03)], 0.025)
    canvas.line([(-0.1, EYES[0][1] + low), (0.1, EYES[0][1] + low)], 0.03)


def _hand(canvas: _Canvas, generator: Random) -> None:
    x, y = generator.uniform(-0.35, 0.35), generator.uniform(-0.25, 0.4)
    angle = generator.uniform(0, 2 * np.pi)
    along = np.array((math.cos(angle), math.sin(angle)))
    across = np.array((-along[1], along[0]))
    width = generator.uniform(0.07, 0.11)
    for finger in range(4):
        start = np.array((x, y)) + (finger - 1.5) * 1.15 * width * across
        end = start - along * generator.uniform(0.35, 0.5)
        canvas.line([tuple(start), tuple(end)], width)
    palm = np.array((x, y)) - along * 0.6
    canvas.ellipse((float(palm[0]), float(palm[1])), (0.26, 0.26), 255)


def _scarf(canvas: _Canvas, generator: Random) -> None:
    top, slope = generator.uniform(0.05, 0.4), generator.uniform(-0.1, 0.1)
    edge = [(-0.8, top + slope), (0.0, top + 0.05), (0.8, top - slope)]
    canvas.polygon([*edge, (1.0, 1.5), (-1.0, 1.5)])


def _microphone(canvas: _Canvas, generator: Random) -> None:
    x, y = generator.uniform(-0.12, 0.12), generator.uniform(0.22, 0.42)
    radius = generator.uniform(0.08, 0.2)
    canvas.line([(x, y), (x + generator.uniform(-0.5, 0.5), 1.3)], generator.uniform(0.06, 0.12))
    canvas.ellipse((x, y), (radius, radius * generator.uniform(0.8, 1.3)), 255)


def _veil(canvas: _Canvas, generator: Random) -> None:
    canvas.ellipse((0.0, 0.1), (generator.uniform(0.55, 0.7), generator.uniform(0.8, 1.0)), 255)
    high, low = generator.uniform(-0.3, -0.21), generator.uniform(-0.07, 0.02)
    wide = generator.uniform(0.34, 0.44)
    canvas.polygon([(-wide, high), (wide, high), (wide, low), (-wide, low)], 0)


def _hijab(canvas: _Canvas, generator: Random) -> None:
    canvas.ellipse((0.0, 0.1), (generator.uniform(0.6, 0.75), generator.uniform(0.8, 1.0)), 255)
    canvas.ellipse((0.0, 0.1), (generator.uniform(0.38, 0.46), generator.uniform(0.5, 0.6)), 0)


def _hat(canvas: _Canvas, generator: Random) -> None:
    low = generator.uniform(-0.45, -0.24)
    wide = generator.uniform(0.45, 0.75)
    canvas.polygon([(-wide, low), (0, low - 0.04), (wide, low), (0.45, -1.0), (-0.45, -1.0)])


def _phone(canvas: _Canvas, generator: Random) -> None:
    x, y = generator.uniform(-0.5, 0.5), generator.uniform(-0.3, 0.4)
    wide, high = generator.uniform(0.12, 0.2), generator.uniform(0.2, 0.35)
    if generator.random() < 0.5:
        wide, high = high, wide
    canvas.polygon([(x + i * wide, y + j * high) for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))])


# What covers a face, and how often.
THINGS: dict[Callable[[_Canvas, Random], None], float] = {
    _mask: 0.36,
    _sunglasses: 0.2,
    _hand: 0.12,
    _scarf: 0.08,
    _microphone: 0.06,
    _veil: 0.06,
    _hijab: 0.04,
    _hat: 0.04,
    _phone: 0.04,
}
