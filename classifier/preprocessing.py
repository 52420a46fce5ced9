"""From the bytes of an image file to the uint8 RGB image a version was trained on."""

import struct
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any, Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps

RgbImage = NDArray[np.uint8]
"""Shape [H, W, 3], 0..255."""

MAX_PIXELS = 25_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# What Pillow raises on damaged files; OSError alone covers less than half of them.
_PILLOW_FAILURES = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    NotImplementedError,
    struct.error,
    zlib.error,
)


class UndecodableImage(ValueError):
    """Bytes that are no image, or a damaged one."""


class ImageTooLarge(ValueError):
    """More pixels than we decode; found in the header, before any decoding."""


@dataclass(frozen=True)
class Preprocessing:
    """How a version wants its images; preprocessing.json."""

    height: int
    width: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Per channel, as fractions of 1; subtracted inside the network's graph."""

    std: tuple[float, float, float] = IMAGENET_STD
    resize: Literal["bilinear-antialias"] = "bilinear-antialias"
    color: Literal["rgb"] = "rgb"

    def __post_init__(self) -> None:
        if not (1 <= self.height <= 4096 and 1 <= self.width <= 4096):
            raise ValueError(
                f"height and width must be 1..4096, got {self.height}x{self.width}"
            )
        if self.resize != "bilinear-antialias" or self.color != "rgb":
            raise ValueError(f"unknown preprocessing {self.resize!r}, {self.color!r}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError("mean and std must have 3 numbers, those of std above 0")

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Preprocessing":
        """ValueError, KeyError or TypeError where a field is missing or wrong."""
        return cls(
            height=int(fields["height"]),
            width=int(fields["width"]),
            mean=tuple(fields["mean"]),
            std=tuple(fields["std"]),
            resize=fields["resize"],
            color=fields["color"],
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def image(self, data: bytes) -> RgbImage:
        """The image in a file's bytes, decoded and resized to [height, width, 3]."""
        return resize(decode_image(data), height=self.height, width=self.width)


def is_image(data: bytes) -> bool:
    """Whether the bytes begin as a file of one of FORMATS does."""
    return (
        data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM"))
        or (data[:4], data[8:12]) == (b"RIFF", b"WEBP")
    )  # fmt: skip


def decode_image(data: bytes) -> RgbImage:
    """The image upright by its EXIF orientation, as RGB; transparency is dropped.

    UndecodableImage or ImageTooLarge. Training and serving both decode here, so a
    version sees at answer time what it saw in training.
    """
    if data.startswith(b"\xff\xd8\xff") and b"Exif\0\0" not in data:
        image = _decode_plain_jpeg(data)
        if image is not None:
            return image
    return _decode_with_pillow(data)


def header_pixels(data: bytes) -> int:
    """How many pixels the file says that it has; 0 where it cannot be told."""
    if data.startswith(b"\xff\xd8\xff"):
        with suppress(ValueError):
            height, width, *_ = simplejpeg.decode_jpeg_header(data)
            return int(height * width)
    with (
        suppress(*_PILLOW_FAILURES, Image.DecompressionBombError),
        Image.open(BytesIO(data), formats=FORMATS) as opened,
    ):
        return opened.height * opened.width
    return 0


def resize(image: RgbImage, *, height: int, width: int) -> RgbImage:
    """The whole image stretched to [height, width, 3]: bilinear, antialiased."""
    if image.shape[:2] == (height, width):
        return image
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Height and width of a JPEG in grey or colour, by its head; None of all else.

    Of CMYK too. ImageTooLarge.
    """
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    _check_pixels(height, width)
    return (height, width) if colorspace in ("Gray", "YCbCr", "RGB") else None


def _decode_plain_jpeg(data: bytes) -> RgbImage | None:
    """None where Pillow should try: CMYK, or a file that libjpeg warns about.

    simplejpeg gives the same pixels as Pillow (both are libjpeg-turbo); for 64 x 64,
    where opening the file is most of Pillow's cost, it is 3.6 times faster.
    """
    if plain_jpeg_size(data) is None:
        return None
    try:
        image: RgbImage = simplejpeg.decode_jpeg(data, colorspace="RGB")
    except ValueError:
        return None
    return image


def _decode_with_pillow(data: bytes) -> RgbImage:
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as opened:
            _check_pixels(opened.height, opened.width)
            return np.asarray(_to_rgb(ImageOps.exif_transpose(opened)))
    except ImageTooLarge:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(
            f"the image has more than {MAX_PIXELS:,} pixels; send it smaller"
        ) from error
    except _PILLOW_FAILURES as error:
        raise UndecodableImage(
            f"{len(data):,} bytes are not an image that can be decoded; send a whole "
            "JPEG, PNG, WebP, GIF or BMP file"
        ) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        # convert() clips 16-bit grey to white above 255; keep its upper byte instead.
        high_byte = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255)
        image = Image.fromarray(high_byte.astype(np.uint8))
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    return image.convert("RGB")


def _check_pixels(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise ImageTooLarge(
            f"the image has {width} x {height} pixels, more than {MAX_PIXELS:,}; "
            "send it smaller"
        )
