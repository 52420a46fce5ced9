"""Parts of a JPEG, PNG, WebP, GIF or BMP file that cost its decoder time."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

MOST_PARTS = 100_000
"""Chunks, segments or blocks; a PNG of 64 MiB has 8,192."""

MOST_SCANS = 100
"""JPEG encoders write up to 18."""

SCAN_SECONDS = 1.2e-9
"""For a pixel: a scan that says nothing of any block takes 1.0 core-ms a megapixel."""

EXIF_SECONDS = 0.35e-6
"""Of a byte of entries, which Pillow reads one by one."""

JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""Within compressed data FF is followed by 00 or a restart marker."""

SHORT_BYTES = 2**16
"""Of a JPEG whose segments cannot cost much: Tiny ImageNet's have 2,000."""

SCAN = b"\xff\xda"
SOI, EOI, SOS, APP13 = 0xD8, 0xD9, 0xDA, 0xED
FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


@dataclass(frozen=True)
class Parts:
    """Parts of one kind in a file."""

    name: str
    count: int
    seconds: float
    """Core-seconds that decoding takes for all of them, at most, as measured."""

    most: int = MOST_PARTS
    """A file with more is refused, whatever they cost."""


def jpeg_parts(data: bytes) -> Iterator[Parts]:
    if len(data) < SHORT_BYTES and data.count(SCAN) <= 3:
        return
    position, segments, junk, told_bytes, scans, pixels = 2, 0, 0, 0, 0, 0
    while scans <= MOST_SCANS and segments <= MOST_PARTS:
        found = JPEG_MARKER.search(data, position)
        if found is None:
            break
        start, marker = found.start(), data[found.start() + 1]
        if marker == EOI:
            break  # what comes behind, such as a video, is not read
        segments += 1
        junk += (start - position) * (scans == 0)  # later it is a scan's data
        if marker < 0xC0 or marker == SOI:
            position = start + 2  # it has no length
            continue
        length = max(2, _big(data, start + 2, 2))
        if marker == SOS:
            scans += 1
        elif marker in FRAMES:
            pixels = max(pixels, _big(data, start + 5, 2) * _big(data, start + 7, 2))
        elif marker == APP13 or data[start + 4 : start + 8] == b"Exif":
            told_bytes += length
        position = start + 2 + length
    yield Parts("segments", segments, segments * 3e-6)
    yield Parts("filling bytes", junk, junk * 0.45e-6)
    yield metadata(told_bytes)
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
    # Each may unpack to a megabyte; Pillow bounds what texts unpack to, all together.
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
    """Up to the first image: no other is read."""
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
