"""Draw stages as small images for a page."""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from app.vision.explain.haar_features import WINDOW, Feature
from app.vision.geometry import Box
from app.vision.imaging.decoding import LazyImage

SHOWN_SIDE = 960  # longest side of a photo on the page, in pixels
CROP_SIDE = 288  # side of a crop on the page, in pixels
QUALITY = 82
INK, LIGHT, STRONG = (16, 23, 21), (246, 189, 75), (127, 227, 200)
TILE_GAP = 1


@dataclass(frozen=True)
class Picture:
    """Hold an encoded image and its size in pixels."""

    content: bytes
    kind: str
    width: int
    height: int

    @property
    def address(self) -> str:
        """Return the image as a data: URL, so that no second request is needed."""
        return f"data:image/{self.kind};base64,{base64.b64encode(self.content).decode()}"


def encode(array: np.ndarray, kind: str = "png") -> Picture:
    """Encode RGB or grey uint8 as `png`, lossless, or as `jpeg`, smaller."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, **({"quality": QUALITY} if kind == "jpeg" else {}))
    return Picture(stream.getvalue(), kind, array.shape[1], array.shape[0])


def fit(photo: LazyImage, side: int = SHOWN_SIDE) -> np.ndarray:
    """Shrink a photo whose longer side exceeds `side`, decoding no more than needed."""
    picture, _ = photo.pixels(max(photo.width, photo.height) / side)
    longest = max(picture.shape[:2])
    if longest <= side:
        return picture
    height, width = (max(1, round(each * side / longest)) for each in picture.shape[:2])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))


def enlarge(crop: np.ndarray, side: int = CROP_SIDE) -> np.ndarray:
    """Enlarge a small image without interpolation, so that each pixel stays a square."""
    return np.asarray(cv2.resize(crop, (side, side), interpolation=cv2.INTER_NEAREST))


def as_rgb(picture: np.ndarray) -> np.ndarray:
    """Give a grey image, (height, width) or with one channel, three channels."""
    grey = picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
    return picture if grey.ndim == 3 else np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB))


def draw_boxes(
    picture: np.ndarray, boxes: Iterable[Box], scale: float, strong: int | None = None
) -> np.ndarray:
    """Return an image with boxes drawn on it.

    `scale` is the image's pixels for each of the boxes'; the box at `strong` is drawn heavier.
    """
    drawn = as_rgb(picture).copy()
    for index, box in enumerate(boxes):
        heavy = index == strong
        corners = [
            (round(box.x * scale), round(box.y * scale)),
            (round((box.x + box.width) * scale), round((box.y + box.height) * scale)),
        ]
        for colour, width in (
            (INK, 6 if heavy else 3),
            (STRONG if heavy else LIGHT, 3 if heavy else 1),
        ):
            cv2.rectangle(drawn, corners[0], corners[1], colour, width, cv2.LINE_AA)
    return drawn


def draw_feature(window: np.ndarray, feature: Feature) -> np.ndarray:
    """Draw a Haar feature on an enlarged window: bright parts in light, the rest in dark."""
    unit = CROP_SIDE // WINDOW
    drawn = as_rgb(enlarge(window, unit * WINDOW)).copy()
    whole = feature.whole
    for part, colour in ((whole, INK), *((each, LIGHT) for each in feature.bright)):
        rows = slice(part.y * unit, (part.y + part.height) * unit)
        columns = slice(part.x * unit, (part.x + part.width) * unit)
        drawn[rows, columns] = drawn[rows, columns] * 0.35 + np.array(colour) * 0.65
    start = (whole.x * unit, whole.y * unit)
    end = ((whole.x + whole.width) * unit - 1, (whole.y + whole.height) * unit - 1)
    cv2.rectangle(drawn, start, end, LIGHT, 2)
    return drawn


@dataclass(frozen=True)
class Tiles:
    """Hold a sheet of small images: their number, the number in a row, and the size of each."""

    picture: Picture
    count: int
    columns: int
    width: int
    height: int


def tile_maps(maps: np.ndarray) -> Tiles:
    """Tile feature maps, float (channels, height, width), on one scale of brightness."""
    # One outlier would leave all else black.
    top = float(np.percentile(maps, 99.5)) or 1.0
    grey = (np.clip(maps / top, 0, 1) ** 0.7 * 255).astype(np.uint8)
    return _tile([_colour(each, cv2.COLORMAP_VIRIDIS) for each in grey])


def tile_filters(filters: np.ndarray) -> Tiles:
    """Tile filters, float (count, channels, height, width): grey or RGB, middle grey for zero."""
    reach = np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
    shades = ((filters / np.maximum(reach, 1e-9) + 1) * 127.5).astype(np.uint8)
    tiles = [as_rgb(np.ascontiguousarray(each.transpose(1, 2, 0))) for each in shades]
    return _tile(tiles)


def _colour(grey: np.ndarray, colours: int) -> np.ndarray:
    """Colour a grey image by one of OpenCV's maps."""
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(grey, colours), cv2.COLOR_BGR2RGB))


def _tile(pictures: Sequence[np.ndarray]) -> Tiles:
    height, width = pictures[0].shape[:2]
    columns = math.ceil(math.sqrt(len(pictures) * 1.6))
    rows = math.ceil(len(pictures) / columns)
    sheet = np.full(
        (rows * (height + TILE_GAP) - TILE_GAP, columns * (width + TILE_GAP) - TILE_GAP, 3),
        INK,
        np.uint8,
    )
    for index, picture in enumerate(pictures):
        top = index // columns * (height + TILE_GAP)
        left = index % columns * (width + TILE_GAP)
        sheet[top : top + height, left : left + width] = picture
    return Tiles(encode(sheet), len(pictures), columns, width, height)


def draw_heat(crop: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Overlay an enlarged crop with heat, float (height, width), where it is above 0."""
    shown = as_rgb(enlarge(crop)).astype(np.float64)
    positive = np.clip(heat, 0, None) / max(float(heat.max()), 1e-9)
    smooth = cv2.resize(positive, (CROP_SIDE, CROP_SIDE), interpolation=cv2.INTER_LINEAR)
    coloured = _colour((smooth * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    strength = (smooth * 0.75)[..., None]
    mixed = shown * (1 - strength) + coloured * strength
    return mixed.astype(np.uint8)
