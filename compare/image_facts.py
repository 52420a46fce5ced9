"""Brightness and colour of each image, kept for slices: the files may go."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from classifier.preprocessing import (
    ImageTooLarge,
    UndecodableImage,
    decode_image,
)
from compare.facts import ImageFacts
from compare.whole import whole

IMAGES = "images.parquet"

LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601's weights of red, green and blue, as JPEG has them."""

GREY_SPREAD = 2.0
"""Mean distance, 0..255, between an image's channels up to which it counts as grey:
JPEG leaves grey pictures that were stored in colour a little of it."""

Look = tuple[float, bool] | None
"""Mean luma, 0..255, and whether it is grey; None of what cannot be read."""


def look_at(files: Iterable[Path], *, until: Callable[[], bool]) -> list[Look]:
    """At the first of them, until `until` says yes; one at a time is in memory."""
    return [_look(file) for file in takewhile(lambda _: not until(), files)]


def keep_looks(
    folder: Path, names: Sequence[str], files: Sequence[Path], first: Sequence[Look]
) -> None:
    """Looks at the images after `first`, and keeps what is seen, if it is not kept."""
    kept = _read(folder)
    if kept is None or list(kept) != list(names):
        _write(folder, names, [*first, *map(_look, files[len(first) :])])


def facts_of(folder: Path, names: Sequence[str]) -> ImageFacts | None:
    """Of these images, in their order; None where nothing was kept of all of them."""
    kept = _read(folder)
    if kept is None or not all(name in kept for name in names):
        return None
    looks = [kept[name] or (float("nan"), False) for name in names]
    return ImageFacts(
        brightness=np.array([brightness for brightness, _ in looks], np.float64),
        is_grey=np.array([is_grey for _, is_grey in looks], np.bool_),
    )


def _look(file: Path) -> Look:
    try:
        image = decode_image(file.read_bytes())
    except (OSError, UndecodableImage, ImageTooLarge):
        return None
    # Plane by plane: numpy takes three times as long over an axis of three.
    planes = np.ascontiguousarray(image.reshape(-1, 3).T)  # [3, pixels]
    # The mean of a weighted sum is the weighted sum of the means.
    luma = planes.sum(axis=1, dtype=np.uint64) @ LUMA / planes.shape[1]
    spread = (planes.max(axis=0) - planes.min(axis=0)).mean()
    return float(luma), bool(spread <= GREY_SPREAD)


def _write(folder: Path, names: Sequence[str], looks: Sequence[Look]) -> None:
    brightness = [None if look is None else look[0] for look in looks]
    is_grey = [None if look is None else look[1] for look in looks]
    table = pa.table(
        {
            "image": pa.array(names, pa.string()),
            "brightness": pa.array(brightness, pa.float64()),
            "is_grey": pa.array(is_grey, pa.bool_()),
        }
    )
    with whole(folder / IMAGES) as partial:
        pq.write_table(table, partial)


def _read(folder: Path) -> Mapping[str, Look] | None:
    """By image name; None where the folder has none, or no whole file of them."""
    try:
        rows = pq.read_table(folder / IMAGES).to_pylist()
        return {
            row["image"]: None
            if row["brightness"] is None
            else (row["brightness"], row["is_grey"])
            for row in rows
        }
    except (OSError, KeyError, pa.ArrowInvalid):
        return None
