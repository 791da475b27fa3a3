"""Make a film of a still photo, as a camera would record it."""

import math
from collections.abc import Iterator

import cv2
import numpy as np

# A person in front of a webcam drifts by a tenth of the frame, leans in and out, and tilts.
PAN_SHARE = 0.08
ZOOM_SHARE = 0.12
ROLL_DEGREES = 6.0
# None divides another, so that the motion doesn't repeat within a sequence.
PAN_SECONDS = 5.0
SINK_SECONDS = 7.0
ZOOM_SECONDS = 11.0
ROLL_SECONDS = 13.0
NOISE_LEVELS = 3.0
JPEG_QUALITY = 85


def move_picture(
    picture: np.ndarray, count: int, size: tuple[int, int] = (640, 480), rate: float = 30.0
) -> Iterator[np.ndarray]:
    """Pan, zoom and rotate a photo, with a camera's noise.

    `picture` is RGB uint8 (height, width, 3), `size` the frames' (width, height) and `rate`
    frames a second. Yields `count` frames, RGB uint8; the same ones at each call.
    """
    noise = np.random.default_rng(0)
    width, height = size
    fitting = min(width / picture.shape[1], height / picture.shape[0])
    middle = (picture.shape[1] / 2, picture.shape[0] / 2)
    for index in range(count):
        seconds = index / rate
        degrees = ROLL_DEGREES * _swing(seconds, ROLL_SECONDS)
        scale = fitting * (1 + ZOOM_SHARE * _swing(seconds, ZOOM_SECONDS))
        matrix = cv2.getRotationMatrix2D(middle, degrees, scale)
        matrix[0, 2] += width / 2 - middle[0] + PAN_SHARE * width * _swing(seconds, PAN_SECONDS)
        matrix[1, 2] += height / 2 - middle[1] + PAN_SHARE * height * _swing(seconds, SINK_SECONDS)
        frame = cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_REPLICATE)
        noisy = frame + noise.normal(0, NOISE_LEVELS, frame.shape)
        yield np.clip(noisy, 0, 255).astype(np.uint8)


def encode_frame(frame: np.ndarray) -> bytes:
    """Encode an RGB frame as JPEG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def _swing(seconds: float, period: float) -> float:
    return math.sin(2 * math.pi * seconds / period)
