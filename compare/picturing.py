"""What reports need of the image files themselves, kept while they are there."""

import logging
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from classifier.decoding_cost import OWN_FILES_MEGAPIXELS
from compare.comparison import Comparison
from compare.image_facts import Look, keep_looks
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
    max_megapixels: float = OWN_FILES_MEGAPIXELS,
) -> None:
    """images.parquet and thumbnails.parquet, unless they are there as they would be.

    `seen` is what was looked at already.
    """
    looks = keep_looks(
        folder, images.names, images.files, seen, max_megapixels=max_megapixels
    )
    shown = [comparison.names[row] for row in showing_order(comparison)[:MOST]]
    pictured = [name for name in shown if looks.get(name) is not None]
    kept = _kept_names(folder)
    if kept is None or kept != pictured:
        file_of = dict(zip(images.names, images.files, strict=True))
        thumbnails = make_thumbnails(
            pictured,
            [file_of[name] for name in pictured],
            max_megapixels=max_megapixels,
        )
        thumbnails.save(folder)
        kept = list(thumbnails.names)
    # Of slices, which need labels, each image is a part.
    needed = comparison.names if comparison.labelled else shown
    away = {name for name in needed if name not in looks} | {*pictured} - {*kept}
    if away:
        logger.warning(
            "the files of %s are away, and the report lacks what they would show; the "
            "same command, when they are back, draws it",
            say_images(len(away)),
        )


def _kept_names(folder: Path) -> list[str] | None:
    """Of the thumbnails, without reading the 16 MB of them."""
    try:
        table = pq.read_table(folder / FILE, columns=["image"])
    except (OSError, KeyError, pa.ArrowInvalid):
        return None
    names: list[str] = table.to_pydict()["image"]
    return names
