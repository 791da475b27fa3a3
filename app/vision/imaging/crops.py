"""Cut the crop that a network takes: one way, for training and for serving."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from app.vision.geometry import Box
from app.vision.imaging.decoding import LazyImage
from app.vision.readings import Detection

# Faces rotated by less are cut unrotated: the classifiers were trained with such rotations, and a
# second resampling would only blur.
SMALLEST_ROTATION = 5.0  # degrees
LARGEST_SIDE = 32_000  # pixels: OpenCV samples no larger images
SQUARES_AT_ONCE = 128  # of 48 pixels, with 6 MB of coordinates


@dataclass(frozen=True)
class CropShape:
    """Describe the crop that a network takes.

    `size` is its side in pixels, `channels` 1 (grey) or 3 (RGB), and `margin` how much of the
    box's side is added on each of the four sides before cutting.
    """

    size: int
    channels: int
    margin: float = 0.0


def cut_crop(image: np.ndarray, detection: Detection, shape: CropShape) -> np.ndarray:
    """Cut the square around a face out of a photo, rotated upright, as the network takes it.

    `image` is RGB uint8 (height, width, 3), or grey (height, width) for a shape of one channel;
    the detection is in its pixels. Beyond the photo its edge is repeated, as no training crop has
    a black bar. Returns uint8 (size, size, channels).
    """
    box, roll_degrees = detection.box, detection.roll_degrees
    if abs(roll_degrees) < SMALLEST_ROTATION:
        return shape_crop(_cut_square(image, box, 1 + 2 * shape.margin), shape)
    # A rotated square lies within an upright one of its diagonal. That one is shrunk first, so
    # that the rotation samples no finer than the crop and nothing aliases.
    reach = math.sqrt(2)
    around = _cut_square(image, box, (1 + 2 * shape.margin) * reach)
    size = math.ceil(shape.size * reach)
    shrunk = shape_crop(around, CropShape(size, shape.channels))
    middle = ((size - 1) / 2, (size - 1) / 2)
    rotation = cv2.getRotationMatrix2D(middle, roll_degrees, shape.size * reach / size)
    rotation[:, 2] -= np.full(2, (size - shape.size) / 2)
    crop = cv2.warpAffine(
        shrunk,
        rotation,
        (shape.size, shape.size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return crop.reshape(shape.size, shape.size, shape.channels)


def cut_squares(grey: np.ndarray, squares: np.ndarray, shape: CropShape) -> np.ndarray:
    """Cut grey squares, each from a copy that is less than twice as fine as needed.

    `grey` is uint8 (height, width); `squares` (count, 4) in its pixels: centre x, centre y,
    side, and clockwise roll in degrees. Returns uint8 (count, size, size, 1). `cut_crop` gives
    nearly the same pixels, and takes ten times as long for dozens of squares.
    """
    squares = np.asarray(squares, np.float32)
    length = squares[:, 2] * (1 + 2 * shape.margin)
    octaves = np.log2(np.maximum(1.0, length / shape.size)).astype(int)
    at = (np.arange(shape.size, dtype=np.float32) + 0.5) / shape.size - 0.5
    right, down = (each.ravel() for each in np.meshgrid(at, at))
    angle = np.radians(squares[:, 3])
    across, along = length * np.cos(angle), length * np.sin(angle)
    crops = np.empty((len(squares), shape.size, shape.size, 1), np.uint8)
    level = grey
    for octave in range(octaves.max(initial=-1) + 1):
        if (octave or max(level.shape) > LARGEST_SIDE) and min(level.shape) > 1:
            half = (level.shape[1] // 2, level.shape[0] // 2)
            level = cv2.resize(level, half, interpolation=cv2.INTER_AREA)
        height, width = np.divide(level.shape, grey.shape, dtype=np.float32)
        of_octave = np.flatnonzero(octaves == octave)
        for start in range(0, len(of_octave), SQUARES_AT_ONCE):
            chosen = of_octave[start : start + SQUARES_AT_ONCE, None]
            x = squares[chosen, 0] + right * across[chosen] - down * along[chosen]
            y = squares[chosen, 1] + right * along[chosen] + down * across[chosen]
            columns, rows = x * width - 0.5, y * height - 0.5
            cut = cv2.remap(level, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            crops[chosen[:, 0]] = cut.reshape(-1, shape.size, shape.size, 1)
    return crops


def cut_from_photo(photo: LazyImage, detection: Detection, shape: CropShape) -> np.ndarray:
    """Cut a face as `cut_crop` does, from the coarsest decoding that has the crop's pixels.

    The detection is in the whole photo's pixels. Raises `RautError` for a truncated photo.
    """
    box = detection.box
    side = max(box.width, box.height) * (1 + 2 * shape.margin)
    pixels, scale = photo.pixels(side / shape.size)
    scaled = detection.model_copy(update={"box": box.scaled(1 / scale)})
    return cut_crop(pixels, scaled, shape)


def _cut_square(image: np.ndarray, box: Box, scale: float) -> np.ndarray:
    """Cut the square of `scale` times the box's side around its centre, edges repeated."""
    side = max(1, round(max(box.width, box.height) * scale))
    left = round(box.x + box.width / 2 - side / 2)
    top = round(box.y + box.height / 2 - side / 2)
    height, width = image.shape[:2]
    # A box is clamped to the nearest row or column, so that even one outside the photo has pixels.
    rows = slice(min(max(top, 0), height - 1), max(min(top + side, height), 1))
    columns = slice(min(max(left, 0), width - 1), max(min(left + side, width), 1))
    return cv2.copyMakeBorder(
        image[rows, columns],
        max(-top, 0),
        max(top + side - height, 0),
        max(-left, 0),
        max(left + side - width, 0),
        cv2.BORDER_REPLICATE,
    )


def shape_crop(crop: np.ndarray, shape: CropShape) -> np.ndarray:
    """Resize an image that already is a crop to the network's size and channels.

    `crop` is RGB uint8 (height, width, 3), or grey (height, width) for a shape of one channel.
    Shrinking averages over areas, so that nothing aliases; enlarging interpolates. Returns uint8
    (size, size, channels).
    """
    if shape.channels == 1 and crop.ndim == 3:
        crop = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    shrinks = min(crop.shape[:2]) > shape.size
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(crop, (shape.size, shape.size), interpolation=interpolation)
    return resized.reshape(shape.size, shape.size, shape.channels)
