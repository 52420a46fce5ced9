"""Small files that take a decoder long, each by too many parts of one kind."""

import struct
import zlib
from collections.abc import Mapping

from PIL import Image

from tests.conftest import encoded, picture

TIMES = 110_000


def repeated_scans(times: int, side: int = 1000) -> bytes:
    """A progressive JPEG that repeats its last scan, of 12 bytes or more."""
    whole = encoded(Image.new("RGB", (side, side), (90, 120, 200)), progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + last * times + whole[-2:]


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def after_start(jpeg: bytes, what: bytes) -> bytes:
    return jpeg[:2] + what + jpeg[2:]


def chunk(kind: bytes, content: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + crc


def with_chunks(chunks: bytes) -> bytes:
    """A PNG with these chunks before its pixels."""
    png = encoded(picture(), "PNG")
    return png[:33] + chunks + png[33:]


def packed_bmp(width: int, height: int) -> bytes:
    """A BMP with one run length and an end mark in each row."""
    rows = b"\x01\x05\x00\x00" * height
    palette = b"".join(bytes((k, 255 - k, k, 0)) for k in range(256))
    start = 14 + 40 + len(palette)
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, *[0] * 5)
    size = start + len(rows)
    return b"BM" + struct.pack("<IHHI", size, 0, 0, start) + head + palette + rows


def tiff(tags: Mapping[int, tuple[int, ...]], pixels: bytes = b"") -> bytes:
    """A TIFF of 8-bit grey with one directory of LONGs; `pixels` come first."""
    tags = dict(sorted({258: (8,), 262: (1,), 277: (1,), **tags}.items()))
    start = 8 + len(pixels)
    behind = start + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, numbers in tags.items():
        value = struct.pack(f"<{len(numbers)}L", *numbers)
        if len(numbers) > 1:
            value, values = struct.pack("<L", behind + len(values)), values + value
        entries += struct.pack("<HHL", tag, 4, len(numbers)) + value
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<L", start) + pixels + directory + values


def repeated_strips(times: int) -> bytes:
    """A TIFF whose strips each cover half of the image."""
    size = {256: (1000,), 257: (100,), 278: (50,), 279: (50_000,) * times}
    return tiff({**size, 273: (8,) * times}, bytes(50_000))


def large_tile() -> bytes:
    """A TIFF with a tile of 400 megapixels for an image of 100 x 100."""
    packed = zlib.compress(bytes(1000))
    size = {256: (100,), 257: (100,), 322: (20_000,), 323: (20_000,)}
    where = {259: (8,), 324: (8,), 325: (len(packed),)}
    return tiff({**size, **where}, packed)


def repeated_scans_in_tiff() -> bytes:
    jpeg = repeated_scans(200)
    where = {259: (7,), 273: (8,), 278: (1000,), 279: (len(jpeg),)}
    return tiff({256: (1000,), 257: (1000,), **where}, jpeg)


def repeated_frames(times: int) -> bytes:
    """An AVIF file whose coded image repeats its frame."""
    whole = encoded(picture(), "AVIF")
    start = whole.index(b"mdat") + 4
    # A delimiter of 2 bytes, the sequence's header of 12, and the frame.
    coded = whole[start:]
    first = 2 + 2 + coded[3]
    longer = coded[:first] + coded[first:] * times
    old, new = struct.pack(">I", len(coded)), struct.pack(">I", len(longer))
    head = whole[: start - 8].replace(old, new)
    return head + struct.pack(">I", len(longer) + 8) + b"mdat" + longer


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


AVIF_START = box(b"ftyp", b"avif\0\0\0\0avifmif1")


def overlapping_tables(times: int) -> bytes:
    """An AVIF file with many sample tables that contain the same 5,000 boxes."""
    boxes = box(b"free", b"") * 5_000
    tables = b""
    for place in range(times):
        behind = 16 * (times - place)
        own, skipped = behind + len(boxes), behind - 8
        tables += struct.pack(">I4sI4s", own, b"stbl", skipped, b"free")
    return AVIF_START + box(b"moov", tables + boxes)


def long_table_of_items(times: int) -> bytes:
    table = b"\0" * 8 + bytes(6) * times
    return AVIF_START + box(b"meta", b"\0\0\0\0" + box(b"iloc", table))


JPEG, GIF = encoded(picture()), encoded(picture(), "GIF")
EXIF = segment(0xE1, b"Exif\0\0")
PROFILE = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1_000_000), 9))
COLOURS = 13 + (6 << (GIF[10] & 7))

COSTLY = {
    "scans": repeated_scans(8_000),
    "filling bytes": after_start(JPEG, EXIF + b"\xff" * 10 * TIMES),
    "segments": after_start(JPEG, EXIF + segment(0xFE, b"") * TIMES),
    "segments,": JPEG[:-2] + b"\xff\x01" * TIMES,
    "bytes of metadata": after_start(
        JPEG, segment(0xE1, b"Exif\0\0" + bytes(60_000)) * 50
    ),
    "chunks": with_chunks(chunk(b"prVt", b"") * TIMES),
    "colour profiles": with_chunks(PROFILE * 1_200),
    "blocks before its image": GIF[:COLOURS]
    + b"!\xfe"
    + b"\x01a" * TIMES
    + b"\0"
    + GIF[COLOURS:],
    "pixels in run lengths": packed_bmp(5000, 5000),
    "tags": tiff(dict.fromkeys(range(300, 60000), (0,))),
    "strips": repeated_strips(80_000),
    "pixels in a tile": large_tile(),
    "scans,": repeated_scans_in_tiff(),
    "frames in an image": repeated_frames(1_000),
    "boxes and entries": overlapping_tables(1_000),
    "boxes and entries,": long_table_of_items(TIMES),
}
"""Files by the name of the part that they have too many of."""
