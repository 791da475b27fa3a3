import pillow_heif
import pytest
import skimage.data
from PIL import Image

from app.vision.imaging.heif_items import ItemsError, count_coded_pixels
from tests.helpers.forms import encode

pillow_heif.register_heif_opener()  # to encode it, too
FACE = Image.fromarray(skimage.data.astronaut()).resize((256, 192))
PIXELS = 256 * 192


def find_frame(content: bytes) -> tuple[int, bytes]:
    """Return where an AVIF's item begins, and its content."""
    at = content.index(b"mdat") + 4
    return at, content[at:]


@pytest.mark.parametrize("form", ["HEIF", "AVIF"])
def test_a_still_takes_its_own_pixels_and_its_transparency_as_many(form: str) -> None:
    assert count_coded_pixels(encode(FACE, form)) == PIXELS
    transparent = FACE.copy()
    transparent.putalpha(90)
    assert count_coded_pixels(encode(transparent, form)) == 2 * PIXELS


def test_tiles_are_added_up_and_of_an_animation_the_first_frame_counts() -> None:
    assert count_coded_pixels(encode(FACE, "HEIF", tile_size=64)) == PIXELS
    content = encode(FACE, "AVIF", save_all=True, append_images=[Image.new("RGB", FACE.size)] * 5)
    assert count_coded_pixels(content) == PIXELS


def test_hidden_frames_count() -> None:
    content = encode(FACE, "AVIF")
    at, item = find_frame(content)
    length = len(item).to_bytes(4)
    many = content[:at].replace(length, (100 * len(item)).to_bytes(4)) + item * 100
    assert count_coded_pixels(many) == 100 * PIXELS


@pytest.mark.parametrize("form", ["HEIF", "AVIF"])
def test_what_refers_to_itself_or_has_no_picture_is_refused(form: str) -> None:
    content = encode(FACE, form)
    kind = b"hvc1" if form == "HEIF" else b"av01"
    for broken in (b"", content[:60], content.replace(kind, b"grid", 1), b"\0\0\0\1" * 1000):
        with pytest.raises(ItemsError):
            count_coded_pixels(broken)


def test_a_thousand_tiles_that_are_the_same_item_count_a_thousand_times() -> None:
    content = encode(FACE, "HEIF", tile_size=64)
    at = content.index(b"dimg") + 6  # where the number of tiles is
    assert int.from_bytes(content[at : at + 2]) == 12
    one = content[at + 2 : at + 4]
    same = content[: at + 2] + one * 12 + content[at + 26 :]
    assert count_coded_pixels(same) == PIXELS
