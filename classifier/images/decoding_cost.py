"""Cost of decoding a file beyond its pixels, estimated before it is decoded.

A call into a decoder cannot be interrupted, and a small file can make it long: the last
scan of a progressive JPEG may come 8,000 times, and goes over all pixels each time.
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
"""The default where anybody's files are read."""

OWN_FILES_MEGAPIXELS = 100.0
"""The default where a user's own files are read; a phone's photos have 48."""

MOST_MEGAPIXELS = 1_000
"""An image of so many takes 3 GB while it is decoded."""

BASE_SECONDS = 0.25
"""Most core-seconds that a file may ask for beyond those of its pixels, and"""

SECONDS_PER_PIXEL = 25e-9
"""for each pixel that an image may have: with honest ones of that size it is 10e-9 of a
progressive JPEG to 50e-9 of a PNG."""

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
    """ValueError for a limit that no image meets, or that no memory is enough for."""
    if not 0 < value <= MOST_MEGAPIXELS:
        raise ValueError(
            f"max_megapixels must be above 0 and at most {MOST_MEGAPIXELS:,}, got "
            f"{value:g}"
        )


class TooCostly(ValueError):
    """Says what a file has too many of."""


def format_of(data: bytes) -> Format | None:
    """Format by the first bytes; None where it is none that is decoded here."""
    for name, starts in _STARTS.items():
        if data.startswith(starts):
            return name
    if (data[:4], data[8:12]) == (b"RIFF", b"WEBP"):
        return "WEBP"
    # HEIC has the brand mif1 as well, and then none of AVIF's.
    brands = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
    return "AVIF" if data[4:8] == b"ftyp" and b"avi" in brands else None


def extra_seconds(data: bytes, kind: Format, *, max_pixels: int) -> float:
    """Core-seconds, about, that decoding takes beyond those of the pixels.

    TooCostly where they are more than may be beside an image of `max_pixels`.
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
