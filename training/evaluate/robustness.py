"""Measure robustness: the predictions for degraded pictures."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from app.vision.imaging.crops import CropShape
from training.datasets.loading import shape_pictures

Change = Callable[[np.ndarray, float], np.ndarray]
GREY = 128  # of the occlusion


def blur(picture: np.ndarray, level: float) -> np.ndarray:
    """Blur by a Gaussian whose standard deviation is `level` percent of the side."""
    return cv2.GaussianBlur(picture, (0, 0), level / 100 * len(picture))


def compress(picture: np.ndarray, level: float) -> np.ndarray:
    """Compress as JPEG of quality `level`."""
    _, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(level)])
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_UNCHANGED))


def darken(picture: np.ndarray, level: float) -> np.ndarray:
    """Apply a gamma of `level`; less than 1 brightens."""
    table = np.round(255 * (np.arange(256) / 255) ** level).astype(np.uint8)
    return cv2.LUT(picture, table)


def turn(picture: np.ndarray, level: float) -> np.ndarray:
    """Rotate clockwise by `level` degrees."""
    return _transform(picture, degrees=level)


def shift(picture: np.ndarray, level: float) -> np.ndarray:
    """Crop `level` percent of the side too far to the left and to the top."""
    return _transform(picture, shift=level / 100)


def zoom(picture: np.ndarray, level: float) -> np.ndarray:
    """Crop `level` times the side: more than 1 is too wide, less too tight."""
    return _transform(picture, zoom=level)


def occlude(picture: np.ndarray, level: float) -> np.ndarray:
    """Cover the lowest `level` percent, as a scarf does."""
    covered = picture.copy()
    covered[round(len(picture) * (1 - level / 100)) :] = GREY
    return covered


def grey(picture: np.ndarray, _: float) -> np.ndarray:
    """Remove the colours."""
    if picture.shape[-1] == 1:
        return picture
    return cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def shrink(picture: np.ndarray, level: float) -> np.ndarray:
    """Reduce the detail to that of a face of `level` pixels."""
    small = cv2.resize(picture, (int(level),) * 2, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)


# Each change with its levels, mildest first.
CHANGES: list[tuple[Change, tuple[float, ...]]] = [
    (blur, (1, 2, 4)),
    (shrink, (32, 24, 16)),
    (compress, (50, 20, 10)),
    (grey, (1,)),
    (darken, (0.5, 2.0, 3.0)),
    (turn, (10, 20, 40)),
    (shift, (5, 10, 20)),
    (zoom, (0.8, 1.2, 1.4)),
    (occlude, (15, 30, 45)),
]


def measure_robustness(
    pictures: np.ndarray, shape: CropShape, measure: Callable[[np.ndarray], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Measure at each level of each change; the first row is unchanged.

    `pictures` is uint8 (count, side, side, channels), larger than the network's crop, so that wide
    crops have real pixels where there are any; `measure` gets uint8 crops (count, size, size,
    channels) and returns a row's figures.
    """
    rows = [{"change": "none", "level": 0, **measure(shape_pictures(pictures, shape))}]
    for change, levels in CHANGES:
        for level in levels:
            # OpenCV drops a grey picture's channel axis.
            changed = np.stack([change(p, level).reshape(p.shape) for p in pictures])
            figures = measure(shape_pictures(changed, shape))
            rows.append({"change": change.__name__, "level": level, **figures})
    return rows


def _transform(
    picture: np.ndarray, degrees: float = 0.0, shift: float = 0.0, zoom: float = 1.0
) -> np.ndarray:
    side = len(picture)
    middle = (side - 1) / 2
    # OpenCV rotates anticlockwise; a scale of 1 / zoom shows zoom times as much.
    matrix = cv2.getRotationMatrix2D((middle, middle), -degrees, 1 / zoom)
    matrix[:, 2] = matrix[:, 2] + shift * side
    return cv2.warpAffine(picture, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
