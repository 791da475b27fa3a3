"""Read the markers of a JPEG without decoding it: its size, and how many scans it has.

A scan of a progressive JPEG passes over all blocks of the picture, and takes as few as ten bytes:
a file of 100 kB can have hundreds, each as costly as a small photo. Source: ITU-T T.81, annex B.
"""

import re
from dataclasses import dataclass

from app.errors import RautError

SOI = b"\xff\xd8"
# Restart markers are part of a scan's data; below 0xC0 there is none with a length.
MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")
MARK, EOI, SOS = 0xFF, 0xD9, 0xDA
PROGRESSIVE = 0xC2
SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
ARITHMETIC = {code for code in SIZES if code > 0xC8}  # which no camera and no browser uses
MOST_SEGMENTS = 5_000  # 20 MB of an ICC profile and of EXIF data are some hundreds
# Phones' own progressive photos have 10 scans, optimized ones at most 20.
MOST_SCANS = 64
# One pass over a megapixel takes 1 to 2 ms: this bounds a decoding to about a second.
MOST_SCANNED_MEGAPIXELS = 640


@dataclass
class JpegMarkers:
    """Hold a JPEG's stored size in pixels, and whether it has an end (EOI).

    `buffered` is true where a scan has only a part of the picture, so that libjpeg has to keep
    all of it in memory.
    """

    width: int = 0
    height: int = 0
    ends: bool = False
    buffered: bool = False


def read_markers(data: bytes) -> JpegMarkers | None:
    """Walk over a JPEG's segments up to its end, as libjpeg does; None for what it can't read.

    That is what starts otherwise, is coded arithmetically, or has absurdly many segments. What
    follows the end, as the films of some phones do, doesn't count. Raises `RautError` with the
    code `image_scans`.
    """
    found, segments, scans, components, position = JpegMarkers(), 0, 0, 0, len(SOI)
    if not data.startswith(SOI):
        return None
    while match := MARKER.search(data, position):
        code, position = match[1][0], match.end()
        if code == EOI:
            found.ends = True
            break
        segments += 1
        if segments > MOST_SEGMENTS or code in ARITHMETIC:
            return None
        if code in SIZES:
            found.height = int.from_bytes(data[position + 3 : position + 5])
            found.width = int.from_bytes(data[position + 5 : position + 7])
            components = int.from_bytes(data[position + 7 : position + 8])
            found.buffered |= code == PROGRESSIVE
        if code == SOS:
            scans += 1
            scanned = int.from_bytes(data[position + 2 : position + 3])
            found.buffered |= scans > 1 or scanned < components
            _check(scans, found.width * found.height / 1e6)
        position += max(2, int.from_bytes(data[position : position + 2]))
    return found


def _check(scans: int, megapixels: float) -> None:
    most = MOST_SCANS
    if scans > 1 and megapixels:
        most = min(most, int(MOST_SCANNED_MEGAPIXELS / megapixels))
    if scans > most:
        raise RautError(
            "image_scans",
            f"The picture is stored in more than {most} scans, the most that are read of a "
            "JPEG of its size. Save it anew, as a JPEG that isn't progressive.",
            limit_scans=most,
        )
