"""Decode bytes into upright RGB pixels, or raise a named error."""

from __future__ import annotations

import ctypes
import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import PIL
import pillow_heif
import simplejpeg
from PIL import AvifImagePlugin, ExifTags, Image, ImageOps

from app.errors import RautError
from app.vision.imaging.heif_items import ItemsError, count_coded_pixels
from app.vision.imaging.jpeg_markers import EOI, MARK, SOI, read_markers

FORMATS = ("JPEG", "PNG", "WebP", "HEIC", "AVIF", "GIF", "BMP", "TIFF")
PILLOW_NAMES = {"HEIC": "HEIF"}
MAX_MEGAPIXELS = 40  # decoded: 120 MB as RGB
# Of the formats that take more time for a pixel: one decoding stays within about 2 s of a core.
MEGAPIXELS = {"HEIF": 25, "AVIF": 25}
MAX_ANIMATED_MEGAPIXELS = 12  # of a WebP: libwebp keeps two canvases of 4 bytes a pixel
MAX_JPEG_MEGAPIXELS = 250  # stored: they are decoded at the scale that has `MAX_MEGAPIXELS`
# Of a JPEG in several scans: libjpeg keeps up to 6 bytes a pixel, whatever the scale.
MAX_BUFFERED_MEGAPIXELS = 50
# TIFF's others hold whole pictures of other formats, whose limits would be passed by.
TIFF_COMPRESSIONS = {
    *("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate"),
    *("tiff_ccitt", "group3", "group4"),
}
TIFF_TILE = (322, 323)  # the tags of a tile's width and height
FRAME_SIDE = 640  # longest side that a live frame needs; larger ones are decoded smaller
JPEG_SCALES = (1, 2, 4, 8)  # at which libjpeg decodes
LYING = range(5, 9)  # EXIF's orientations of a photo whose columns are stored as rows
# OpenCV's codes for the flip that makes others upright, and those lying once they are transposed.
FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
STRIP_ROWS = 64  # rows of an image that are converted at a time
MISSING = 128  # the grey level of blocks that a JPEG lacks
MIN_SIDE = 16  # below this no face can be distinguished from noise

# One photo is one thread's work.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
pillow_heif.register_heif_opener(
    decode_threads=1, thumbnails=False, depth_images=False, aux_images=False
)
# Pillow's libtiff would write of each damaged file to the server's standard error.
for library in Path(PIL.__file__).parents[1].glob("pillow.libs/libtiff*"):
    ctypes.CDLL(str(library)).TIFFSetErrorHandler(None)
# Each format's own limit is checked before any decoding.
Image.MAX_IMAGE_PIXELS = None


class LazyImage:
    """Decode an upright photo on demand, at the coarsest scale that is fine enough.

    Decoding is most of the cost of a large photo, and a JPEG can be decoded at a half, a quarter
    or an eighth of its size. `width` and `height` are the whole photo's, in pixels; `complete` is
    false for a file that breaks off, whose last rows are grey.
    """

    def __init__(
        self,
        width: int,
        height: int,
        decode: Callable[[int], np.ndarray],
        scales: Sequence[int] = (1,),
        complete: bool = True,
    ) -> None:
        self.width = width
        self.height = height
        self.complete = complete
        self._decode = decode
        self._scales = scales
        self._decoded: dict[int, np.ndarray] = {}

    @classmethod
    def of(cls, image: np.ndarray) -> LazyImage:
        """Wrap decoded pixels, RGB uint8 (height, width, 3)."""
        return cls(image.shape[1], image.shape[0], lambda _: image)

    @property
    def decoded_scales(self) -> list[int]:
        """Return the scales decoded so far, the coarsest first."""
        return sorted(self._decoded, reverse=True)

    def pixels(self, scale: float = 1.0) -> tuple[np.ndarray, int]:
        """Return the photo shrunk by at most `scale`, RGB uint8 (height, width, 3), and its scale.

        The scale is larger where none as fine is decoded. The coarsest decoded one that is fine
        enough is reused. Raises `RautError` with the code `image_unreadable`.
        """
        scale = max(scale, self._scales[0])
        for decoded in self.decoded_scales:
            if decoded <= scale:
                return self._decoded[decoded], decoded
        chosen = max(each for each in self._scales if each <= scale)
        self._decoded[chosen] = self._decode(chosen)
        return self._decoded[chosen], chosen


def open_image(data: bytes, formats: Sequence[str] = FORMATS) -> LazyImage:
    """Open a picture in one of `formats`; a JPEG is decoded when its pixels are needed, at scale.

    The content determines the format, the EXIF orientation is applied, transparency is composited
    over white, and an animation's first frame is taken. A JPEG that breaks off is read as far as
    it goes.

    Raises `RautError` with the code `image_empty`, `image_type`, `image_dimensions`,
    `image_scans` or `image_unreadable`.
    """
    if not data:
        raise RautError(
            "image_empty", "The file is empty. Choose a photo that opens on your own machine."
        )
    if data.startswith(SOI) and "JPEG" in formats:
        return _open_jpeg(data)
    image = _open(data, formats)
    animated = image.format == "WEBP" and getattr(image, "is_animated", False)
    most = MEGAPIXELS.get(str(image.format), MAX_MEGAPIXELS)
    _check_dimensions(image, MAX_ANIMATED_MEGAPIXELS if animated else most)
    if image.format == "WEBP":
        return LazyImage.of(_decode_webp(data, image.mode, _read_orientation(image)))
    if image.format in ("AVIF", "HEIF"):
        _check_items(data, image)
    elif image.format == "TIFF":
        _check_tiff(image)
    # There is only one scale, and the orientation may follow the pixels.
    return LazyImage.of(_decode(image))


def _open_jpeg(data: bytes) -> LazyImage:
    markers = read_markers(data)
    if markers is None:
        raise _unreadable()
    # With an end, libjpeg reads what breaks off as far as it goes.
    whole = data if markers.ends else data + bytes((MARK, EOI))
    image = _open(whole, ("JPEG",))
    size, mode = image.size, image.mode
    if (markers.width, markers.height) != size:
        raise _unreadable()
    _check_dimensions(image, MAX_BUFFERED_MEGAPIXELS if markers.buffered else MAX_JPEG_MEGAPIXELS)
    orientation = _read_orientation(image)
    scales = [
        scale
        for scale in JPEG_SCALES
        if math.prod(math.ceil(side / scale) for side in size) <= MAX_MEGAPIXELS * 1_000_000
    ]

    def decode(scale: int) -> np.ndarray:
        pixels = (
            _decode_jpeg(whole, size, orientation, scale)
            if mode in ("RGB", "L")
            else _decode(_open(whole, ("JPEG",)), scale)  # CMYK
        )
        if not markers.ends:
            _check_came(pixels, scale)
        return pixels

    width, height = size[::-1] if orientation in LYING else size
    return LazyImage(width, height, decode, scales, markers.ends)


def decode_image(data: bytes) -> np.ndarray:
    """Decode a picture in one of `FORMATS` into an upright photo, RGB uint8 (height, width, 3).

    Raises `RautError` as `open_image` does.
    """
    return open_image(data).pixels()[0]


def decode_frame(data: bytes) -> np.ndarray:
    """Decode one JPEG frame of a camera at the scale that live reading needs.

    Returns RGB uint8 (height, width, 3), its longer side less than twice `FRAME_SIDE` unless it is
    huge. Raises `RautError` as `open_image` does, and with the code `frame_empty` for no bytes.
    """
    if not data:
        raise RautError(
            "frame_empty", "The frame is empty. Send the camera's next picture as a JPEG."
        )
    frame = open_image(data, ("JPEG",))
    return frame.pixels(max(frame.width, frame.height) / FRAME_SIDE)[0]


def _decode_jpeg(data: bytes, size: tuple[int, int], orientation: int, scale: int) -> np.ndarray:
    """Decode a JPEG of `size`, (width, height) as it is stored, upright at a scale.

    The pixels equal Pillow's, but are decoded right into an array. Slight damage is read over.
    """
    width, height = (math.ceil(side / scale) for side in size)
    try:
        pixels = simplejpeg.decode_jpeg(
            data, "RGB", min_width=width, min_height=height, strict=False
        )
    except ValueError:  # Pillow may still read it.
        return _decode(_open(data, ("JPEG",)), scale)
    return _upright(pixels, orientation)


def _check_came(pixels: np.ndarray, scale: int) -> None:
    """Refuse what broke off within the first rows; libjpeg leaves the others grey."""
    came = (pixels[::4, ::4] != MISSING).any(axis=2)
    if min(came.any(axis=0).sum(), came.any(axis=1).sum()) * 4 * scale <= MIN_SIDE:
        raise _unreadable()


def _decode_webp(data: bytes, mode: str, orientation: int) -> np.ndarray:
    """Decode a WebP upright: OpenCV takes a third of the memory that Pillow does."""
    kind = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        decoded = cv2.imdecode(
            np.frombuffer(data, np.uint8), kind if mode == "RGB" else cv2.IMREAD_UNCHANGED
        )
    except cv2.error as error:
        raise _unreadable() from error
    if decoded is None:
        raise _unreadable()
    if decoded.shape[2] == 4:
        decoded = _by_strips(
            decoded.shape[:2],
            lambda rows: Image.fromarray(cv2.cvtColor(decoded[rows], cv2.COLOR_BGRA2RGBA)),
        )
    return _upright(decoded, orientation)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    if orientation in LYING:
        pixels = cv2.transpose(pixels)
    return cv2.flip(pixels, FLIPS[orientation]) if orientation in FLIPS else pixels


def _decode(image: Image.Image, scale: int = 1) -> np.ndarray:
    """Decode an opened photo upright, a JPEG at one of `JPEG_SCALES`."""
    with _reading():
        if scale > 1:
            image.draft("RGB", (image.width // scale, image.height // scale))
        image.load()
        # Copying a large photo would cost a quarter more than its decoding.
        ImageOps.exif_transpose(image, in_place=True)
        return _by_strips(
            (image.height, image.width),
            lambda rows: image.crop((0, rows.start, image.width, rows.stop)),
        )


def _open(data: bytes, formats: Sequence[str] = FORMATS) -> Image.Image:
    names = [PILLOW_NAMES.get(name, name.upper()) for name in formats]
    with _reading():
        try:
            return Image.open(io.BytesIO(data), formats=names)
        except Image.UnidentifiedImageError as error:
            raise RautError(
                "image_type",
                f"This is no picture of a kind that can be read here. Send {', '.join(formats)}.",
                accepted=list(formats),
            ) from error


@contextmanager
def _reading() -> Iterator[None]:
    """Raise `image_unreadable` for whatever Pillow raises on broken headers and bodies."""
    try:
        yield
    except RautError:
        raise
    except Exception as error:
        raise _unreadable() from error


def _read_orientation(image: Image.Image) -> int:
    with _reading():
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))


def _check_dimensions(image: Image.Image, most: int) -> None:
    if image.width * image.height > most * 1_000_000 or min(image.size) < MIN_SIDE:
        raise _dimensions(f"The picture is {image.width} × {image.height} pixels.", most)


def _check_items(data: bytes, image: Image.Image) -> None:
    """Refuse a HEIC or AVIF that takes more pixels to decode than it has, with transparency."""
    most = MEGAPIXELS[str(image.format)]
    try:
        coded = count_coded_pixels(data)
    except ItemsError as error:
        raise _unreadable() from error
    if coded > 2 * most * 1_000_000:
        raise _dimensions(f"The picture is stored in {coded / 1e6:.0f} megapixels.", most)


def _check_tiff(image: Image.Image) -> None:
    tags = image.tag_v2  # type: ignore[attr-defined]
    with _reading():
        tile = math.prod(int(tags.get(tag, 0)) for tag in TIFF_TILE)
        known = image.info.get("compression") in TIFF_COMPRESSIONS
    if tile > MAX_MEGAPIXELS * 1_000_000 or not known:
        raise _unreadable()


def _by_strips(size: tuple[int, int], strip: Callable[[slice], Image.Image]) -> np.ndarray:
    """Return a decoded image of `size`, (height, width), as RGB uint8 (height, width, 3).

    It is converted by strips: the copies of a whole image would take twice the memory of its
    pixels, and with transparency six times.
    """
    pixels = np.empty((*size, 3), np.uint8)
    for top in range(0, size[0], STRIP_ROWS):
        rows = slice(top, min(size[0], top + STRIP_ROWS))
        pixels[rows] = np.asarray(_as_rgb(strip(rows)))
    return pixels


def _as_rgb(image: Image.Image) -> Image.Image:
    """Convert any of Pillow's modes to 8-bit RGB over white."""
    if image.mode.startswith("I"):
        # 16-bit grey: Pillow's own conversion would clip to white instead of scaling.
        deep = np.asarray(image)
        grey = (deep >> 8).astype(np.uint8)
        grey[deep == image.info.get("transparency", -1)] = 255
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _dimensions(found: str, most: int) -> RautError:
    return RautError(
        "image_dimensions",
        f"{found} At most {most} megapixels are read, and each side must have at "
        f"least {MIN_SIDE} pixels. Send a smaller copy or a larger photo.",
        limit_megapixels=most,
        minimum_side=MIN_SIDE,
    )


def _unreadable() -> RautError:
    return RautError(
        "image_unreadable",
        "The picture is damaged or breaks off. Open it on your own machine and save it anew.",
    )
