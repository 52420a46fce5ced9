"""What the report's gallery knows of each image: columns, not rows, to be small."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from classifier.plain_text import printable
from compare.agreement import IntArray, TopFive
from compare.calibration import tenth
from compare.comparison import Comparison
from compare.showing_order import CATEGORIES, showing_order
from compare.thumbnails import TILE, TILES_ACROSS, Thumbnails, sprite_sheets

MOST_IMAGES = 10_000
"""1.1 MB of answers; of more images the least telling are left out, and counted."""

PARTS = 10_000
"""Probabilities are sent as whole ten thousandths; per_image.parquet has all digits."""


@dataclass(frozen=True)
class Gallery:
    """Answers as JSON takes them, and sprite sheets in base64."""

    data: Mapping[str, Any]
    sheets: tuple[str, ...]
    rows: Mapping[str, int]
    """Image name -> its place in the gallery."""


def make_gallery(
    comparison: Comparison,
    thumbnails: Thumbnails | None,
    *,
    most: int = MOST_IMAGES,
) -> Gallery:
    """Of the `most` most telling images, in the data's order."""
    kept = np.sort(showing_order(comparison)[:most])
    names = [comparison.names[row] for row in kept]
    tile_of, sheets = _tiles(thumbnails, names)
    labels, labelled = comparison.labels, comparison.labelled
    data = {
        "labelled": labelled,
        "left_out": len(comparison.names) - len(kept),
        "class_ids": [printable(class_id) for class_id in labels.ids],
        "class_names": [printable(name) for name in labels.names],
        "categories": list(CATEGORIES),
        "parts": PARTS,
        "tile": TILE,
        "tiles_across": TILES_ACROSS,
        "name": [printable(name) for name in names],
        "target": comparison.targets[kept].tolist() if labelled else [],
        "category": _category_codes(comparison, kept) if labelled else [],
        "tile_of": tile_of,
        **_columns("a", comparison.a, kept),
        **_columns("b", comparison.b, kept),
    }
    places = {name: place for place, name in enumerate(names)}
    return Gallery(data, sheets, places)


def _category_codes(comparison: Comparison, kept: IntArray) -> list[int]:
    code = {name: number for number, name in enumerate(CATEGORIES)}
    categories = comparison.categories()
    return [code[categories[row]] for row in kept]


def _columns(side: str, top: TopFive, kept: IntArray) -> dict[str, list[int]]:
    """Five numbers an image, one image after the other; index -1 where there is none.

    [N, 5] -> [5 N]; and one of the first answer.
    """
    parts = np.rint(np.nan_to_num(top.probabilities[kept]) * PARTS).astype(np.int64)
    return {
        # Not left to the page: rounded probabilities may be on the edge of a tenth.
        f"{side}_tenth": tenth(top.probabilities[kept, 0]).tolist(),
        f"{side}_index": top.indices[kept].ravel().tolist(),
        f"{side}_parts": parts.ravel().tolist(),
    }


def _tiles(
    thumbnails: Thumbnails | None, names: Sequence[str]
) -> tuple[list[int], tuple[str, ...]]:
    """Of each image its tile's place in the sheets, or -1; and the sheets."""
    if thumbnails is None:
        return [-1] * len(names), ()
    known = set(names)
    pairs = zip(thumbnails.names, thumbnails.tiles, strict=True)
    tiles = {name: tile for name, tile in pairs if name in known}
    sheets = sprite_sheets(list(tiles.values()))
    shown = len(sheets) * TILES_ACROSS**2
    places = {name: place for place, name in enumerate(tiles) if place < shown}
    encoded = tuple(base64.b64encode(sheet).decode("ascii") for sheet in sheets)
    return [places.get(name, -1) for name in names], encoded
