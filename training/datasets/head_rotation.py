"""Rotate the head of a frontal crop by yaw and pitch, by a generic head in three dimensions.

Profiles are rare in data sets of faces, and a network that has seen none takes them for background.
The crop is laid on a head's surface, which is rotated and projected, as Zhu et al. (2016, "Face
Alignment Across Large Poses", section 4) make training faces of any pose. Lengths are in sides of
the face's box, from its centre; z points to the camera.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from training.datasets import Random
from training.datasets.composites import RelativeBox, RotatedBox

HALF_WIDTH, HALF_HEIGHT, DEPTH = 0.43, 0.66, 0.5  # of the head's ellipsoid
MIDDLE = -0.06  # of the head, along y
# Gaussian bumps on it: x, y, deviations along both, height.
BUMPS = (
    (0.0, 0.09, 0.055, 0.07, 0.13),  # the nose's tip
    (0.0, -0.03, 0.045, 0.09, 0.06),  # its bridge
    (0.0, -0.2, 0.2, 0.05, 0.03),  # the brow
    (0.0, 0.27, 0.12, 0.06, 0.035),  # the lips
    (0.0, 0.47, 0.12, 0.07, 0.06),  # the chin
    (-0.2, -0.13, 0.08, 0.05, -0.04),  # the eyes' sockets
    (0.2, -0.13, 0.08, 0.05, -0.04),
)
SIZE = 144  # pixels of the result's side
SPAN = 2.4  # sides that it spans
MESH = 300  # points along each axis of the surface
# A rotated face's box, as in hard-faces: its centre is a point of this z, and its side shrinks by a
# tenth between these degrees of yaw, while the far eye disappears.
FRONT = 0.24
SIDES, YAWS = (1.0, 0.9), (40.0, 65.0)
KNOWN_PITCH = 20.0  # degrees beyond which the box isn't known: hard-faces tells no pitch


@dataclass(frozen=True)
class RotatedHead:
    """Hold a rotated head: grey uint8 (SIZE, SIZE), where it covers, and its face's box.

    `coverage` is float32 from 0 to 1; beyond it the picture means nothing.
    """

    picture: np.ndarray
    coverage: np.ndarray
    box: RelativeBox


def rotate_head(
    crop: np.ndarray, face: RotatedBox, yaw: float, pitch: float, generator: Random
) -> RotatedHead:
    """Rotate the head in a grey crop by `yaw` and `pitch` degrees, about the ears' axis.

    `face` is the frontal face's box in the crop. The crown, the back of the head and the neck,
    which the crop doesn't show, get greys from the forehead's upper edge and from the cheeks.
    """
    x, y, z, grey = _surface(crop, face, generator)
    angles = np.radians((yaw, pitch))
    (sine, sine_up), (cosine, cosine_up) = np.sin(angles), np.cos(angles)
    x, z = x * cosine + z * sine, z * cosine - x * sine
    y, z = y * cosine_up - z * sine_up, z * cosine_up + y * sine_up
    scale = SIZE / SPAN
    columns = np.rint(x * scale + SIZE / 2).astype(int)
    rows = np.rint(y * scale + SIZE / 2).astype(int)
    inside = (columns >= 0) & (columns < SIZE) & (rows >= 0) & (rows < SIZE)
    order = np.argsort(z[inside])  # what is nearer is drawn later
    at = (rows[inside][order], columns[inside][order])
    picture, hit = np.zeros((SIZE, SIZE), np.uint8), np.zeros((SIZE, SIZE), np.uint8)
    picture[at], hit[at] = grey[inside][order], 255
    closed = np.asarray(cv2.morphologyEx(hit, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)))
    holes = np.asarray((closed > 0) & (hit == 0), np.uint8)
    filled = cv2.inpaint(picture, holes, 2, cv2.INPAINT_TELEA)
    coverage = cv2.GaussianBlur(closed.astype(np.float32) / 255, (0, 0), 0.8)
    x, y = 0.5 + FRONT * np.array((sine * cosine_up, -sine_up)) / SPAN
    side = float(np.interp(abs(yaw), YAWS, SIDES)) / SPAN
    return RotatedHead(filled, coverage, RelativeBox(x, y, side, abs(pitch) <= KNOWN_PITCH))


def _surface(
    crop: np.ndarray, face: RotatedBox, generator: Random
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y, z and the grey of points on a head's front and back, and on a neck."""
    across = np.linspace(-1, 1, MESH)
    u, v = np.meshgrid(across, across)
    radius = np.hypot(u, v)
    # Points as dense at the ears as at the nose.
    angle = np.pi / 2 * radius
    stretch = np.sin(angle) / np.maximum(radius, 1e-6)
    width, height, depth = generator.uniform(0.92, 1.08, 3) * (HALF_WIDTH, HALF_HEIGHT, DEPTH)
    x, y = u * stretch * width, v * stretch * height + MIDDLE
    ellipsoid = np.cos(angle) * depth
    front = ellipsoid.copy()
    for middle_x, middle_y, wide, high, height in BUMPS:
        bump = np.exp(-(((x - middle_x) / wide) ** 2 + ((y - middle_y) / high) ** 2) / 2)
        front += height * generator.uniform(0.7, 1.3) * bump
    seen = _sample(crop, face.x + x * face.side, face.y + y * face.side)
    tone = np.percentile(crop[: crop.shape[0] // 8], generator.uniform(10, 60))
    noise = cv2.resize(generator.standard_normal((MESH // 6, MESH // 20)), (MESH, MESH))
    hair = tone * (1 + 0.15 * noise) * (0.5 + 0.5 * np.cos(angle))
    hairline = generator.uniform(-0.62, -0.48) + generator.uniform(-0.1, 0.25) * u**2
    crown = 1 / (1 + np.exp((y - hairline) / 0.015))
    seen = seen + (hair - seen) * crown
    around, down = np.pi * u, 0.7 + 0.4 * v
    level = np.full(MESH, face.y + 0.2 * face.side)
    skin = np.median(_sample(crop, face.x + across * face.side / 4, level))  # across the cheeks
    throat = skin * (0.45 + 0.4 * np.cos(around) ** 2)
    within = radius < 1
    parts = [
        (x[within], x[within], (0.25 * np.sin(around)).ravel()),
        (y[within], y[within], down.ravel()),
        (front[within], -1.1 * ellipsoid[within], (0.27 * np.cos(around) - 0.12).ravel()),
        (seen[within], hair[within], throat.ravel()),
    ]
    x, y, z, grey = map(np.concatenate, parts)
    return x, y, z, np.clip(grey, 0, 255).astype(np.uint8)


def _sample(picture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = x.astype(np.float32), y.astype(np.float32)
    return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
