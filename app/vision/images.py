"""Turn bytes into an upright RGB array, or refuse them by name."""

import io
import warnings
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from app.refusals import Refusal

FORMATS = ("JPEG", "PNG", "WebP")
MAX_MEGAPIXELS = 40  # 120 MB as RGB: what one request may cost in memory; phones make 12 to 50.
FRAME_SIDE = 640  # Longest side that a live frame needs; larger ones are decoded smaller.
MIN_SIDE = 16  # Below this no face can be told from noise.

# Pillow's own guard warns first and refuses later; ours refuses once, before any decoding.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def decode_image(data: bytes) -> np.ndarray:
    """Decode a JPEG, PNG or WebP into an upright photo.

    The format is told by the content, the EXIF orientation is applied, transparency is laid
    over white, and of an animation the first frame is taken. Returns RGB uint8
    (height, width, 3).

    Raises `Refusal` with the code `image_empty`, `image_type`, `image_dimensions` or
    `image_unreadable`.
    """
    if not data:
        raise Refusal(
            "image_empty", 400, "The file is empty. Choose a photo that opens on your own machine."
        )
    image = _open(data)
    _check_dimensions(image.width, image.height)
    try:
        image.load()
        return np.asarray(_as_rgb(ImageOps.exif_transpose(image)))
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files.
        raise _unreadable() from error


def decode_frame(data: bytes) -> np.ndarray:
    """Decode one JPEG frame of a camera, at a scale that the live reading needs.

    A frame with a side of twice `FRAME_SIDE` pixels or more is halved or quartered while it is
    decoded, which costs less than decoding all of it. Returns RGB uint8 (height, width, 3).

    Raises `Refusal` with the code `image_empty`, `image_type`, `image_dimensions` or
    `image_unreadable`.
    """
    if not data:
        raise Refusal("image_empty", 400, "The frame is empty. Send one JPEG as a binary message.")
    image = _open(data, ("JPEG",))
    _check_dimensions(image.width, image.height)
    try:
        scale = FRAME_SIDE / max(image.size)
        image.draft("RGB", (round(image.width * scale), round(image.height * scale)))
        image.load()
        return np.asarray(_as_rgb(ImageOps.exif_transpose(image)))
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files.
        raise _unreadable() from error


def _open(data: bytes, formats: Sequence[str] = FORMATS) -> Image.Image:
    """Read a picture's header only."""
    try:
        return Image.open(io.BytesIO(data), formats=[name.upper() for name in formats])
    except Image.UnidentifiedImageError as error:
        raise Refusal(
            "image_type",
            415,
            f"This is no picture of a kind that can be read here. Send {', '.join(formats)}.",
            accepted=list(formats),
        ) from error
    except Image.DecompressionBombError as error:
        raise _dimensions("The picture is far too large.") from error
    except Exception as error:  # A header can be broken in as many ways as a body.
        raise _unreadable() from error


def _check_dimensions(width: int, height: int) -> None:
    """Refuse a picture too large to decode or too small to hold a face."""
    if width * height > MAX_MEGAPIXELS * 1_000_000 or min(width, height) < MIN_SIDE:
        raise _dimensions(f"The picture is {width} × {height} pixels.")


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


def _dimensions(found: str) -> Refusal:
    """Refuse for the number of pixels."""
    return Refusal(
        "image_dimensions",
        422,
        f"{found} At most {MAX_MEGAPIXELS} megapixels are read, and each side must have at "
        f"least {MIN_SIDE} pixels. Send a smaller copy or a larger photo.",
        limit_megapixels=MAX_MEGAPIXELS,
        minimum_side=MIN_SIDE,
    )


def _unreadable() -> Refusal:
    """Refuse for content that breaks off or makes no sense."""
    return Refusal(
        "image_unreadable",
        422,
        "The picture is damaged or breaks off. Open it on your own machine and save it anew.",
    )
