"""The report's gallery: thumbnails in sprite sheets, and answers as compact columns."""

import base64
import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
from PIL import Image

from classifier.console.text import printable
from classifier.hardware import usable_cores
from classifier.images.decoding import (
    ImageTooLarge,
    RgbImage,
    UndecodableImage,
    decode_image,
    is_plain_jpeg,
)
from classifier.images.decoding_cost import OWN_FILES_MEGAPIXELS
from classifier.storage import atomic_write
from compare.collect.image_statistics import Look, keep_looks
from compare.collect.images import Images
from compare.results.comparison import Comparison
from compare.results.image_order import CATEGORIES, showing_order
from compare.results.wording import say_images
from compare.statistics.calibration import tenth
from compare.statistics.top_five import IntArray, TopFive

TILE = 64
"""Edge in pixels: a multiple of 16, so that no JPEG block of a sheet has two images."""

TILES_ACROSS = 16
TILES_PER_SHEET = TILES_ACROSS**2
"""A sheet is 1024 x 1024; browsers decode it when its first image is shown."""

MOST = 8000
MOST_SHEET_BYTES = 6_300_000
"""8.4 MB in base64: with 1.1 MB for 10,000 answers a report stays below 10 MB."""

TILE_QUALITY = 88
SHEET_QUALITIES = (75, 60, 45)
"""The best quality at which all tiles fit is used: up to 4,700, 5,400 or 7,600 images
of Tiny ImageNet."""

MOST_FILE_BYTES = 8192
FILE = "thumbnails.parquet"
TYPES: list[Any] = [("image", pa.string()), ("tile", pa.binary())]  # no common stub
COLUMNS = pa.schema(TYPES)
ROWS_AT_ONCE = 500
"""Rows of the file in memory: all are 16 MB, which pyarrow holds twice and keeps."""

GROUND = 127
"""The grey around images that are not square."""


@dataclass(frozen=True)
class Thumbnails:
    """A JPEG of 64 x 64 pixels for each image name."""

    names: tuple[str, ...]
    tiles: tuple[bytes, ...]

    def save(self, folder: Path) -> None:
        with (
            atomic_write(folder / FILE) as partial,
            pq.ParquetWriter(
                partial, COLUMNS, compression="none", use_dictionary=False
            ) as file,
        ):
            for start in range(0, len(self.names), ROWS_AT_ONCE):
                rows = slice(start, start + ROWS_AT_ONCE)
                columns = {"image": self.names[rows], "tile": self.tiles[rows]}
                file.write_table(pa.table(columns, COLUMNS))

    @classmethod
    def load(cls, folder: Path) -> "Thumbnails | None":
        """None if the folder has no readable file of them."""
        names: list[str] = []
        tiles: list[bytes] = []
        try:
            with pq.ParquetFile(folder / FILE, pre_buffer=False) as file:
                for batch in file.iter_batches(ROWS_AT_ONCE):
                    columns: dict[str, list[Any]] = batch.to_pydict()
                    names += columns["image"]
                    tiles += columns["tile"]
        except (OSError, KeyError, pa.ArrowInvalid):
            return None
        return cls(tuple(names), tuple(tiles))


def make_thumbnails(
    names: Iterable[str],
    files: Iterable[Path],
    *,
    max_megapixels: float = OWN_FILES_MEGAPIXELS,
    most: int = MOST,
) -> Thumbnails:
    """Thumbnails of the first `most` images that can be read."""
    kept: dict[str, bytes] = {}
    for name, file in islice(zip(names, files, strict=True), most):
        try:
            kept[name] = _tile(file.read_bytes(), max_megapixels)
        except (OSError, UndecodableImage, ImageTooLarge):
            continue  # a report without one of its pictures is still a report
    return Thumbnails(tuple(kept), tuple(kept.values()))


def sprite_sheets(
    tiles: Sequence[bytes], *, most_bytes: int = MOST_SHEET_BYTES
) -> list[bytes]:
    """JPEGs of up to 256 tiles each, row by row, at most `most_bytes` in all."""
    groups = [
        tiles[start : start + TILES_PER_SHEET]
        for start in range(0, len(tiles), TILES_PER_SHEET)
    ]
    with ThreadPoolExecutor(usable_cores()) as pool:
        by_sheet = list(pool.map(_at_each_quality, groups))
    fitting: list[bytes] = []
    for sheets in zip(*by_sheet, strict=True):
        sizes = accumulate(map(len, sheets))
        fitting = [
            s for s, size in zip(sheets, sizes, strict=True) if size <= most_bytes
        ]
        if len(fitting) == len(groups):
            break
    return fitting


def _at_each_quality(tiles: Sequence[bytes]) -> list[bytes]:
    """One sheet as JPEG of each quality; its 3 MB of pixels are freed at the end."""
    sheet = _sheet(tiles)
    return [_jpeg(sheet, quality) for quality in SHEET_QUALITIES]


def _sheet(tiles: Sequence[bytes]) -> RgbImage:
    rows = -(-len(tiles) // TILES_ACROSS)
    sheet = np.full((rows * TILE, TILES_ACROSS * TILE, 3), GROUND, np.uint8)
    for place, tile in enumerate(tiles):
        y, x = (TILE * step for step in divmod(place, TILES_ACROSS))
        with suppress(UndecodableImage):  # a truncated file, whose head was readable
            sheet[y : y + TILE, x : x + TILE] = decode_image(tile, max_megapixels=1)
    return sheet


def _tile(data: bytes, max_megapixels: float) -> bytes:
    if _is_tile(data):
        return data
    image = Image.fromarray(decode_image(data, max_megapixels=max_megapixels))
    return _jpeg(np.asarray(_square(image)), TILE_QUALITY)


def _is_tile(data: bytes) -> bool:
    """Whether a file is a JPEG of a tile's size already, and is used unchanged."""
    if len(data) > MOST_FILE_BYTES:
        return False
    return is_plain_jpeg(data, height=TILE, width=TILE)


def _square(image: Image.Image) -> Image.Image:
    """The image on a square tile; tiny images are enlarged without smoothing."""
    factor = TILE // max(image.size)
    if factor > 1:
        size = (factor * image.width, factor * image.height)
        image = image.resize(size, Image.Resampling.NEAREST)
    else:
        shrink = TILE / max(image.size)
        width, height = (max(1, round(shrink * edge)) for edge in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (TILE, TILE), (GROUND,) * 3)
    tile.paste(image, ((TILE - image.width) // 2, (TILE - image.height) // 2))
    return tile


def _jpeg(pixels: RgbImage, quality: int) -> bytes:
    encoded: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels), quality=quality, colorsubsampling="420"
    )
    return encoded


MOST_IMAGES = 10_000
"""1.1 MB of answers. With more images the least informative are left out; the page
shows their number."""

PARTS = 10_000
"""Probabilities are integers of ten thousandths; per_image.parquet has all digits."""


@dataclass(frozen=True)
class Gallery:
    """The JSON document of the answers, and sprite sheets in base64."""

    data: Mapping[str, Any]  # columns of text and numbers, read by scripts alone
    sheets: tuple[str, ...]
    rows: Mapping[str, int]
    """Image name -> its row in the gallery."""


def make_gallery(
    comparison: Comparison,
    thumbnails: Thumbnails | None,
    *,
    most: int = MOST_IMAGES,
) -> Gallery:
    """A gallery of the `most` most informative images, in the data's order."""
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
    """Flat columns, [N, 5] -> [5 N], and the tenth of the first confidence, [N].

    The index is -1 if there is no answer.
    """
    parts = np.rint(np.nan_to_num(top.probabilities[kept]) * PARTS).astype(np.int64)
    return {
        # Not computed by the page: a rounded probability may fall into another tenth.
        f"{side}_tenth": tenth(top.probabilities[kept, 0]).tolist(),
        f"{side}_index": top.indices[kept].ravel().tolist(),
        f"{side}_parts": parts.ravel().tolist(),
    }


def _tiles(
    thumbnails: Thumbnails | None, names: Sequence[str]
) -> tuple[list[int], tuple[str, ...]]:
    """For each image its tile's place in the sheets, or -1; and the sheets."""
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


logger = logging.getLogger(__name__)


def keep_pictures(
    folder: Path,
    images: Images,
    comparison: Comparison,
    *,
    seen: Mapping[str, Look],
    max_megapixels: float = OWN_FILES_MEGAPIXELS,
) -> None:
    """Write images.parquet and thumbnails.parquet, unless they are complete.

    `seen` has the images that were measured already.
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
    # Slices, which need labels, need every image.
    needed = comparison.names if comparison.labelled else shown
    away = {name for name in needed if name not in looks} | {*pictured} - {*kept}
    if away:
        logger.warning(
            "the files of %s cannot be read, so the report lacks their pictures; run "
            "the same command again when they are back",
            say_images(len(away)),
        )


def _kept_names(folder: Path) -> list[str] | None:
    """Names of the kept thumbnails, without reading their 16 MB; None if unreadable."""
    try:
        table = pq.read_table(folder / FILE, columns=["image"])
    except (OSError, KeyError, pa.ArrowInvalid):
        return None
    names: list[str] = table.to_pydict()["image"]
    return names
