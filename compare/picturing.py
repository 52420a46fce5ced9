"""What reports need of the image files themselves, kept while they are there."""

import logging
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from compare.comparison import Comparison
from compare.image_facts import Look, keep_looks, readable
from compare.images import Images
from compare.showing_order import showing_order
from compare.thumbnails import FILE, MOST, make_thumbnails
from compare.wording import say_images

logger = logging.getLogger(__name__)


def keep_pictures(
    folder: Path,
    images: Images,
    comparison: Comparison,
    *,
    seen: Mapping[str, Look],
) -> None:
    """images.parquet and thumbnails.parquet, unless they are there as they would be.

    `seen` is what was looked at already.
    """
    away = keep_looks(folder, images.names, images.files, seen)
    if away:
        logger.warning(
            "the files of %s are away: the report lacks their pictures, and slices; "
            "when they are back, the same command draws them",
            say_images(away),
        )
    order = showing_order(comparison)[:MOST]
    wanted = [comparison.names[row] for row in order]
    if _kept_names(folder) != readable(folder, wanted):
        file_of = dict(zip(images.names, images.files, strict=True))
        make_thumbnails(wanted, [file_of[name] for name in wanted]).save(folder)


def _kept_names(folder: Path) -> list[str] | None:
    """Of the thumbnails, without reading the 16 MB of them."""
    try:
        table = pq.read_table(folder / FILE, columns=["image"])
    except (OSError, KeyError, pa.ArrowInvalid):
        return None
    names: list[str] = table.to_pydict()["image"]
    return names
