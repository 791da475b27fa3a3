"""Make the photos to measure on from scikit-image's astronaut."""

from pathlib import Path

import cv2
import numpy as np
import skimage.data

from bench.moving import encode_frame

SIZES = {
    "512x512": (512, 512),
    "640x480": (640, 480),
    "1920x1080": (1920, 1080),
    "24-megapixels": (6000, 4000),
}
SIX_FACES = "six-faces-1280x800"
GROWING_SIDES = (640, 1280, 1920, 2880, 4160, 6000)  # 3:2, from 0.3 to 24 megapixels
GROWING_FACES = (1, 2, 4, 8, 16, 32, 64)


def make_pictures(folder: Path) -> list[Path]:
    """Write the five photos of docs/performance.md as JPEG; returns their files."""
    made = {name: fit_face(*size) for name, size in SIZES.items()}
    made[SIX_FACES] = tile_faces(6, 1280, 800, columns=3, rows=2)
    return [_write(folder / f"{name}.jpg", picture) for name, picture in made.items()]


def make_growing_photos(folder: Path) -> dict[float, Path]:
    """Write one scene at growing sizes; returns the files by megapixels."""
    sizes = [(side, side * 2 // 3) for side in GROWING_SIDES]
    return {
        width * height / 1e6: _write(folder / f"wide-{width}.jpg", fit_face(width, height))
        for width, height in sizes
    }


def make_growing_groups(folder: Path) -> dict[float, Path]:
    """Write groups of 1 to 64 faces at 1600x1200; returns the files by faces."""
    return {
        float(count): _write(
            folder / f"faces-{count}.jpg", tile_faces(count, 1600, 1200, columns=8, rows=8)
        )
        for count in GROWING_FACES
    }


def make_group(folder: Path) -> Path:
    """Write a photo of 24 megapixels with 32 faces of about 40 pixels; returns the file."""
    # A face takes a third of its tile's side.
    return _write(folder / "group.jpg", tile_faces(32, 6000, 4000, columns=50, rows=33))


def fit_face(width: int, height: int) -> np.ndarray:
    """Return the astronaut with its edges repeated, RGB uint8 (height, width, 3)."""
    picture = skimage.data.astronaut()
    side = min(width, height)
    fitted = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)
    left, top = (width - side) // 2, (height - side) // 2
    borders = (top, height - side - top, left, width - side - left)
    return cv2.copyMakeBorder(fitted, *borders, cv2.BORDER_REPLICATE)


def tile_faces(count: int, width: int, height: int, columns: int, rows: int) -> np.ndarray:
    """Return `count` faces on a grey grid of tiles, RGB uint8 (height, width, 3)."""
    face = skimage.data.astronaut()[:300, 70:370]
    canvas = np.full((height, width, 3), 128, np.uint8)
    side = min(width // columns, height // rows)
    for number in range(count):
        row, column = divmod(number, columns)
        tile = canvas[row * side : (row + 1) * side, column * side : (column + 1) * side]
        tile[:] = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    return canvas


def _write(file: Path, picture: np.ndarray) -> Path:
    file.write_bytes(encode_frame(picture))
    return file
