"""Brightness and colour of each image, for slices; kept, as the files may go."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from classifier.preprocessing import (
    ImageTooLarge,
    RgbImage,
    UndecodableImage,
    decode_image,
)

IMAGES = "images.parquet"

LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601's weights of red, green and blue, as JPEG has them."""

GREY_SPREAD = 2.0
"""Mean distance, 0..255, between an image's channels up to which it counts as grey:
JPEG leaves grey pictures that were stored in colour a little of it."""


@dataclass(frozen=True)
class ImageFacts:
    """Of N images; NaN and None for one that cannot be read."""

    names: tuple[str, ...]
    brightness: NDArray[np.float64]
    """Mean luma, 0..255."""

    is_grey: tuple[bool | None, ...]

    def save(self, folder: Path) -> None:
        unread = np.isnan(self.brightness)
        table = pa.table(
            {
                "image": pa.array(self.names, pa.string()),
                "brightness": pa.array(
                    np.nan_to_num(self.brightness), pa.float64(), mask=unread
                ),
                "is_grey": pa.array(self.is_grey, pa.bool_()),
            }
        )
        partial = folder / f"{IMAGES}.partial"
        pq.write_table(table, partial)
        partial.replace(folder / IMAGES)

    @classmethod
    def load(cls, folder: Path) -> "ImageFacts | None":
        """None where the folder has none, or no whole file of them."""
        try:
            table = pq.read_table(folder / IMAGES)
            return cls(
                tuple(table["image"].to_pylist()),
                table["brightness"].to_numpy().astype(np.float64),
                tuple(table["is_grey"].to_pylist()),
            )
        except (OSError, KeyError, pa.ArrowInvalid):
            return None


def look_at_images(names: Sequence[str], files: Sequence[Path]) -> ImageFacts:
    """Decodes them one after the other, so that only one is in memory."""
    seen = [_look(file) for file in files]
    return ImageFacts(
        tuple(names),
        np.array([brightness for brightness, _ in seen], np.float64),
        tuple(is_grey for _, is_grey in seen),
    )


def _look(file: Path) -> tuple[float, bool | None]:
    try:
        image = decode_image(file.read_bytes())
    except (OSError, UndecodableImage, ImageTooLarge):
        return float("nan"), None
    # The mean of a weighted sum is the weighted sum of the means.
    brightness = float(image.mean(axis=(0, 1)) @ LUMA)
    return brightness, _spread(image) <= GREY_SPREAD


def _spread(image: RgbImage) -> float:
    return float((image.max(axis=2) - image.min(axis=2)).mean())
