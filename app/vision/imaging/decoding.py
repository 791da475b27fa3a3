"""Decode bytes into upright RGB pixels, or raise a named error."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageOps

from app.errors import RautError
from app.vision.imaging.jpeg_markers import SOI, read_markers

FORMATS = ("JPEG", "PNG", "WebP")
MAX_MEGAPIXELS = 40  # 120 MB as RGB: bounds the memory of a request; phones make 12 to 50
MAX_ANIMATED_MEGAPIXELS = 12  # of a WebP: libwebp keeps two canvases of 4 bytes a pixel
FRAME_SIDE = 640  # longest side that a live frame needs; larger ones are decoded smaller
JPEG_SCALES = (1, 2, 4, 8)  # at which libjpeg decodes
# Makes pixels upright that are stored in one of EXIF's orientations.
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: cv2.flip(pixels, 1),
    3: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
    4: lambda pixels: cv2.flip(pixels, 0),
    5: cv2.transpose,
    6: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
    7: lambda pixels: cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180),
    8: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
LYING = range(5, 9)  # the orientations of a photo whose columns are stored as rows
STRIP_ROWS = 64  # rows of an image that are converted at a time
MIN_SIDE = 16  # below this no face can be distinguished from noise

# Pillow warns at one size and raises at twice that; our limit is checked before any decoding.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


class LazyImage:
    """Decode an upright photo on demand, at the coarsest scale that is fine enough.

    Decoding is most of the cost of a large photo, and a JPEG can be decoded at a half, a quarter
    or an eighth of its size. `width` and `height` are the whole photo's, in pixels.
    """

    def __init__(
        self,
        width: int,
        height: int,
        decode: Callable[[int], np.ndarray],
        scales: Sequence[int] = (1,),
    ) -> None:
        self.width = width
        self.height = height
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

        The coarsest decoded scale that is fine enough is reused; otherwise one is decoded. Raises
        `RautError` with the code `image_unreadable`.
        """
        scale = max(scale, 1)  # there are no finer pixels than the photo's own
        for decoded in self.decoded_scales:
            if decoded <= scale:
                return self._decoded[decoded], decoded
        chosen = max(each for each in self._scales if each <= scale)
        self._decoded[chosen] = self._decode(chosen)
        return self._decoded[chosen], chosen


def open_image(data: bytes, formats: Sequence[str] = FORMATS) -> LazyImage:
    """Open a JPEG, PNG or WebP; a JPEG is decoded when its pixels are needed, at their scale.

    The content determines the format, the EXIF orientation is applied, transparency is composited
    over white, and an animation's first frame is taken.

    Raises `RautError` with the code `image_empty`, `image_type`, `image_dimensions`,
    `image_scans` or `image_unreadable`.
    """
    if not data:
        raise RautError(
            "image_empty", "The file is empty. Choose a photo that opens on your own machine."
        )
    markers = read_markers(data)
    if markers is None and data.startswith(SOI):
        raise _unreadable()
    image = _open(data, formats)
    _check_dimensions(image)
    if image.format == "PNG":
        # There is only one scale, and the orientation may follow the pixels.
        return LazyImage.of(_decode(image))
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception as error:  # A header can be broken in as many ways as a body.
        raise _unreadable() from error
    size, mode = image.size, image.mode
    if image.format == "WEBP":
        return LazyImage.of(_decode_webp(data, mode, orientation))
    if markers is None or (markers.width, markers.height) != size:
        raise _unreadable()
    ends = markers.ends

    def decode(scale: int) -> np.ndarray:
        if mode in ("RGB", "L"):
            return _decode_jpeg(data, size, orientation, scale, ends)
        return _decode(_open(data, formats), scale)  # CMYK

    width, height = size[::-1] if orientation in LYING else size
    return LazyImage(width, height, decode, JPEG_SCALES)


def decode_image(data: bytes) -> np.ndarray:
    """Decode a JPEG, PNG or WebP into an upright photo, RGB uint8 (height, width, 3).

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


def _decode_jpeg(
    data: bytes, size: tuple[int, int], orientation: int, scale: int, ends: bool
) -> np.ndarray:
    """Decode a JPEG of `size`, (width, height) as it is stored, upright at a scale.

    The pixels equal Pillow's, but are decoded right into an array. Slight damage is read over if
    the file `ends`; whether one without an end breaks off, Pillow tells.
    """
    width, height = (math.ceil(side / scale) for side in size)
    try:
        pixels = simplejpeg.decode_jpeg(
            data, "RGB", min_width=width, min_height=height, strict=not ends
        )
    except ValueError:  # Pillow may still read it.
        return _decode(_open(data, ("JPEG",)), scale)
    return _upright(pixels, orientation)


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
    return UPRIGHT[orientation](pixels) if orientation in UPRIGHT else pixels


def _decode(image: Image.Image, scale: int = 1) -> np.ndarray:
    """Decode an opened photo upright, a JPEG at one of `JPEG_SCALES`."""
    try:
        if scale > 1:
            image.draft("RGB", (image.width // scale, image.height // scale))
        image.load()
        # Copying a large photo would cost a quarter more than its decoding.
        ImageOps.exif_transpose(image, in_place=True)
        return _by_strips(
            (image.height, image.width),
            lambda rows: image.crop((0, rows.start, image.width, rows.stop)),
        )
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files.
        raise _unreadable() from error


def _open(data: bytes, formats: Sequence[str] = FORMATS) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=[name.upper() for name in formats])
    except Image.UnidentifiedImageError as error:
        raise RautError(
            "image_type",
            f"This is no picture of a kind that can be read here. Send {', '.join(formats)}.",
            accepted=list(formats),
        ) from error
    except Image.DecompressionBombError as error:
        raise _dimensions("The picture is far too large.") from error
    except Exception as error:  # A header can be broken in as many ways as a body.
        raise _unreadable() from error


def _check_dimensions(image: Image.Image) -> None:
    animated = image.format == "WEBP" and getattr(image, "is_animated", False)
    most = MAX_ANIMATED_MEGAPIXELS if animated else MAX_MEGAPIXELS
    if image.width * image.height > most * 1_000_000 or min(image.size) < MIN_SIDE:
        raise _dimensions(f"The picture is {image.width} × {image.height} pixels.", most)


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


def _dimensions(found: str, most: int = MAX_MEGAPIXELS) -> RautError:
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
