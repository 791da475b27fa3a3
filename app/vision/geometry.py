"""Compute on boxes and scores: corners, overlap, non-maximum suppression and softmax."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Box:
    """Mark a rectangle in pixels of the upright photo, origin top left."""

    x: int
    y: int
    width: int
    height: int

    @property
    def corners(self) -> np.ndarray:
        """Return left, top, right and bottom."""
        return np.array([self.x, self.y, self.x + self.width, self.y + self.height])

    def scaled(self, factor: float) -> "Box":
        """Return the box in an image whose sides have `factor` times as many pixels."""
        return Box(*(round(factor * each) for each in (self.x, self.y, self.width, self.height)))


def square_corners(squares: np.ndarray) -> np.ndarray:
    """Return the corners (count, 4) of squares, before their rotation.

    Each row of `squares` (count, 3 or more) begins with centre x, centre y and side.
    """
    half = squares[..., 2:3] / 2
    return np.concatenate([squares[..., :2] - half, squares[..., :2] + half], axis=-1)


def iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the intersection over the union of boxes given by their corners (..., 4)."""
    shared = _intersection(one, other)
    return np.asarray(shared / (_area(one) + _area(other) - shared))


def overlap_over_min(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the intersection over the smaller area of boxes given by their corners (..., 4)."""
    return np.asarray(_intersection(one, other) / np.minimum(_area(one), _area(other)))


def nms(
    boxes: np.ndarray,
    scores: np.ndarray,
    most: float,
    overlap: Callable[[np.ndarray, np.ndarray], np.ndarray] = overlap_over_min,
) -> list[int]:
    """Return the indices that greedy non-maximum suppression keeps, best score first.

    `boxes` are corners (count, 4), `scores` (count,). A box is dropped where its `overlap` with a
    better one, by default over the smaller area of both, exceeds `most`.
    """
    kept: list[int] = []
    free = np.ones(len(boxes), dtype=bool)
    for index in np.argsort(-scores, kind="stable"):
        if free[index]:
            kept.append(int(index))
            free &= overlap(boxes[index], boxes) <= most
    return kept


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax over the last axis, in the dtype of `logits`."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def _intersection(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    start = np.maximum(one[..., :2], other[..., :2])
    end = np.minimum(one[..., 2:], other[..., 2:])
    return np.asarray(np.maximum(0, end - start).prod(axis=-1))


def _area(box: np.ndarray) -> np.ndarray:
    return np.asarray((box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1]))
