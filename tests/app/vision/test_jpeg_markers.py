from typing import Any

import pytest
import skimage.data
from PIL import Image

from app.errors import RautError
from app.vision.imaging.decoding import decode_frame, decode_image, open_image
from app.vision.imaging.jpeg_markers import MOST_SCANS
from tests.helpers.errors import refused
from tests.helpers.forms import encode

FACE = Image.fromarray(skimage.data.astronaut()).resize((64, 48))
SCANS = 10  # of libjpeg's progressive photos
SOS = b"\xff\xda"


def repeat_last_scan(data: bytes, times: int) -> bytes:
    return data[:-2] + data[data.rindex(SOS) : -2] * times + data[-2:]


def set_size(data: bytes, width: int, height: int) -> bytes:
    start = data.index(b"\xff\xc2") + 5
    return data[:start] + height.to_bytes(2) + width.to_bytes(2) + data[start + 4 :]


PROGRESSIVE = encode(FACE, "JPEG", progressive=True)


@pytest.mark.parametrize("read", [decode_image, decode_frame])
def test_hundreds_of_scans_are_refused_with_their_limit(read: Any) -> None:
    read(repeat_last_scan(PROGRESSIVE, MOST_SCANS - SCANS))
    with refused("image_scans", match="isn't progressive", limit_scans=MOST_SCANS):
        read(repeat_last_scan(PROGRESSIVE, MOST_SCANS - SCANS + 1))


def test_the_larger_a_photo_the_fewer_scans_are_read() -> None:
    large = set_size(PROGRESSIVE, 8000, 5000)
    assert open_image(repeat_last_scan(large, 6)).width == 8000
    with refused("image_scans", limit_scans=16):
        open_image(repeat_last_scan(large, 7))


def test_scans_of_a_thumbnail_and_of_what_follows_the_end_do_not_count() -> None:
    many = repeat_last_scan(PROGRESSIVE, 2 * MOST_SCANS)
    stuffed = encode(
        FACE, "JPEG", progressive=True, comment=SOS * 1000, exif=b"Exif\0\0" + many[:60_000]
    )
    decode_image(stuffed + many)


def test_scans_of_a_sequential_photo_count_too() -> None:
    with refused("image_scans"):
        decode_image(repeat_last_scan(encode(FACE, "JPEG"), MOST_SCANS))


def test_no_segment_hides_scans_where_libjpeg_skips_its_marker_only() -> None:
    # A reserved marker has no length: libjpeg goes on searching right after it.
    start = PROGRESSIVE.rindex(SOS)
    hidden = PROGRESSIVE[:start] + b"\xff\x02\x7f\xf0" + PROGRESSIVE[start:]
    with refused("image_scans"):
        decode_image(repeat_last_scan(hidden, MOST_SCANS))


def test_another_size_for_libjpeg_than_for_pillow_is_refused() -> None:
    # Pillow takes the last frame header before the first scan, libjpeg would refuse the second.
    start = PROGRESSIVE.index(b"\xff\xc2")
    header = PROGRESSIVE[start : PROGRESSIVE.index(b"\xff\xc4")]
    end = PROGRESSIVE.rindex(SOS)
    with pytest.raises(RautError) as refused:
        open_image(PROGRESSIVE[:end] + set_size(header, 65_000, 65_000) + PROGRESSIVE[end:])
    assert refused.value.code in ("image_scans", "image_unreadable")


def test_arithmetic_coding_and_endless_segments_are_unreadable() -> None:
    for data in (
        PROGRESSIVE.replace(b"\xff\xc2", b"\xff\xca"),
        PROGRESSIVE[:2] + b"\xff\xfe\0\2" * 10_000 + PROGRESSIVE[2:],
    ):
        with refused("image_unreadable"):
            decode_image(data)
