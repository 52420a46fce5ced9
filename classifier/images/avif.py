"""Parts of an AVIF file that take a decoder time: coded frames, also hidden ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from classifier.images.decoding_cost import MOST_PARTS, Parts

MOST_FRAMES = 8
"""Frames in one coded image: layers that refine it, or a hidden reference frame."""

SEQUENCE_HEADER, FRAME_HEADER, FRAME = 1, 3, 6
"""AV1's numbers of unit kinds."""

MOST_IMAGES = 1024
"""Tiles of a grid, its transparency and thumbnails."""

MOST_EXTENTS = 4096

Extents = tuple[tuple[int, int], ...]
"""Start and end, in the file, of each piece of a coded image."""


def avif_parts(data: bytes) -> Iterator[Parts]:
    """Counts boxes, images, units and frames.

    A hidden frame may take a few bytes, and any number of them may precede the visible
    one. A frame may be larger than the image size that the file declares.
    """
    budget = _ReadBudget()
    images = list(islice(_coded_images(data, budget), MOST_IMAGES + 1))
    yield Parts("boxes and entries", budget.count, budget.count * 2e-6)
    yield Parts("coded images", len(images), 0.0, MOST_IMAGES)
    extents = [extent for image in images for extent in image]
    yield Parts("extents", len(extents), 0.0, MOST_EXTENTS)
    length = sum(end - start for start, end in extents)
    yield Parts("bytes in its images", length, 0.0, most=2 * len(data))
    units, most_frames, most_pixels = 0, 0, 0
    for image in images:
        coded = b"".join(data[start:end] for start, end in image)
        frames = 0
        for kind, at in islice(_units(coded), MOST_PARTS):
            units += 1
            frames += kind in (FRAME_HEADER, FRAME)
            if kind == SEQUENCE_HEADER:
                most_pixels = max(most_pixels, _most_pixels(coded[at : at + 64]))
        most_frames = max(most_frames, frames)
        if units >= MOST_PARTS:
            break
    yield Parts("units", units, units * 1e-6, most=MOST_PARTS - 1)
    yield Parts("pixels in a frame", most_pixels, most_pixels * 10e-9, most=2**32)
    repeated = max(0, most_frames - 1) * most_pixels
    yield Parts("frames in an image", most_frames, repeated * 10e-9, most=MOST_FRAMES)


@dataclass
class _ReadBudget:
    """Counts the boxes and table entries read, to limit them together.

    Tables may be long, and boxes may lie in several others.
    """

    count: int = 0

    def take(self) -> bool:
        self.count += 1
        return self.count <= MOST_PARTS


def _coded_images(data: bytes, budget: _ReadBudget) -> Iterator[Extents]:
    """Images of a still picture, or the first of each track of an animation."""
    for kind, start, end in _boxes(data, 0, len(data), budget):
        if kind == b"meta":
            yield from _items(data, start + 4, end, budget)
        elif kind == b"moov":
            yield from _first_samples(data, start, end, budget)


def _boxes(
    data: bytes, start: int, end: int, budget: _ReadBudget
) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each box's content."""
    while start + 8 <= end and budget.take():
        size, head = _number(data, start, 4), 8
        if size == 1:
            size, head = _number(data, start + 8, 8), 16
        stop = end if size == 0 else min(start + size, end)
        if stop < start + head:
            return
        yield data[start + 4 : start + 8], start + head, stop
        start = stop


def _items(data: bytes, start: int, end: int, budget: _ReadBudget) -> Iterator[Extents]:
    """Images coded as AV1, from the tables of ISO 14496-12 (8.11.3 and 8.11.6)."""
    found = _boxes(data, start, end, budget)
    boxes = {kind: (first, last) for kind, first, last in found}
    if b"iloc" not in boxes:
        return
    kinds = _item_kinds(data, *boxes.get(b"iinf", (0, 0)), budget)
    inner = boxes.get(b"idat", (0, 0))[0]
    at, last = boxes[b"iloc"]
    version, sizes = _number(data, at, 1), _number(data, at + 4, 2)
    offset_size, length_size, base_size, index_size = (
        sizes >> shift & 15 for shift in (12, 8, 4, 0)
    )
    wide, has_method = (4 if version == 2 else 2), version in (1, 2)
    at += 6 + wide
    while at < last and budget.take():
        item, at = _number(data, at, wide), at + wide
        is_inner = has_method and _number(data, at, 2) & 15 == 1
        at += 4 if has_method else 2
        base = _number(data, at, base_size) + inner * is_inner
        count, at = _number(data, at + base_size, 2), at + base_size + 2
        extents = []
        step = index_size * has_method + offset_size + length_size
        for _ in range(min(count, MOST_EXTENTS + 1) if step else 1):
            if at >= last or not budget.take():
                break
            at += index_size * has_method
            offset = base + _number(data, at, offset_size)
            length = _number(data, at + offset_size, length_size) or len(data)
            at += offset_size + length_size
            extents.append((offset, max(offset, min(offset + length, len(data)))))
        if kinds.get(item) == b"av01":
            yield tuple(extents)


def _item_kinds(
    data: bytes, start: int, end: int, budget: _ReadBudget
) -> dict[int, bytes]:
    first = start + (6 if data[start : start + 1] == b"\0" else 8)
    kinds = {}
    for kind, at, _ in _boxes(data, first, end, budget):
        if kind == b"infe":
            wide = 4 if _number(data, at, 1) == 3 else 2
            kinds[_number(data, at + 4, wide)] = data[at + 6 + wide : at + 10 + wide]
    return kinds


def _first_samples(
    data: bytes, start: int, end: int, budget: _ReadBudget
) -> Iterator[Extents]:
    """The first image of each track, from its table of samples at any depth."""
    at = data.find(b"stbl", start, end)
    while at >= 0 and budget.take():
        stop = min(at - 4 + _number(data, at - 4, 4), end)
        boxes = {kind: first for kind, first, _ in _boxes(data, at + 4, stop, budget)}
        offsets, sizes = boxes.get(b"co64", boxes.get(b"stco")), boxes.get(b"stsz")
        if offsets is not None and sizes is not None:
            offset = _number(data, offsets + 8, 8 if b"co64" in boxes else 4)
            size = _number(data, sizes + 4, 4) or _number(data, sizes + 12, 4)
            yield ((offset, max(offset, min(offset + size, len(data)))),)
        at = data.find(b"stbl", at + 4, end)


def _units(coded: bytes) -> Iterator[tuple[int, int]]:
    """Kind of each AV1 unit, and the start of its content."""
    start = 0
    while start < len(coded):
        head = coded[start]
        start += 2 if head & 4 else 1
        size, shift = len(coded) - start, 0
        if head & 2:
            size, byte = 0, 128
            while byte >= 128 and start < len(coded) and shift < 64:
                byte, start = coded[start], start + 1
                size, shift = size | (byte & 127) << shift, shift + 7
        yield head >> 3 & 15, start
        start += size


def _most_pixels(header: bytes) -> int:
    """Most pixels of a frame that follows this sequence header."""
    bits = _Bits(header)
    bits.take(4)  # profile, still picture
    is_reduced = bits.take(1)
    if is_reduced:
        bits.take(5)  # level
    elif not bits.skip_operating_points():
        return 2**32  # It has timing, as no still image has; not read here.
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    if is_reduced:
        return (bits.take(width_bits) + 1) * (bits.take(height_bits) + 1)
    return 1 << (width_bits + height_bits)  # A frame may have its own size.


class _Bits:
    """Reads bits from the highest on; zeros follow the last."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data.ljust(64, b"\0"), "big")
        self._left = 8 * max(64, len(data))

    def take(self, count: int) -> int:
        self._left = max(0, self._left - count)
        return self._value >> self._left & (1 << count) - 1

    def skip_operating_points(self) -> bool:
        """False if timing comes first."""
        if self.take(1):
            return False
        has_delay = self.take(1)
        for _ in range(self.take(5) + 1):
            self.take(12)
            if self.take(5) > 7:
                self.take(1)
            if has_delay and self.take(1):
                self.take(4)
        return True


def _number(data: bytes, start: int, length: int) -> int:
    return int.from_bytes(data[start : start + length], "big")
