"""The time to decode a file beyond that of its pixels, estimated beforehand.

A call into a decoder cannot be interrupted, and a small file can make it long: a
progressive JPEG may repeat its last scan 8,000 times, each over all pixels.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from classifier.images.avif import avif_parts
from classifier.images.structure import (
    Parts,
    bmp_parts,
    gif_parts,
    jpeg_parts,
    png_parts,
    tiff_parts,
    webp_parts,
)

Format = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]

MEGAPIXELS = 25.0
"""The default limit for untrusted files."""

OWN_FILES_MEGAPIXELS = 100.0
"""The default limit for a user's own files; photos of phones have 48."""

MOST_MEGAPIXELS = 1_000
"""The highest limit; decoding such an image takes 3 GB."""

BASE_SECONDS = 0.25
"""Most core-seconds of a file beyond those of its pixels, plus the next constant."""

SECONDS_PER_PIXEL = 25e-9
"""For each pixel that an image may have. Honest images of that size take 10e-9 (a
progressive JPEG) to 50e-9 (a PNG)."""

PIXEL_SECONDS: Mapping[Format, float] = {
    "JPEG": 5e-9,
    "PNG": 50e-9,
    "WEBP": 37e-9,
    "GIF": 14e-9,
    "BMP": 8e-9,
    "TIFF": 25e-9,
    "AVIF": 27e-9,
}
"""Core-seconds for a pixel of a photo, measured on 1 to 25 megapixels."""

_STARTS: Mapping[Format, bytes | tuple[bytes, ...]] = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": b"BM",
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}

_PARTS: Mapping[Format, Callable[[bytes], Iterator[Parts]]] = {
    "JPEG": jpeg_parts,
    "PNG": png_parts,
    "WEBP": webp_parts,
    "GIF": gif_parts,
    "BMP": bmp_parts,
    "TIFF": tiff_parts,
    "AVIF": avif_parts,
}


def check_max_megapixels(value: float) -> None:
    """Raises ValueError for a limit that is not positive or needs too much memory."""
    if not 0 < value <= MOST_MEGAPIXELS:
        raise ValueError(
            f"max_megapixels must be above 0 and at most {MOST_MEGAPIXELS:,}, got "
            f"{value:g}"
        )


class TooCostly(ValueError):
    """A file has too many parts of a kind, which its message names."""


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


def extra_seconds(data: bytes, kind: Format, *, max_pixels: int) -> float:
    """Approximate core-seconds of decoding beyond those of the pixels.

    Raises TooCostly if they exceed the allowance for an image of `max_pixels`.
    """
    most = BASE_SECONDS + SECONDS_PER_PIXEL * max_pixels
    total = 0.0
    for parts in _PARTS[kind](data):
        total += parts.seconds
        if parts.count > parts.most or total > most:
            raise TooCostly(
                f"the {kind} file has {parts.count:,} {parts.name}, which would take "
                f"far longer to decode than other images of its size; open it in a "
                f"viewer and save it again"
            )
    return total
