"""Corrupt photos are read or refused with a code: `pytest tests/fuzz --fuzz-count 20000`.

A failure names the photo's number, from which `corpus.mutate` makes it again.
"""

import gc
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import RautError
from app.vision.imaging.decoding import decode_frame, decode_image
from app.vision.imaging.heif_items import ItemsError, count_coded_pixels
from app.vision.imaging.jpeg_markers import read_markers
from tests.fuzz.corpus import make_corpus, mutate
from tests.helpers.forms import post

OUTCOMES = {
    "read",
    "image_empty",
    "frame_empty",
    "image_type",
    "image_dimensions",
    "image_scans",
    "image_unreadable",
}
# Allocators keep some; a leak of one photo's pixels in a hundred would show.
MOST_GROWTH_BYTES = 150_000_000


@pytest.fixture(scope="module")
def corpus() -> list[bytes]:
    return make_corpus()


def resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def decoded(decode: Callable[[bytes], np.ndarray], data: bytes) -> str:
    """Decode a photo; returns "read" or the error's code."""
    try:
        decode(data)
    except RautError as error:
        return error.code
    return "read"


def outcome(client: FlaskClient, data: bytes) -> str:
    """Send a photo; returns "read" or the error's code, which is that of decoding alone."""
    answer = post(client, "/api/v1/analyze", {"image": data})
    assert answer.status_code < 500, answer.text
    code: str = answer.get_json().get("code", "read")
    assert code in OUTCOMES
    assert code == decoded(decode_image, data)
    return code


def test_corrupt_images_are_read_or_rejected_with_a_code(
    client: FlaskClient, corpus: list[bytes], fuzz_count: int
) -> None:
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    before = 0
    for number in range(fuzz_count):
        if number == fuzz_count // 5:
            before = resident_bytes()  # by now every code path has taken its memory
        name, data = mutate(corpus, number)
        started = time.monotonic()
        try:
            outcomes[outcome(client, data)] += 1
        except AssertionError as error:
            raise AssertionError(f"number {number}, {name}: {error}") from error
        slowest = max(slowest, time.monotonic() - started)
    growth = resident_bytes() - before
    print(f"\n{fuzz_count} pictures: {dict(outcomes)}; slowest {slowest:.2f} s; ", end="")
    print(f"memory from the first fifth on {growth / 1e6:+.1f} MB")
    assert growth < MOST_GROWTH_BYTES
    # A corpus that is all refused, or all read, would try nothing.
    assert set(outcomes) >= {"read", "image_unreadable", "image_type", "image_dimensions"}


STARTS = [
    *(b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"RIFF\0\0\1\0WEBPVP8 "),
    *(b"GIF89a", b"BM", b"II*\0\x08\0\0\0", b"\0\0\0\x1cftypheic", b"\0\0\0\x1cftypavif"),
]


@pytest.mark.parametrize("decode", [decode_image, decode_frame])
def test_arbitrary_bytes_are_decoded_or_rejected(
    decode: Callable[[bytes], np.ndarray], fuzz_count: int
) -> None:
    @settings(
        max_examples=max(10, fuzz_count // 10),
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.sampled_from(STARTS), st.binary(max_size=2000))
    def check(start: bytes, rest: bytes) -> None:
        assert decoded(decode, start + rest) in OUTCOMES

    check()


def test_arbitrary_frames_are_decoded_or_rejected(corpus: list[bytes], fuzz_count: int) -> None:
    for number in range(fuzz_count):
        name, data = mutate(corpus, number)
        assert decoded(decode_frame, data) in OUTCOMES, f"number {number}, {name}"


AVIF = b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf\0\0\x0b\xb8meta\0\0\0\0"


@pytest.mark.parametrize(
    ("walk", "start"), [(read_markers, b"\xff\xd8"), (count_coded_pixels, AVIF)]
)
def test_walks_over_segments_and_boxes_end_on_any_bytes(
    corpus: list[bytes], fuzz_count: int, walk: Callable[[bytes], object], start: bytes
) -> None:
    chance = random.Random(1)
    for number in range(fuzz_count):
        for data in (mutate(corpus, number)[1], start + chance.randbytes(3000)):
            with suppress(RautError, ItemsError):
                walk(data)
