"""What reports need of the image files themselves, kept while they are there."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from compare.comparison import Comparison
from compare.image_facts import Look, facts_of, keep_looks
from compare.images import Images
from compare.showing_order import showing_order
from compare.thumbnails import FILE, MOST, make_thumbnails


def keep_pictures(
    folder: Path, images: Images, comparison: Comparison, *, looks: Sequence[Look] = ()
) -> None:
    """images.parquet and thumbnails.parquet, unless they are there as they would be.

    `looks` is what was seen already of the first images.
    """
    keep_looks(folder, images.names, images.files, looks)
    order = showing_order(comparison)[:MOST]
    wanted = [comparison.names[row] for row in order]
    if _kept_names(folder) != _readable(folder, wanted):
        file_of = dict(zip(images.names, images.files, strict=True))
        make_thumbnails(wanted, [file_of[name] for name in wanted]).save(folder)


def _readable(folder: Path, names: Sequence[str]) -> list[str]:
    facts = facts_of(folder, names)
    assert facts is not None, "they were looked at just now"
    return [
        names[place] for place in np.flatnonzero(np.isfinite(facts.brightness)).tolist()
    ]


def _kept_names(folder: Path) -> list[str] | None:
    """Of the thumbnails, without reading the 16 MB of them."""
    try:
        table = pq.read_table(folder / FILE, columns=["image"])
    except (OSError, KeyError, pa.ArrowInvalid):
        return None
    names: list[str] = table.to_pydict()["image"]
    return names
