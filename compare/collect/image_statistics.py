"""Brightness and colour of each image, kept for slices when the files are gone."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from classifier.images.decoding import ImageTooLarge, UndecodableImage, decode_image
from classifier.images.decoding_cost import OWN_FILES_MEGAPIXELS
from classifier.storage import atomic_write
from compare.statistics.slices import ImageFacts

IMAGES = "images.parquet"

LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601's weights of red, green and blue, as JPEG has them."""

GREY_SPREAD = 2
"""Largest difference, 0..255, between the channels of a grey image's pixels. It allows
for rounding: a grey picture stored in colour has 1 as WebP and 0 as JPEG. A mean over
pixels would not do: a white page with a small red stamp has a mean of 2."""

Look = tuple[float, bool] | None
"""Mean luma, 0..255, and whether the image is grey; None if it cannot be decoded."""


def look_at(
    names: Sequence[str],
    files: Sequence[Path],
    *,
    max_megapixels: float = OWN_FILES_MEGAPIXELS,
    until: Callable[[], bool],
) -> dict[str, Look]:
    """Looks by image name, from the first image until `until()` is true.

    A file that cannot be read is left out; a later run may find it.
    """
    looks: dict[str, Look] = {}
    for name, file in zip(names, files, strict=True):
        if until():
            break
        with suppress(OSError):
            looks[name] = _look(file, max_megapixels)
    return looks


def keep_looks(
    folder: Path,
    names: Sequence[str],
    files: Sequence[Path],
    seen: Mapping[str, Look],
    *,
    max_megapixels: float = OWN_FILES_MEGAPIXELS,
) -> Mapping[str, Look]:
    """Add the looks that are neither `seen` nor kept, and keep all.

    Images whose files cannot be read are missing from the result.
    """
    kept = _read(folder) or {}
    file_of = dict(zip(names, files, strict=True))
    unseen = [name for name in names if name not in kept and name not in seen]
    new = look_at(
        unseen,
        [file_of[name] for name in unseen],
        max_megapixels=max_megapixels,
        until=lambda: False,
    )
    known = {**seen, **new, **kept}
    looks = {name: known[name] for name in names if name in known}
    if list(looks) != list(kept):
        _write(folder, looks)
    return looks


def join_looks(folder: Path, parts: Sequence[Path], names: Sequence[str]) -> None:
    """Keep the looks that are kept in other folders, in the order of `names`."""
    known: dict[str, Look] = {}
    for part in parts:
        known |= _read(part) or {}
    _write(folder, {name: known[name] for name in names if name in known})


def facts_of(folder: Path, names: Sequence[str]) -> ImageFacts | None:
    """Statistics of `names`, in their order; None if one of them is missing."""
    kept = _read(folder)
    if kept is None or not all(name in kept for name in names):
        return None
    looks = [kept[name] or (float("nan"), False) for name in names]
    return ImageFacts(
        brightness=np.array([brightness for brightness, _ in looks], np.float64),
        is_grey=np.array([is_grey for _, is_grey in looks], np.bool_),
    )


def _look(file: Path, max_megapixels: float) -> Look:
    """Raises OSError if the file cannot be read."""
    data = file.read_bytes()
    try:
        image = decode_image(data, max_megapixels=max_megapixels)
    except (UndecodableImage, ImageTooLarge):
        return None
    # Plane by plane: numpy takes three times as long along an axis of length 3.
    planes = np.ascontiguousarray(image.reshape(-1, 3).T)  # [3, pixels]
    # The mean of a weighted sum is the weighted sum of the means.
    luma = planes.sum(axis=1, dtype=np.uint64) @ LUMA / planes.shape[1]
    spread = (planes.max(axis=0) - planes.min(axis=0)).max()
    return float(luma), bool(spread <= GREY_SPREAD)


def _write(folder: Path, looks: Mapping[str, Look]) -> None:
    brightness = [None if look is None else look[0] for look in looks.values()]
    is_grey = [None if look is None else look[1] for look in looks.values()]
    table = pa.table(
        {
            "image": pa.array(list(looks), pa.string()),
            "brightness": pa.array(brightness, pa.float64()),
            "is_grey": pa.array(is_grey, pa.bool_()),
        }
    )
    with atomic_write(folder / IMAGES) as partial:
        pq.write_table(table, partial)


def _read(folder: Path) -> Mapping[str, Look] | None:
    """The kept looks by image name; None if there is no whole file of them."""
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
