"""Resizing of a decoded image to the height and width that a version sees."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from classifier.images.decoding import RgbImage

Filter = Literal["bilinear-antialias", "bicubic-antialias"]

_FILTERS = {
    "bilinear-antialias": Image.Resampling.BILINEAR,
    "bicubic-antialias": Image.Resampling.BICUBIC,
}

_LONG = 4
"""Long side in short sides from which only the crop's part is resized. The whole of
1 x 65,535 pixels at 256 would take 13 GB."""


@dataclass(frozen=True, slots=True)
class Resizing:
    """A stretch to height and width, or a centre crop of them. Usable as a key."""

    height: int
    width: int
    resize: Filter = "bilinear-antialias"
    resize_to: int | None = None
    """Length of the shorter side before the centre is cut out; None stretches. At least
    height and width."""

    def __call__(self, image: RgbImage) -> RgbImage:
        """The image as [height, width, 3]; the same array if nothing changes.

        A crop equals torchvision's Resize(resize_to) and CenterCrop.
        """
        if self.resize_to is None:
            return self._resized(image, self.height, self.width)
        height, width = image.shape[:2]
        if max(height, width) > _LONG * min(height, width):
            return self._crop_of_long(image)
        height, width = _resized_sides(height, width, self.resize_to)
        resized = self._resized(image, height, width)
        # Corners as torchvision rounds them, to even.
        top = round((height - self.height) / 2)
        left = round((width - self.width) / 2)
        crop = resized[top : top + self.height, left : left + self.width]
        return np.ascontiguousarray(crop)

    def _resized(self, image: RgbImage, height: int, width: int) -> RgbImage:
        if image.shape[:2] == (height, width):
            return image
        resampling = _FILTERS[self.resize]
        return np.asarray(Image.fromarray(image).resize((width, height), resampling))

    def _crop_of_long(self, image: RgbImage) -> RgbImage:
        """Resizes the crop's place alone. It differs from the whole by a few of 255.

        Pillow has the place in float32, so its weights differ in the last digits.
        """
        assert self.resize_to is not None
        height, width = image.shape[:2]
        high, wide = _resized_sides(height, width, self.resize_to)
        top, left = round((high - self.height) / 2), round((wide - self.width) / 2)
        y, x = height / high, width / wide
        box = (left * x, top * y, (left + self.width) * x, (top + self.height) * y)
        place = (*box[:2], min(box[2], width), min(box[3], height))
        resized = Image.fromarray(image).resize(
            (self.width, self.height), _FILTERS[self.resize], place
        )
        return np.asarray(resized)


def _resized_sides(height: int, width: int, shorter: int) -> tuple[int, int]:
    """Height and width with `shorter` as the shorter side; the longer rounds down."""
    if height <= width:
        return shorter, int(shorter * width / height)
    return int(shorter * height / width), shorter
