"""Count the pixels that decoding a HEIC or AVIF computes, without decoding it.

The size that such a file states is that of its result. It may be composed of a thousand tiles, and
each of these may hold frames of any size that are decoded and never shown: a few kB could cost
minutes. Sources: ISO/IEC 14496-12 and 23008-12 (boxes and items), the AV1 bitstream specification
(5.3 and 5.5), ITU-T H.265 (7.3.1 and 7.3.6).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

# Apple's photos have about 200 boxes, 100 tiles and one unit for each tile.
MOST_PARTS = 5_000
DEEPEST = 4  # A grid of tiles with an alpha plane takes 2.
SEQUENCE_HEADER, FRAME_HEADER, FRAME = 1, 3, 6  # OBUs
VIDEO_UNITS = range(32)  # NAL units that hold a slice
NEEDED, OPTIONAL = {b"pitm", b"iinf", b"iloc", b"iprp"}, {b"iref", b"idat"}
DERIVED = {b"grid", b"iden"}
TRACK = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


class ItemsError(ValueError):
    """Refuse a file that breaks off, refers to itself, or has absurdly many parts."""


class _Bits:
    """Read big-endian integers of any number of bits."""

    def __init__(self, data: bytes, start: int = 0) -> None:
        self._data = data
        self._at = start * 8

    def read(self, bits: int) -> int:
        first, last = self._at // 8, (self._at + bits + 7) // 8
        if last > len(self._data):
            raise ItemsError
        self._at += bits
        value = int.from_bytes(self._data[first:last]) >> (last * 8 - self._at)
        return value & ((1 << bits) - 1)

    def read_bytes(self, count: int) -> int:
        return self.read(8 * count)

    @property
    def position(self) -> int:
        return (self._at + 7) // 8


@dataclass
class _Items:
    """Hold what the boxes say of each item, by its number."""

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    parts: dict[int, list[int]] = field(default_factory=dict)  # of derived items
    planes: dict[int, list[int]] = field(default_factory=dict)  # auxiliary ones
    sizes: dict[int, int] = field(default_factory=dict)  # stated, in pixels
    extents: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    counted: dict[tuple[int, int], int] = field(default_factory=dict)  # pixels, by item and depth


def count_coded_pixels(data: bytes) -> int:
    """Return the pixels of all frames that decoding a HEIC or the first frame of an AVIF takes.

    Raises `ItemsError` for what can't be read.
    """
    still = 0
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind == b"meta":
            items = _read_items(data, start + 4, end)
            still = max(still, _count(data, items, items.primary, DEEPEST))
    # Only one of them is decoded: the still, or the animation's first frame.
    pixels = max(still, sum(_count_av1(sample) for sample in _first_samples(data)))
    if not pixels:
        raise ItemsError
    return pixels


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield each box's type, and the start and end of its content."""
    for _ in range(MOST_PARTS):
        if end - start < 8:
            return
        size, head = int.from_bytes(data[start : start + 4]), 8
        if size == 1:
            size, head = int.from_bytes(data[start + 8 : start + 16]), 16
        size = size or end - start
        if size < head:
            raise ItemsError
        yield data[start + 4 : start + 8], start + head, min(start + size, end)
        start += size
    raise ItemsError


def _count(data: bytes, items: _Items, item: int, depth: int) -> int:
    if not depth:
        raise ItemsError
    if (item, depth) not in items.counted:
        items.counted[item, depth] = _count_anew(data, items, item, depth)
    return items.counted[item, depth]


def _count_anew(data: bytes, items: _Items, item: int, depth: int) -> int:
    # One of them may be decoded, as the alpha plane; depth maps and the like are not.
    planes = [_count(data, items, plane, depth - 1) for plane in items.planes.get(item, [])]
    pixels = max(planes, default=0)
    kind = items.kinds.get(item)
    if kind in DERIVED:
        parts = items.parts.get(item, [])
        return pixels + sum(_count(data, items, part, depth - 1) for part in parts)
    content = b"".join(data[start:end] for start, end in items.extents.get(item, []))
    if kind == b"hvc1":
        return pixels + items.sizes.get(item, 0) * _count_hevc_frames(content)
    if kind == b"av01":
        return pixels + max(items.sizes.get(item, 0), _count_av1(content))
    raise ItemsError


def _read_items(data: bytes, start: int, end: int) -> _Items:
    found = [box for box in _boxes(data, start, end) if box[0] in NEEDED | OPTIONAL]
    items, boxes = _Items(), {kind: part for kind, *part in found}
    # Which of two boxes a decoder believes would be its own choice.
    if len(boxes) < len(found) or not boxes.keys() >= NEEDED:
        raise ItemsError
    reader, version = _open(data, boxes[b"pitm"][0])
    items.primary = reader.read_bytes(4 if version else 2)
    reader, version = _open(data, boxes[b"iinf"][0])
    reader.read_bytes(4 if version else 2)
    for kind, begin, _ in _boxes(data, reader.position, boxes[b"iinf"][1]):
        if kind == b"infe":
            reader, version = _open(data, begin)
            number = reader.read_bytes(4 if version == 3 else 2)
            reader.read_bytes(2)
            if number in items.kinds:
                raise ItemsError
            items.kinds[number] = reader.read_bytes(4).to_bytes(4)
    if b"iref" in boxes:
        _read_references(data, items, *boxes[b"iref"])
    _read_sizes(data, items, *boxes[b"iprp"])
    _read_locations(data, items, boxes[b"iloc"][0], boxes.get(b"idat"))
    return items


def _open(data: bytes, start: int) -> tuple[_Bits, int]:
    """Return a reader of a full box's content, and the box's version."""
    reader = _Bits(data, start)
    version = reader.read_bytes(1)
    reader.read_bytes(3)
    return reader, version


def _read_references(data: bytes, items: _Items, start: int, end: int) -> None:
    _, version = _open(data, start)
    width = 4 if version else 2
    for kind, begin, _ in _boxes(data, start + 4, end):
        reader = _Bits(data, begin)
        source = reader.read_bytes(width)
        targets = [reader.read_bytes(width) for _ in range(_limited(reader.read_bytes(2)))]
        if kind == b"dimg":
            items.parts.setdefault(source, []).extend(targets)
        elif kind == b"auxl":
            for target in targets:
                items.planes.setdefault(target, []).append(source)


def _read_sizes(data: bytes, items: _Items, start: int, end: int) -> None:
    sizes: list[int] = []
    for kind, begin, stop in _boxes(data, start, end):
        if kind == b"ipco" and sizes:
            raise ItemsError
        if kind == b"ipco":
            for prop, at, _ in _boxes(data, begin, stop):
                reader = _Bits(data, at)
                stated = prop == b"ispe" and [reader.read_bytes(4) for _ in range(3)]
                sizes.append(stated[1] * stated[2] if stated else 0)
        elif kind == b"ipma":
            reader, version = _open(data, begin)
            long = data[begin + 3] & 1
            for _ in range(_limited(reader.read_bytes(4))):
                item = reader.read_bytes(4 if version else 2)
                for _ in range(reader.read_bytes(1)):
                    number = reader.read(16 if long else 8) & (0x7FFF if long else 0x7F)
                    if 0 < number <= len(sizes):
                        items.sizes[item] = max(items.sizes.get(item, 0), sizes[number - 1])


def _read_locations(data: bytes, items: _Items, start: int, idat: list[int] | None) -> None:
    reader, version = _open(data, start)
    offset_size, length_size, base_size, index_size = (reader.read(4) for _ in range(4))
    for _ in range(_limited(reader.read_bytes(4 if version == 2 else 2))):
        item = reader.read_bytes(4 if version == 2 else 2)
        method = reader.read_bytes(2) & 15 if version else 0
        reader.read_bytes(2)
        base = reader.read_bytes(base_size)
        if method == 1 and idat:
            base += idat[0]
        for _ in range(_limited(reader.read_bytes(2))):
            reader.read_bytes(index_size if version else 0)
            begin = base + reader.read_bytes(offset_size)
            length = reader.read_bytes(length_size)
            end = begin + length if length else len(data)
            items.extents.setdefault(item, []).append((begin, end))
    # Items that share their bytes would be read over and over.
    extents = [extent for each in items.extents.values() for extent in each]
    if sum(min(end, len(data)) - begin for begin, end in extents) > 2 * len(data):
        raise ItemsError


def _limited(count: int) -> int:
    if count > MOST_PARTS:
        raise ItemsError
    return count


def _first_samples(data: bytes) -> Iterator[bytes]:
    """Yield the first sample of each track of an animation."""
    found = [(0, len(data))]
    for kind in TRACK:
        found = [
            (start, end)
            for outer in found
            for each, start, end in _boxes(data, *outer)
            if each == kind
        ]
    for start, end in found:
        boxes = {kind: begin for kind, begin, _ in _boxes(data, start, end)}
        chunks = boxes.get(b"stco", boxes.get(b"co64"))
        if b"stsz" not in boxes or chunks is None:
            raise ItemsError
        sizes, _ = _open(data, boxes[b"stsz"])
        size, count = sizes.read_bytes(4), sizes.read_bytes(4)
        offsets, _ = _open(data, chunks)
        offsets.read_bytes(4)
        begin = offsets.read_bytes(8 if b"stco" not in boxes else 4)
        yield data[begin : begin + (size or (sizes.read_bytes(4) if count else 0))]


def _count_hevc_frames(data: bytes) -> int:
    """Count the pictures in NAL units, each after its length in four bytes."""
    frames = at = 0
    for _ in range(MOST_PARTS):
        if at + 6 >= len(data):
            return max(1, frames)
        video = data[at + 4] >> 1 & 63 in VIDEO_UNITS
        frames += video and data[at + 6] >> 7  # first_slice_segment_in_pic_flag
        at += 4 + int.from_bytes(data[at : at + 4])
    raise ItemsError


def _count_av1(data: bytes) -> int:
    """Count the pixels of all frames in a sequence of OBUs."""
    pixels = most = at = 0
    for _ in range(MOST_PARTS):
        if at >= len(data):
            return pixels
        kind, extended, sized = data[at] >> 3 & 15, data[at] >> 2 & 1, data[at] >> 1 & 1
        at += 1 + extended
        size, shift = (0, 0) if sized else (len(data) - at, 0)
        while sized and at < len(data):
            size |= (data[at] & 127) << shift
            shift, at, more = shift + 7, at + 1, data[at] >> 7
            if not more or shift > 56:
                break
        if kind == SEQUENCE_HEADER:
            most = max(most, _read_sequence_size(_Bits(data[at : at + size])))
        elif kind in (FRAME_HEADER, FRAME):
            pixels += most
        at += size
    raise ItemsError


def _read_sequence_size(bits: _Bits) -> int:
    """Return the pixels of the largest frame that an AV1 sequence header allows."""
    bits.read(4)  # profile, still picture
    if bits.read(1):  # a reduced header
        bits.read(5)
    else:
        decoder_model = delay_bits = 0
        if bits.read(1):  # timing
            bits.read(64)
            if bits.read(1):
                _read_uvlc(bits)
            decoder_model = bits.read(1)
            if decoder_model:
                delay_bits = bits.read(5) + 1
                bits.read(42)
        initial_delay = bits.read(1)
        for _ in range(bits.read(5) + 1):  # operating points
            bits.read(12)
            if bits.read(5) > 7:
                bits.read(1)
            if decoder_model and bits.read(1):
                bits.read(2 * delay_bits + 1)
            if initial_delay and bits.read(1):
                bits.read(4)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    return (bits.read(width_bits) + 1) * (bits.read(height_bits) + 1)


def _read_uvlc(bits: _Bits) -> None:
    zeros = 0
    while not bits.read(1):
        zeros += 1
    bits.read(min(zeros, 32))
