import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import skimage.data
from PIL import Image

from app.vision.imaging.decoding import decode_image, open_image
from tests.helpers.errors import refused
from tests.helpers.forms import encode

FACE = Image.fromarray(skimage.data.astronaut()).resize((64, 48))
# Which way the stored picture lies for each EXIF orientation, 1 to 8 (CIPA DC-008, 4.6.5).
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

STATUS = Path("/proc/self/status")
# Prints by how many kB decoding what comes in raises the most memory that the process ever took.
PEAK = """
import re, sys
from app.vision.imaging.decoding import decode_image

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

data = sys.stdin.buffer.read()
before = peak()
decode_image(data)
print(peak() - before)
"""


# What a JPEG of this size loses in its colours; a picture turned wrongly differs by 30 and more.
LOSS = 6


def difference(content: bytes, expected: Image.Image) -> float:
    """The mean difference in grey levels between a decoded picture and another."""
    decoded = decode_image(content)
    assert decoded.dtype == np.uint8
    wanted = np.asarray(expected.convert("RGB")).astype(int)
    assert decoded.shape == wanted.shape
    return float(np.abs(decoded - wanted).mean())


def hold(picture: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    """Return a picture as a camera held that way stores it, and the metadata that say so."""
    turn = STORED[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    return picture.transpose(turn) if turn is not None else picture, exif


@pytest.mark.parametrize("orientation", STORED)
def test_a_photo_held_any_way_is_turned_upright(orientation: int) -> None:
    stored, exif = hold(FACE, orientation)
    assert difference(encode(stored, "PNG", exif=exif), FACE) == 0
    assert difference(encode(stored, "WEBP", exif=exif, lossless=True), FACE) == 0
    assert difference(encode(stored, "TIFF", exif=exif), FACE) == 0
    for form in ("JPEG", "HEIF", "AVIF"):
        content = encode(stored, form, exif=exif.tobytes(), quality=95)
        assert difference(content, FACE) < LOSS


@pytest.mark.parametrize("orientation", STORED)
def test_a_jpeg_can_be_decoded_upright_at_a_quarter(orientation: int) -> None:
    large = FACE.resize((642, 481))
    stored, exif = hold(large, orientation)
    photo = open_image(encode(stored, "JPEG", exif=exif, quality=95))
    assert (photo.width, photo.height) == large.size
    pixels, scale = photo.pixels(7.9)
    assert scale == 4
    expected = large.resize((161, 121), Image.Resampling.BOX)
    assert np.abs(pixels - np.asarray(expected).astype(int)).mean() < LOSS
    # What is fine enough for a coarser wish is not decoded anew; a finer wish is.
    assert photo.pixels(100.0)[0] is pixels
    assert photo.pixels(3.0)[1] == 2
    # Nor is the whole photo, for crops finer than its own pixels.
    whole, _ = photo.pixels(0.5)
    assert photo.pixels(0.3)[0] is photo.pixels(1.0)[0] is whole


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("scale", [1, 2, 8])
def test_a_jpeg_is_decoded_as_pillow_does_to_the_last_bit(mode: str, scale: int) -> None:
    data = encode(FACE.resize((333, 501)).convert(mode), "JPEG", quality=88)
    expected = Image.open(io.BytesIO(data))
    expected.draft(mode, (expected.width // scale, expected.height // scale))
    wanted = np.asarray(expected.convert("RGB"))
    assert np.array_equal(open_image(data).pixels(scale)[0], wanted)


def test_a_slightly_damaged_jpeg_is_read() -> None:
    data = encode(FACE, "JPEG", quality=95)
    damaged = data[:-2] + bytes(5) + data[-2:]
    assert np.array_equal(decode_image(damaged), decode_image(data))


def test_a_png_is_decoded_whole_at_any_scale_and_grey_as_three_channels() -> None:
    pixels, scale = open_image(encode(FACE)).pixels(8.0)
    assert (scale, pixels.shape) == (1, (48, 64, 3))
    decoded = decode_image(encode(FACE.convert("L")))
    assert (decoded[..., 0] == decoded[..., 1]).all()
    assert (decoded[..., 0] == decoded[..., 2]).all()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "HEIF", "AVIF", "GIF", "BMP", "TIFF"])
def test_each_accepted_kind_is_read(form: str) -> None:
    assert difference(encode(FACE, form, quality=95), FACE) < LOSS


@pytest.mark.parametrize(
    "saving",
    [
        {"form": "PNG"},
        {"form": "WEBP", "lossless": True},
        {"form": "TIFF"},
        {"form": "TIFF", "compression": "tiff_lzw"},
    ],
)
def test_transparency_is_laid_over_white(saving: dict[str, Any]) -> None:
    picture = FACE.convert("RGBA")
    picture.putalpha(0)
    assert difference(encode(picture, **saving), Image.new("RGB", FACE.size, "white")) == 0
    picture.putalpha(255)
    assert difference(encode(picture, **saving), FACE) == 0


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("animated", [{}, {"save_all": True, "append_images": [FACE]}])
def test_a_webp_has_pillow_s_very_pixels(transparent: bool, animated: dict[str, Any]) -> None:
    picture = FACE.copy()
    if transparent:
        picture.putalpha(FACE.convert("L"))
    data = encode(picture, "WEBP", quality=50, **animated)
    decoded = Image.open(io.BytesIO(data)).convert("RGBA")
    expected = Image.alpha_composite(Image.new("RGBA", FACE.size, "white"), decoded)
    assert difference(data, expected) == 0


@pytest.mark.skipif(not STATUS.exists(), reason="Only Linux tells a process's peak of memory.")
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize(
    "saving",
    [{"form": "PNG"}, {"form": "WEBP", "method": 0}, {"form": "TIFF", "compression": "tiff_lzw"}],
)
def test_no_format_takes_more_than_picture_and_pixels(mode: str, saving: dict[str, Any]) -> None:
    large = encode(Image.new(mode, (4000, 4000), (20, 30, 40, 128)[: len(mode)]), **saving)
    done = subprocess.run(
        [sys.executable, "-c", PEAK], input=large, capture_output=True, check=True
    )
    picture, pixels = 4000 * 4000 * 4, 4000 * 4000 * 3
    assert int(done.stdout) * 1000 < 1.2 * (picture + pixels)


def test_sixteen_bits_are_scaled_and_their_transparent_grey_is_laid_over_white() -> None:
    grey = FACE.convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    assert difference(encode(deep), grey) == 0
    levels = np.full((32, 32), 40_000, np.uint16)
    levels[:16] = 7
    content = encode(Image.fromarray(levels), transparency=7)
    expected = np.full((32, 32), 40_000 >> 8, np.uint8)
    expected[:16] = 255
    assert difference(content, Image.fromarray(expected)) == 0


def test_a_palette_is_looked_up_with_its_transparent_colour() -> None:
    palette = FACE.quantize(32)
    assert difference(encode(palette), palette) == 0
    transparent = Image.new("P", FACE.size, 3)
    transparent.putpalette([0, 0, 0] * 256)
    content = encode(transparent, "PNG", transparency=3)
    assert difference(content, Image.new("RGB", FACE.size, "white")) == 0


@pytest.mark.parametrize("form", ["PNG", "WEBP", "AVIF", "GIF", "TIFF", "HEIF"])
def test_of_an_animation_the_first_frame_is_read(form: str) -> None:
    black = Image.new("RGB", FACE.size)
    lossless = {"lossless": True} if form == "WEBP" else {}
    content = encode(FACE, form, save_all=True, append_images=[black], **lossless)
    assert difference(content, FACE) < (LOSS if form in ("AVIF", "GIF", "HEIF") else 1e-9)


@pytest.mark.parametrize("saving", [{"form": "HEIF", "tile_size": 64}, {"form": "AVIF"}])
def test_tiles_and_transparency_of_heic_and_avif_are_composed(saving: dict[str, Any]) -> None:
    large = FACE.resize((320, 240))
    assert difference(encode(large, quality=90, **saving), large) < LOSS
    large.putalpha(0)
    assert (
        difference(encode(large, quality=90, **saving), Image.new("RGB", large.size, "white")) < 1
    )


def test_the_size_that_a_heic_or_avif_states_is_not_believed() -> None:
    large = Image.new("RGB", (9000, 8000))
    content = bytearray(encode(large, "AVIF", speed=10, quality=20))
    at = content.index(b"ispe") + 8
    content[at : at + 8] = (640).to_bytes(4) * 2
    with refused("image_dimensions", match="stored in 72 megapixels", limit_megapixels=25):
        decode_image(bytes(content))


@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
def test_a_heic_or_avif_of_more_than_25_megapixels_is_refused(form: str) -> None:
    content = bytearray(encode(FACE.resize((256, 256)), form))
    at = content.index(b"ispe") + 8
    content[at : at + 8] = (5001).to_bytes(4) * 2
    with refused("image_dimensions", limit_megapixels=25):
        decode_image(bytes(content))


def test_a_tiff_is_refused_with_an_endless_tile_or_another_formats_picture_in_it() -> None:
    tile = 1 << 16
    tags = {256: 64, 257: 64, 258: 8, 259: 5, 262: 1, 322: tile, 323: tile, 324: 8, 325: 8}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    tiled = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + directory + bytes(100)
    for content in (tiled, encode(FACE, "TIFF", compression="jpeg")):
        with refused("image_unreadable"):
            decode_image(content)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_breaks_off_is_read_as_far_as_it_goes(mode: str, progressive: bool) -> None:
    picture = FACE.resize((320, 240)).convert(mode)
    data = encode(picture, "JPEG", quality=90, progressive=progressive)
    whole = decode_image(data)
    photo = open_image(data[:-2])
    assert not photo.complete
    assert np.array_equal(photo.pixels()[0], whole)
    half = open_image(data[: len(data) // 2]).pixels()[0]
    rows = slice(0, 240 if progressive else 60)
    assert np.abs(half[rows] - whole[rows].astype(int)).mean() < 2 * LOSS
    start = data.index(b"\xff\xda")
    no_data = start + 2 + int.from_bytes(data[start + 2 : start + 4])
    for kept in (
        (data[:start],) if progressive or mode == "CMYK" else (data[:start], data[:no_data])
    ):
        with refused("image_unreadable"):
            open_image(kept).pixels()


@pytest.mark.parametrize("size", [(16382, 3628), (12_000, 9_000), (16_320, 12_240)])
def test_a_jpeg_of_up_to_250_megapixels_is_decoded_smaller(size: tuple[int, int]) -> None:
    pixels = np.zeros((size[1], size[0], 1), np.uint8)
    photo = open_image(simplejpeg.encode_jpeg(pixels, colorspace="GRAY", quality=30))
    decoded, scale = photo.pixels()
    assert (photo.width, photo.height) == size
    assert decoded.shape[0] * decoded.shape[1] <= 40_000_000 < decoded.size * scale**2 / 3 + 1
    assert decoded.shape[:2] == tuple(-(-side // scale) for side in size[::-1])


def test_a_picture_of_more_than_forty_megapixels_is_refused_unread() -> None:
    # Cut short after the header: whoever decoded it would call it unreadable.
    content = encode(Image.new("1", (8000, 5001)))[:200]
    with refused("image_dimensions", limit_megapixels=40):
        decode_image(content)


def test_an_animation_of_more_than_twelve_megapixels_is_refused() -> None:
    frames = [Image.new("RGB", (4001, 3000), colour) for colour in ("red", "blue")]
    content = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:], method=0)
    with refused("image_dimensions", limit_megapixels=12):
        decode_image(content)
    assert decode_image(encode(frames[0], "WEBP", method=0)).shape == (3000, 4001, 3)


# Prints the memory that threads keep of what they decoded, in kB.
KEPT = """
import re, sys
from concurrent.futures import ThreadPoolExecutor
from app.vision.imaging.decoding import decode_image
from app.vision.imaging.memory import return_large_blocks

def resident(_=None):
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])

return_large_blocks()
data = sys.stdin.buffer.read()
before = resident()
with ThreadPoolExecutor(4) as pool:
    for _ in range(3):
        list(pool.map(lambda _: decode_image(data).shape, range(4)))
    print(resident() - before)
"""


@pytest.mark.skipif(not STATUS.exists(), reason="Only Linux tells a process's memory.")
def test_threads_give_the_memory_of_large_pictures_back() -> None:
    large = encode(Image.new("RGBA", (3000, 3000), (20, 30, 40, 128)))
    done = subprocess.run(
        [sys.executable, "-c", KEPT], input=large, capture_output=True, check=True
    )
    assert int(done.stdout) < 30_000
