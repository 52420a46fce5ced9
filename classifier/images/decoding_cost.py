"""Formats of image files, limits, and parts that take a decoder time besides pixels.

A call into a decoder cannot be interrupted, and a small file can make it long: a
progressive JPEG may repeat its last scan 8,000 times, each over all pixels.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

Format = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]

MEGAPIXELS = 25.0
"""The default limit for untrusted files."""

OWN_FILES_MEGAPIXELS = 100.0
"""The default limit for a user's own files; photos of phones have 48."""

MOST_MEGAPIXELS = 1_000
"""The highest limit; decoding such an image takes 3 GB."""

_STARTS: Mapping[Format, bytes | tuple[bytes, ...]] = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": b"BM",
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}

MOST_PARTS = 100_000
"""Chunks, segments or blocks; a PNG of 64 MiB has 8,192."""

MOST_SCANS = 100
"""JPEG encoders write up to 18."""

SCAN_SECONDS = 1.2e-9
"""Per pixel: a scan that changes no block takes 1.0 core-ms a megapixel."""

EXIF_SECONDS = 0.35e-6
"""Per byte of entries, which Pillow reads one by one."""

JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""In compressed data, FF is followed by 00 or a restart marker instead."""

SHORT_BYTES = 2**16
"""Segments of a shorter JPEG cannot take long; Tiny ImageNet's have 2,000 bytes."""

SCAN = b"\xff\xda"
SOI, EOI, SOS, APP13 = 0xD8, 0xD9, 0xDA, 0xED
FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


def check_max_megapixels(value: float) -> None:
    """Raises ValueError for a limit that is not positive or needs too much memory."""
    if not 0 < value <= MOST_MEGAPIXELS:
        raise ValueError(
            f"max_megapixels must be above 0 and at most {MOST_MEGAPIXELS:,}, got "
            f"{value:g}"
        )


def format_of(data: bytes) -> Format | None:
    """The format by the first bytes, or None if it is not supported."""
    for name, starts in _STARTS.items():
        if data.startswith(starts):
            return name
    if (data[:4], data[8:12]) == (b"RIFF", b"WEBP"):
        return "WEBP"
    # HEIC files have the brand mif1 too, but none of AVIF's.
    brands = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
    return "AVIF" if data[4:8] == b"ftyp" and b"avi" in brands else None


@dataclass(frozen=True)
class Parts:
    """Parts of one kind in a file."""

    name: str
    count: int
    seconds: float
    """Most core-seconds to decode all of them, as measured."""

    most: int = MOST_PARTS
    """A file with more parts is refused, even if they take no time."""


def jpeg_parts(data: bytes) -> Iterator[Parts]:
    if len(data) < SHORT_BYTES and data.count(SCAN) <= 3:
        return
    position, segments, junk, metadata_bytes, scans, pixels = 2, 0, 0, 0, 0, 0
    while scans <= MOST_SCANS and segments <= MOST_PARTS:
        found = JPEG_MARKER.search(data, position)
        if found is None:
            break
        start, marker = found.start(), data[found.start() + 1]
        if marker == EOI:
            break  # Decoders read nothing behind it, such as a video.
        segments += 1
        junk += (start - position) * (
            scans == 0
        )  # Behind a scan's header they are its data.
        if marker < 0xC0 or marker == SOI:
            position = start + 2  # This segment has no length.
            continue
        length = max(2, _big(data, start + 2, 2))
        if marker == SOS:
            scans += 1
        elif marker in FRAMES:
            pixels = max(pixels, _big(data, start + 5, 2) * _big(data, start + 7, 2))
        elif marker == APP13 or data[start + 4 : start + 8] == b"Exif":
            metadata_bytes += length
        position = start + 2 + length
    yield Parts("segments", segments, segments * 3e-6)
    yield Parts("filling bytes", junk, junk * 0.45e-6)
    yield metadata(metadata_bytes)
    repeated = scans * pixels * (scans > 1)
    yield Parts("scans", scans, repeated * SCAN_SECONDS, MOST_SCANS)


def png_parts(data: bytes) -> Iterator[Parts]:
    position, chunks, profiles, exif_bytes = 8, 0, 0, 0
    while position + 8 <= len(data) and chunks <= MOST_PARTS:
        length = _big(data, position, 4)
        kind = data[position + 4 : position + 8]
        chunks += 1
        profiles += kind == b"iCCP"
        exif_bytes += length * (kind == b"eXIf")
        if kind == b"IEND":
            break
        position += 12 + length
    yield Parts("chunks", chunks, chunks * 3.5e-6)
    # Each may unpack to a megabyte. Pillow limits the unpacked size of all texts.
    yield Parts("colour profiles", profiles, profiles * 0.8e-3)
    yield metadata(exif_bytes)


def webp_parts(data: bytes) -> Iterator[Parts]:
    position, chunks, exif_bytes = 12, 0, 0
    while position + 8 <= len(data) and chunks <= MOST_PARTS:
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        chunks += 1
        exif_bytes += length * (data[position : position + 4] == b"EXIF")
        position += 8 + length + length % 2
    yield Parts("chunks", chunks, chunks * 1e-6)
    yield metadata(exif_bytes)


def gif_parts(data: bytes) -> Iterator[Parts]:
    """Blocks before the first image; decoders here read no other."""
    flags = data[10] if len(data) > 10 else 0
    position, blocks = 13 + (6 << (flags & 7)) * (flags >> 7), 0
    while position < len(data) and data[position] not in b",;" and blocks <= MOST_PARTS:
        blocks += 1
        if data[position] != ord("!"):
            position += 1
            continue
        position += 2
        while position < len(data) and data[position] and blocks <= MOST_PARTS:
            blocks += 1
            position += 1 + data[position]
        position += 1
    yield Parts("blocks before its image", blocks, blocks * 1e-6)


def bmp_parts(data: bytes) -> Iterator[Parts]:
    """Pillow unpacks run lengths in Python."""
    width, height, compression = (
        int.from_bytes(data[start : start + 4], "little", signed=True)
        for start in (18, 22, 30)
    )
    is_packed = data[14:15] != b"\x0c" and compression in (1, 2)
    pixels = abs(width * height) * is_packed
    yield Parts("pixels in run lengths", pixels, pixels * 140e-9, most=2**32)
    length = len(data) * is_packed
    yield Parts("bytes of run lengths", length, length * 0.3e-6, most=2**32)


def metadata(length: int) -> Parts:
    return Parts("bytes of metadata", length, length * EXIF_SECONDS, most=2**32)


def _big(data: bytes, start: int, length: int) -> int:
    return int.from_bytes(data[start : start + length], "big")


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
"""Formats of struct by a tag's type; other types have one byte a value."""

Numbers = tuple[int, ...]


def tiff_parts(data: bytes) -> Iterator[Parts]:
    """Parts of the first image; decoders here read no other."""
    entries, tags = _directory(data)
    yield Parts("tags", entries, entries * 20e-6)
    width, height = _first(tags, WIDTH, 0), _first(tags, HEIGHT, 0)
    strip = width * min(_first(tags, ROWS_PER_STRIP, height), height)
    tile = _first(tags, TILE_WIDTH, 0) * _first(tags, TILE_HEIGHT, 0)
    # libtiff allocates a whole tile, even if the image fills only its corner.
    yield Parts("pixels in a tile", tile, 0.0, most=4 * width * height + 2**20)
    strips, tiles = tags.get(STRIP_OFFSETS, ()), tags.get(TILE_OFFSETS, ())
    for name, offsets, pixels in (("strips", strips, strip), ("tiles", tiles, tile)):
        # Decoders read each of them, also those beyond the image.
        beyond = max(0, len(offsets) * pixels - 4 * width * height)
        yield Parts(name, len(offsets), len(offsets) * 8e-6 + beyond * 1e-9)
    if _first(tags, COMPRESSION, 1) in (OLD_JPEG, JPEG):
        yield _scans(data, strips, tags.get(STRIP_BYTES, ()), pixels=strip)
        yield _scans(data, tiles, tags.get(TILE_BYTES, ()), pixels=tile)


def _scans(data: bytes, offsets: Numbers, lengths: Numbers, *, pixels: int) -> Parts:
    """Scans of all strips or tiles. Each is a JPEG, which normally has one scan."""
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
    """Count of the first directory's tags, and the values of those needed here.

    The first of equal tags counts, as in Pillow and libtiff.
    """
    order = "<" if data.startswith(b"II") else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    start_at, word = (8, "Q") if is_big else (4, "L")
    tags: dict[int, Numbers] = {}
    entries = 0
    with suppress(struct.error):  # A cut-off directory: decoders read no further.
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
    """A tag's values: in its entry, the first of `places`, if they fit, else behind."""
    inline_at, offset = places
    shape = f"{order}{min(count, MOST_PARTS + 1)}{LETTERS.get(kind, 'B')}"
    room = 8 if data[2:4] in (b"+\0", b"\0+") else 4
    is_inline = struct.calcsize(shape) <= room
    try:
        return struct.unpack_from(shape, data, inline_at if is_inline else offset)
    except struct.error:
        return ()
