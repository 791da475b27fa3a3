"""Write and read the maps of a proposing network: for each position a score and a face's box."""

from __future__ import annotations

import cv2
import numpy as np

STRIDE = 4  # pixels between positions
BOX_VALUES = ("score", "x", "y", "size", "sine", "cosine")
UNIT = 16.0  # pixels: of the offsets
MIDDLE = 20.0  # pixels: the side whose logarithm is 0
POSITIVE_SIDES = (12.0, 31.0)  # of faces to be proposed
IGNORED_SIDES = (8.0, 46.0)  # of faces that may or may not be
CORE, HALO = 0.2, 0.4  # shares of the side: positives around the centre, and neither around them


def positions(length: int) -> np.ndarray:
    """Return the pixel that each of `length` positions stands for, float64 (length,)."""
    return np.arange(length) * STRIDE + (STRIDE - 1) / 2


def draw_map(boxes: np.ndarray, size: int) -> np.ndarray:
    """Draw the map that a network has to give for a picture of `size` pixels a side.

    `boxes` is (count, 5): centre x, centre y, side, clockwise roll in degrees, and whether it is
    certainly a face. Returns float16 (size / STRIDE, size / STRIDE, len(BOX_VALUES)); the score
    is 1 for a face, 0 for background and -1 where either is right.
    """
    at = positions(size // STRIDE)
    drawn = np.zeros((len(at), len(at), len(BOX_VALUES)), np.float16)
    nearest = np.full(drawn.shape[:2], np.inf)
    for x, y, side, roll, certain in boxes:
        dx, dy = x - at[None, :], y - at[:, None]
        if not certain or not POSITIVE_SIDES[0] <= side <= POSITIVE_SIDES[1]:
            if side < IGNORED_SIDES[1] or not certain:
                unsure = np.maximum(abs(dx), abs(dy)) <= side / 2
                drawn[unsure & (drawn[..., 0] == 0), 0] = -1
            continue
        distance = np.hypot(dx, dy)
        drawn[(distance <= HALO * side) & (drawn[..., 0] == 0), 0] = -1
        core = (distance <= max(CORE * side, distance.min() + 1e-6)) & (distance < nearest)
        nearest[core] = distance[core]
        rows, columns = np.nonzero(core)
        angle = np.radians(roll)
        same = (np.log(side / MIDDLE), np.sin(angle), np.cos(angle))
        drawn[core] = np.column_stack(
            [
                np.ones(len(rows)),
                dx[0, columns] / UNIT,
                dy[rows, 0] / UNIT,
                np.tile(same, (len(rows), 1)),
            ]
        )
    return drawn


def read_map(values: np.ndarray, least: float) -> np.ndarray:
    """Return the boxes of a network's map, best score first.

    `values` is float32 (height, width, len(BOX_VALUES)), with a logit for the score; positions
    whose score is a local maximum and at least `least` count. Returns float32 (count, 5): centre
    x, centre y and side in pixels, clockwise roll in degrees, score.
    """
    logits = np.ascontiguousarray(values[..., 0])
    highest = cv2.dilate(logits, np.ones((3, 3), np.uint8))
    rows, columns = np.nonzero((logits >= highest) & (logits >= np.log(least / (1 - least))))
    score, dx, dy, size, sine, cosine = values[rows, columns].T
    found = np.stack(
        [
            columns * STRIDE + (STRIDE - 1) / 2 + dx * UNIT,
            rows * STRIDE + (STRIDE - 1) / 2 + dy * UNIT,
            MIDDLE * np.exp(np.clip(size, -1.0, 1.0)),
            np.degrees(np.arctan2(sine, cosine)),
            1 / (1 + np.exp(-score)),
        ],
        axis=1,
    ).astype(np.float32)
    return np.asarray(found[np.argsort(-found[:, 4], kind="stable")])
