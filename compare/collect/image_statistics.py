"""Brightness and colour of each image, kept for slices: the files may go."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from classifier.bundle.preprocessing import (
    ImageTooLarge,
    UndecodableImage,
    decode_image,
)
from classifier.images.decoding_cost import OWN_FILES_MEGAPIXELS
from classifier.storage import whole
from compare.statistics.slices import ImageFacts

IMAGES = "images.parquet"

LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601's weights of red, green and blue, as JPEG has them."""

GREY_SPREAD = 2
"""Largest distance, 0..255, between the channels of a pixel of a grey image. Rounding
needs it: a grey picture stored in colour as WebP has 1, and as JPEG none. A mean of 2
has also a white page with a small red stamp."""

Look = tuple[float, bool] | None
"""Mean luma, 0..255, and whether it is grey; None of what is no image."""


def look_at(
    names: Sequence[str],
    files: Sequence[Path],
    *,
    max_megapixels: float = OWN_FILES_MEGAPIXELS,
    until: Callable[[], bool],
) -> dict[str, Look]:
    """By name, from the first on, until `until` says yes.

    A file that is away now is left out: it may be back when it is looked for again.
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
    """Looks at what is neither `seen` nor kept, and keeps all.

    What it gives, and keeps, lacks those whose files are away.
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


def facts_of(folder: Path, names: Sequence[str]) -> ImageFacts | None:
    """Of these images, in their order; None where not all of them were looked at."""
    kept = _read(folder)
    if kept is None or not all(name in kept for name in names):
        return None
    looks = [kept[name] or (float("nan"), False) for name in names]
    return ImageFacts(
        brightness=np.array([brightness for brightness, _ in looks], np.float64),
        is_grey=np.array([is_grey for _, is_grey in looks], np.bool_),
    )


def _look(file: Path, max_megapixels: float) -> Look:
    """OSError where there is no such file, or nobody may read it."""
    data = file.read_bytes()
    try:
        image = decode_image(data, max_megapixels=max_megapixels)
    except (UndecodableImage, ImageTooLarge):
        return None
    # Plane by plane: numpy takes three times as long over an axis of three.
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
