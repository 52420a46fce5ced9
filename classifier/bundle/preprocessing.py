"""From the bytes of an image file to the uint8 RGB image a version was trained on."""

import struct
import zlib
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any, Literal, get_args

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps

from classifier.bundle.strict_json import fields_of, number, whole
from classifier.images.decoding_cost import (
    MEGAPIXELS,
    PIXEL_SECONDS,
    Format,
    TooCostly,
    extra_seconds,
    format_of,
)

RgbImage = NDArray[np.uint8]
"""Shape [H, W, 3], 0..255."""

FORMATS_IN_WORDS = "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF"
MOST_SIDE = 4096
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
    RuntimeError,
    struct.error,
    zlib.error,
)


class UndecodableImage(ValueError):
    """Bytes that are no image, a damaged one, or one made to keep its decoder busy."""


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
        if not (1 <= self.height <= MOST_SIDE and 1 <= self.width <= MOST_SIDE):
            raise ValueError(
                f"height and width must be 1..{MOST_SIDE}, "
                f"got {self.height}x{self.width}"
            )
        if self.resize != "bilinear-antialias" or self.color != "rgb":
            raise ValueError(
                f"unknown preprocessing {self.resize!r:.80}, {self.color!r:.80}"
            )
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError("mean and std must have 3 numbers, those of std above 0")

    @classmethod
    def from_json(cls, found: Any) -> "Preprocessing":
        """ValueError where a field is missing, wrong or not known."""
        names = ("height", "width", "mean", "std", "resize", "color")
        fields = fields_of(found, names)
        return cls(
            height=whole(fields["height"], "height", least=1, most=MOST_SIDE),
            width=whole(fields["width"], "width", least=1, most=MOST_SIDE),
            mean=_of_channels(fields["mean"], "mean"),
            std=_of_channels(fields["std"], "std"),
            resize=fields["resize"],
            color=fields["color"],
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def image(self, data: bytes, *, max_megapixels: float = MEGAPIXELS) -> RgbImage:
        """The image in a file's bytes, decoded and resized to [height, width, 3]."""
        image = decode_image(data, max_megapixels=max_megapixels)
        return resize(image, height=self.height, width=self.width)


def _of_channels(values: Any, name: str) -> tuple[float, float, float]:
    if not isinstance(values, list) or len(values) != 3:
        raise ValueError(f"{name} must be a list of 3 numbers, got {values!r:.80}")
    red, green, blue = (number(value, f"each number of {name}") for value in values)
    return red, green, blue


def is_image(data: bytes) -> bool:
    """Whether the bytes begin as a file of a format that is decoded."""
    return format_of(data) is not None


def decode_image(data: bytes, *, max_megapixels: float = MEGAPIXELS) -> RgbImage:
    """The image upright by its EXIF or XMP orientation, as RGB, without transparency.

    UndecodableImage or ImageTooLarge. Training and serving both decode here, so a
    version sees at answer time what it saw in training.
    """
    return check_image(data, max_megapixels=max_megapixels).decode()


@dataclass(slots=True)
class CheckedImage:
    """A file whose decoding is within bounds, not decoded yet."""

    pixels: int
    seconds: float
    """Core-seconds that decoding takes, about."""

    _data: bytes
    _max_megapixels: float
    _plain_jpeg: bool
    _opened: Image.Image | None

    def decode(self) -> RgbImage:
        """Once. UndecodableImage, ImageTooLarge."""
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
                return np.asarray(_to_rgb(ImageOps.exif_transpose(opened)))
        except _PILLOW_FAILURES as error:
            raise _undecodable(self._data) from error


def check_image(data: bytes, *, max_megapixels: float) -> CheckedImage:
    """Checks the file's structure, in a small part of the time that decoding takes.

    UndecodableImage or ImageTooLarge.
    """
    kind = format_of(data)
    if kind is None:
        raise _undecodable(data)
    try:
        extra = extra_seconds(data, kind, max_pixels=int(max_megapixels * 1e6))
    except TooCostly as error:
        raise UndecodableImage(str(error)) from error
    size = None if _may_be_turned(data) else _plain_jpeg_size(data)
    opened = None
    if size is None:
        opened = _open(data)
        size = opened.height, opened.width
    _check_pixels(*size, max_megapixels)
    pixels = size[0] * size[1]
    seconds = extra + pixels * PIXEL_SECONDS[kind]
    return CheckedImage(pixels, seconds, data, max_megapixels, opened is None, opened)


def resize(image: RgbImage, *, height: int, width: int) -> RgbImage:
    """The whole image stretched to [height, width, 3]: bilinear, antialiased."""
    if image.shape[:2] == (height, width):
        return image
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def is_plain_jpeg(data: bytes, *, height: int, width: int) -> bool:
    """Whether it is a JPEG in grey or colour, upright as it is, and of this size."""
    if format_of(data) != "JPEG" or _may_be_turned(data):
        return False
    return _plain_jpeg_size(data) == (height, width)


def _may_be_turned(data: bytes) -> bool:
    """Whether an orientation may stand in it, as Pillow finds it in EXIF and XMP."""
    return b"Exif\0\0" in data or b"tiff:Orientation" in data


def _plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Height and width by the file's head; None where Pillow should decode it."""
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
    except _PILLOW_FAILURES as error:
        raise _undecodable(data) from error


def _undecodable(data: bytes) -> UndecodableImage:
    return UndecodableImage(
        f"{len(data):,} bytes are not an image that can be decoded; send a whole "
        f"{FORMATS_IN_WORDS} file"
    )


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
