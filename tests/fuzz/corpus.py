"""Photos in every format, and mutations that corrupt or forge them."""

import random
import struct
import zlib
from collections.abc import Callable
from functools import cache

import pillow_heif
import skimage.data
from PIL import Image

from tests.helpers.forms import encode

pillow_heif.register_heif_opener()  # to encode it, too

SIDE = 96
SCENES = ("astronaut", "coffee", "rocket", "cat")
# Lengths and sizes on which parsers go wrong.
EXTREMES = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@cache
def make_corpus() -> list[bytes]:
    """Encode a few scenes in every format that is read, and some that aren't."""
    corpus: list[bytes] = []
    for number, scene in enumerate(SCENES):
        picture = Image.fromarray(getattr(skimage.data, scene)()).convert("RGB")
        small = picture.resize((SIDE, SIDE))
        exif = Image.Exif()
        exif[0x0112] = number + 5  # turned and mirrored
        alpha = small.convert("RGBA")
        alpha.putalpha(small.convert("L"))
        corpus += [
            encode(small, "JPEG", quality=90),
            encode(small, "JPEG", quality=60, progressive=True, exif=exif),
            encode(small.convert("CMYK"), "JPEG"),
            encode(small.convert("L"), "JPEG", restart_marker_rows=1),
            encode(small, "PNG", exif=exif),
            encode(alpha, "PNG"),
            encode(small.quantize(16), "PNG", transparency=3),
            encode(small.convert("I;16"), "PNG", transparency=7),
            encode(small.convert("1"), "PNG"),
            encode(small, "PNG", save_all=True, append_images=[alpha.convert("RGB")]),
            encode(small, "WEBP", quality=80, exif=exif),
            encode(alpha, "WEBP", lossless=True),
            encode(small, "WEBP", save_all=True, append_images=[alpha]),
            encode(small, "GIF"),
            encode(small, "GIF", save_all=True, append_images=[alpha.convert("RGB")]),
            encode(small, "BMP"),
            encode(small, "TIFF", compression="tiff_lzw"),
            encode(alpha, "TIFF", compression="tiff_adobe_deflate", exif=exif),
            encode(small, "TIFF", compression="jpeg"),
            encode(small, "HEIF", quality=60, exif=exif),
            encode(alpha, "HEIF", tile_size=64),
            encode(small, "AVIF", quality=60, exif=exif, speed=10),
            encode(alpha, "AVIF", quality=60, speed=10),
            encode(small, "AVIF", save_all=True, append_images=[alpha.convert("RGB")], speed=10),
            encode(small, "PPM"),
            encode(small, "ICO"),
        ]
    return corpus


def flip_bits(data: bytes, chance: random.Random, _: list[bytes], among: int = 0) -> bytes:
    """Flip bits among the first bytes, or all."""
    broken = bytearray(data)
    for _count in range(chance.choice([1, 2, 4] if among else [1, 2, 8, 64])):
        broken[chance.randrange(min(among or len(broken), len(broken)))] ^= 1 << chance.randrange(8)
    return bytes(broken)


def flip_bits_of_the_head(data: bytes, chance: random.Random, corpus: list[bytes]) -> bytes:
    return flip_bits(data, chance, corpus, among=64)


def truncate(data: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    return data[: chance.randrange(len(data))]


def splice(data: bytes, chance: random.Random, corpus: list[bytes]) -> bytes:
    """Continue with another photo in the middle."""
    other = chance.choice(corpus)
    return data[: chance.randrange(len(data))] + other[chance.randrange(len(other)) :]


def repeat_a_part(data: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    start = chance.randrange(len(data))
    part = data[start : start + chance.choice([4, 16, 256, 4096])]
    return data[:start] + part * chance.choice([2, 16, 200]) + data[start:]


def write_an_extreme(data: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    """Overwrite a length or a size."""
    broken = bytearray(data)
    form = chance.choice([">I", "<I", ">H", "<H"])
    value = chance.choice(EXTREMES) & (0xFFFFFFFF if form[1] == "I" else 0xFFFF)
    struct.pack_into(form, broken, chance.randrange(max(1, len(broken) - 4)), value)
    return bytes(broken)


def forge_png(data: bytes, chance: random.Random, corpus: list[bytes]) -> bytes:
    """Change a PNG chunk's content, and correct its checksum."""
    pngs = [each for each in corpus if each.startswith(PNG_SIGNATURE)]
    chunks = list_chunks(data if data in pngs else chance.choice(pngs))
    number = chance.randrange(len(chunks))
    kind, content = chunks[number]
    if content:
        chunks[number] = kind, flip_bits(content, chance, corpus)
    if chance.random() < 0.3:
        chance.shuffle(chunks)
    return write_png(chunks)


def make_bomb(_data: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    """Claim many pixels, or compress many into few bytes."""
    width, height = chance.choice([(60000, 60000), (7000, 5000), (1, 39_000_000), (2**31 - 1, 1)])
    header = struct.pack(">IIBBBBB", width, height, 8, chance.choice([0, 2, 6]), 0, 0, 0)
    packed = pack_nothing(chance.choice([10, 1_000_000, 20_000_000]))
    text = b"a\0\0" + pack_nothing(20_000_000)
    extra = chance.choice([[], [(b"zTXt", text)], [(b"iCCP", text)]])
    return write_png([(b"IHDR", header), *extra, (b"IDAT", packed), (b"IEND", b"")])


@cache
def pack_nothing(count: int) -> bytes:
    return zlib.compress(bytes(count))


def make_polyglot(data: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    """Return a photo that is another kind of file, too."""
    other = chance.choice(
        [
            b"<html><script>alert(1)</script></html>",
            b"PK\x03\x04" + bytes(26) + b"PK\x05\x06" + bytes(18),
            b"%PDF-1.7\n%%EOF",
            b"#!/bin/sh\nexit 1\n",
            b"\x80\x04c__builtin__\neval\n.",
        ]
    )
    return chance.choice([data + other, other + data, data[:20] + other + data[20:]])


MUTATIONS: list[Callable[[bytes, random.Random, list[bytes]], bytes]] = [
    flip_bits,
    flip_bits_of_the_head,
    truncate,
    splice,
    repeat_a_part,
    write_an_extreme,
    forge_png,
    make_bomb,
    make_polyglot,
]


def mutate(corpus: list[bytes], number: int) -> tuple[str, bytes]:
    """Return the mutation's name and the bytes for a number, always the same."""
    chance = random.Random(number)
    mutation = MUTATIONS[number % len(MUTATIONS)]
    return mutation.__name__, mutation(chance.choice(corpus), chance, corpus)


def list_chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], len(PNG_SIGNATURE)
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        chunks.append((kind, png[at + 8 : at + 8 + length]))
        at += length + 12
    return chunks


def write_png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
