"""Measure robustness: the predictions for degraded pictures."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from app.vision.imaging.crops import CropShape
from training.datasets.loading import shape_pictures

Change = Callable[[np.ndarray, float], np.ndarray]
GREY = 128  # of the occlusion


def shrink(picture: np.ndarray, level: float) -> np.ndarray:
    """Take away a picture's detail: shrink it to a side in pixels, and enlarge it again."""
    small = cv2.resize(picture, (int(level),) * 2, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def _compress(picture: np.ndarray, level: float) -> np.ndarray:
    _, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(level)])
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_UNCHANGED))


def _grey(picture: np.ndarray, _: float) -> np.ndarray:
    if picture.shape[-1] == 1:
        return picture
    return cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _darken(picture: np.ndarray, level: float) -> np.ndarray:
    table = np.round(255 * (np.arange(256) / 255) ** level).astype(np.uint8)
    return cv2.LUT(picture, table)


def _occlude(picture: np.ndarray, level: float) -> np.ndarray:
    covered = picture.copy()
    covered[round(len(picture) * (1 - level / 100)) :] = GREY
    return covered


def _transform(
    picture: np.ndarray, degrees: float = 0.0, shift: float = 0.0, zoom: float = 1.0
) -> np.ndarray:
    side = len(picture)
    middle = (side - 1) / 2
    # OpenCV rotates anticlockwise; a scale of 1 / zoom shows zoom times as much.
    matrix = cv2.getRotationMatrix2D((middle, middle), -degrees, 1 / zoom)
    matrix[:, 2] = matrix[:, 2] + shift * side
    return cv2.warpAffine(picture, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)


# Each change with its levels, mildest first, whose meaning stands above it.
CHANGES: dict[str, tuple[Change, tuple[float, ...]]] = {
    # The standard deviation of a Gaussian, in percent of the side.
    "blur": (lambda p, level: cv2.GaussianBlur(p, (0, 0), level / 100 * len(p)), (1, 2, 4)),
    # The side in pixels of a face with as much detail.
    "shrink": (shrink, (32, 24, 16)),
    # The quality of a JPEG.
    "compress": (_compress, (50, 20, 10)),
    # Colours are removed.
    "grey": (_grey, (1,)),
    # The exponent of a gamma; less than 1 brightens.
    "darken": (_darken, (0.5, 2.0, 3.0)),
    # Degrees clockwise.
    "turn": (lambda p, level: _transform(p, degrees=level), (10, 20, 40)),
    # Percent of the side by which the crop is too far to the left and to the top.
    "shift": (lambda p, level: _transform(p, shift=level / 100), (5, 10, 20)),
    # The crop's side as a multiple of the right one.
    "zoom": (lambda p, level: _transform(p, zoom=level), (0.8, 1.2, 1.4)),
    # Percent that are covered from below, as by a scarf.
    "occlude": (_occlude, (15, 30, 45)),
}


def measure_robustness(
    pictures: np.ndarray, shape: CropShape, measure: Callable[[np.ndarray], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Measure at each level of each change; the first row is unchanged.

    `pictures` is uint8 (count, side, side, channels), larger than the network's crop so that wide
    crops have real pixels; `measure` gets uint8 (count, size, size, channels), returns figures.
    """
    rows = [{"change": "none", "level": 0, **measure(shape_pictures(pictures, shape))}]
    for name, (change, levels) in CHANGES.items():
        for level in levels:
            # OpenCV drops a grey picture's channel axis.
            changed = np.stack([change(p, level).reshape(p.shape) for p in pictures])
            figures = measure(shape_pictures(changed, shape))
            rows.append({"change": name, "level": level, **figures})
    return rows
