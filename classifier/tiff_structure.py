"""Parts of a TIFF file that cost its decoder time: tags, strips, tiles and scans."""

import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress

from classifier.image_structure import MOST_PARTS, MOST_SCANS, SCAN, SCAN_SECONDS, Parts

WIDTH, HEIGHT, COMPRESSION = 256, 257, 259
STRIP_OFFSETS, ROWS_PER_STRIP, STRIP_BYTES = 273, 278, 279
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 322, 323, 324, 325
NEEDED = frozenset(
    (
        *(WIDTH, HEIGHT, COMPRESSION, STRIP_OFFSETS, ROWS_PER_STRIP, STRIP_BYTES),
        *(TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES),
    )
)
OLD_JPEG, JPEG = 6, 7

LETTERS = {3: "H", 4: "L", 8: "h", 9: "l", 13: "L", 16: "Q", 17: "q", 18: "Q"}
"""For struct, by a tag's type; a byte for each value of any other."""

Numbers = tuple[int, ...]


def tiff_parts(data: bytes) -> Iterator[Parts]:
    """Parts of the first image: no other is read."""
    entries, tags = _directory(data)
    yield Parts("tags", entries, entries * 20e-6)
    width, height = _first(tags, WIDTH, 0), _first(tags, HEIGHT, 0)
    strip = width * min(_first(tags, ROWS_PER_STRIP, height), height)
    tile = _first(tags, TILE_WIDTH, 0) * _first(tags, TILE_HEIGHT, 0)
    # libtiff makes room for all of a tile, of which the image may fill a corner.
    yield Parts("pixels in a tile", tile, 0.0, most=4 * width * height + 2**20)
    strips, tiles = tags.get(STRIP_OFFSETS, ()), tags.get(TILE_OFFSETS, ())
    for name, offsets, pixels in (("strips", strips, strip), ("tiles", tiles, tile)):
        # Each is decoded, also those that the image has no room for.
        beyond = max(0, len(offsets) * pixels - 4 * width * height)
        yield Parts(name, len(offsets), len(offsets) * 8e-6 + beyond * 1e-9)
    if _first(tags, COMPRESSION, 1) in (OLD_JPEG, JPEG):
        yield _scans(data, strips, tags.get(STRIP_BYTES, ()), pixels=strip)
        yield _scans(data, tiles, tags.get(TILE_BYTES, ()), pixels=tile)


def _scans(data: bytes, offsets: Numbers, lengths: Numbers, *, pixels: int) -> Parts:
    """Each strip or tile is a JPEG of its own, with one scan where it is ordinary."""
    most = MOST_SCANS * max(1, len(offsets))
    if len(lengths) < len(offsets) or sum(lengths) > 2 * len(data):
        return Parts("bytes in its strips", sum(lengths), 0.0, most=0)
    pairs = zip(offsets, lengths, strict=False)
    scans = sum(data.count(SCAN, start, start + size) for start, size in pairs)
    repeated = max(0, scans - len(offsets))
    return Parts("scans", scans, repeated * pixels * SCAN_SECONDS, most)


def _first(tags: Mapping[int, Numbers], tag: int, default: int) -> int:
    return next(iter(tags.get(tag, ())), default)


def _directory(data: bytes) -> tuple[int, Mapping[int, Numbers]]:
    """How many tags the first directory has, and the numbers of those needed here.

    The first of equal tags counts, as for Pillow and libtiff.
    """
    order = "<" if data.startswith(b"II") else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    start_at, word = (8, "Q") if is_big else (4, "L")
    tags: dict[int, Numbers] = {}
    entries = 0
    with suppress(struct.error):  # it ends early: no decoder reads more
        (start,) = struct.unpack_from(order + word, data, start_at)
        counted = order + ("Q" if is_big else "H")
        (entries,) = struct.unpack_from(counted, data, start)
        start += struct.calcsize(counted)
        entry = f"{order}HH{word}{word}"
        for place in range(min(entries, MOST_PARTS)):
            at = start + place * struct.calcsize(entry)
            tag, kind, count, offset = struct.unpack_from(entry, data, at)
            if tag in NEEDED and tag not in tags:
                inline_at = at + struct.calcsize(entry) - struct.calcsize(order + word)
                tags[tag] = _numbers(data, order, kind, count, (inline_at, offset))
    return entries, tags


def _numbers(
    data: bytes, order: str, kind: int, count: int, places: tuple[int, int]
) -> Numbers:
    """From within the entry, the first of `places`, where they have room there."""
    inline_at, offset = places
    shape = f"{order}{min(count, MOST_PARTS + 1)}{LETTERS.get(kind, 'B')}"
    room = 8 if data[2:4] in (b"+\0", b"\0+") else 4
    is_inline = struct.calcsize(shape) <= room
    try:
        return struct.unpack_from(shape, data, inline_at if is_inline else offset)
    except struct.error:
        return ()
