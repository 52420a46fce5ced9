"""Decodes the bytes of an image file into an upright uint8 RGB image, within limits.

Training and serving both decode here, so a version sees what it was trained on.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import get_args

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps

from classifier.images.avif import avif_parts
from classifier.images.decoding_cost import (
    MEGAPIXELS,
    Format,
    Parts,
    bmp_parts,
    format_of,
    gif_parts,
    jpeg_parts,
    png_parts,
    tiff_parts,
    webp_parts,
)

RgbImage = NDArray[np.uint8]
"""Shape [H, W, 3], 0..255."""

FORMATS_IN_WORDS = "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF"

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

_PARTS: Mapping[Format, Callable[[bytes], Iterator[Parts]]] = {
    "JPEG": jpeg_parts,
    "PNG": png_parts,
    "WEBP": webp_parts,
    "GIF": gif_parts,
    "BMP": bmp_parts,
    "TIFF": tiff_parts,
    "AVIF": avif_parts,
}

# Pillow raises these on damaged files; OSError alone covers less than half of them.
PILLOW_FAILURES = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
)


class UndecodableImage(ValueError):
    """The bytes are no image, are damaged, or would keep the decoder busy."""


class ImageTooLarge(ValueError):
    """The image has more pixels than the limit, by its header."""


def is_image(data: bytes) -> bool:
    """True if the bytes begin like a file of a supported format."""
    return format_of(data) is not None


def decode_image(data: bytes, *, max_megapixels: float = MEGAPIXELS) -> RgbImage:
    """The image as RGB without transparency, turned by its EXIF or XMP orientation.

    Raises UndecodableImage or ImageTooLarge.
    """
    return check_image(data, max_megapixels=max_megapixels).decode()


@dataclass(slots=True)
class CheckedImage:
    """A file that passed the checks and is not decoded yet."""

    pixels: int
    seconds: float
    """Estimated core-seconds of decoding."""

    _data: bytes
    _max_megapixels: float
    _plain_jpeg: bool
    _opened: Image.Image | None

    def decode(self) -> RgbImage:
        """Decodes; may be called once. Raises UndecodableImage or ImageTooLarge."""
        if self._plain_jpeg:
            try:
                # The same pixels as Pillow's (both are libjpeg-turbo); for 64 x 64,
                # where opening the file is most of Pillow's cost, 3.6 times faster.
                image: RgbImage = simplejpeg.decode_jpeg(self._data, colorspace="RGB")
            except ValueError:
                pass  # libjpeg warns about it: Pillow is more lenient
            else:
                return image
        opened = self._opened or _open(self._data)
        _check_pixels(opened.height, opened.width, self._max_megapixels)
        try:
            with opened:
                return upright_rgb(opened)
        except PILLOW_FAILURES as error:
            raise _undecodable(self._data) from error


def check_image(data: bytes, *, max_megapixels: float) -> CheckedImage:
    """Checks the file's structure, in a small part of the time of decoding.

    Raises UndecodableImage or ImageTooLarge.
    """
    kind = format_of(data)
    if kind is None:
        raise _undecodable(data)
    extra = extra_seconds(data, kind, max_pixels=int(max_megapixels * 1e6))
    size = None if _may_be_turned(data) else _plain_jpeg_size(data)
    opened = None
    if size is None:
        opened = _open(data)
        size = opened.height, opened.width
    _check_pixels(*size, max_megapixels)
    pixels = size[0] * size[1]
    seconds = extra + pixels * PIXEL_SECONDS[kind]
    return CheckedImage(pixels, seconds, data, max_megapixels, opened is None, opened)


def extra_seconds(data: bytes, kind: Format, *, max_pixels: int) -> float:
    """Approximate core-seconds of decoding beyond those of the pixels.

    Raises UndecodableImage if they exceed the allowance for an image of `max_pixels`.
    """
    most = BASE_SECONDS + SECONDS_PER_PIXEL * max_pixels
    total = 0.0
    for parts in _PARTS[kind](data):
        total += parts.seconds
        if parts.count > parts.most or total > most:
            raise UndecodableImage(
                f"the {kind} file has {parts.count:,} {parts.name}, which would take "
                f"far longer to decode than other images of its size; open it in a "
                f"viewer and save it again"
            )
    return total


def is_plain_jpeg(data: bytes, *, height: int, width: int) -> bool:
    """True for a JPEG in grey or colour of this size that needs no turning."""
    if format_of(data) != "JPEG" or _may_be_turned(data):
        return False
    return _plain_jpeg_size(data) == (height, width)


def _may_be_turned(data: bytes) -> bool:
    """True if Pillow may find an orientation in EXIF or XMP."""
    return b"Exif\0\0" in data or b"tiff:Orientation" in data


def _plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Height and width from the header; None if Pillow should decode the file."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    return (height, width) if colorspace in ("Gray", "YCbCr", "RGB") else None


def _open(data: bytes) -> Image.Image:
    # Pillow warns of 89 megapixels and refuses 179: max_megapixels holds instead.
    Image.MAX_IMAGE_PIXELS = None
    try:
        return Image.open(BytesIO(data), formats=get_args(Format))
    except PILLOW_FAILURES as error:
        raise _undecodable(data) from error


def _undecodable(data: bytes) -> UndecodableImage:
    return UndecodableImage(
        f"{len(data):,} bytes are not an image that can be decoded; send a whole "
        f"{FORMATS_IN_WORDS} file"
    )


def upright_rgb(image: Image.Image) -> RgbImage:
    """An opened image as its file would be decoded: turned, without transparency."""
    return np.asarray(_to_rgb(ImageOps.exif_transpose(image)))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        # convert() clips 16-bit grey to white above 255; keep its upper byte instead.
        high_byte = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255)
        image = Image.fromarray(high_byte.astype(np.uint8))
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    return image.convert("RGB")


def _check_pixels(height: int, width: int, max_megapixels: float) -> None:
    if height * width > max_megapixels * 1e6:
        raise ImageTooLarge(
            f"the image has {width} x {height} pixels, {height * width / 1e6:.1f} "
            f"megapixels, and the limit is {max_megapixels:g} (--max-megapixels); make "
            f"the image smaller or raise the limit"
        )
