"""The document of a matrix, and its four forms: JSON, CSV, a page, printed lines."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from classifier.console.text import csv_row, page_text
from classifier.storage import write_json, write_text
from compare.collect.schema import is_file_name
from compare.report.terminal import WIDTH, wrap
from compare.results.wording import ABSENT, plain, say
from compare.statistics.measure import Estimate

SCHEMA = 1


@dataclass(frozen=True)
class MatrixData:
    name: str | None
    digest: str | None


@dataclass(frozen=True)
class MatrixVersion:
    version: str
    run_id: str | None
    epoch: int | None
    aliases: tuple[str, ...]
    top1: Estimate
    top5: Estimate


@dataclass(frozen=True)
class MatrixPair:
    """Two versions, the baseline `a` first; differences are b - a."""

    a: str
    b: str
    images: int
    disagreement_rate: float | None
    broken: int
    fixed: int
    delta: Estimate
    mcnemar_mid_p: float


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """matrix.json, key by key: rates are fractions, 0..1; 0/0 is null."""

    schema: int = SCHEMA
    model: str | None
    """None if versions of several models or files are among them."""

    data: MatrixData
    images: int
    notes: tuple[str, ...]
    versions: tuple[MatrixVersion, ...]
    """In the order in which they were named."""

    pairs: tuple[MatrixPair, ...]
    """Each two versions once, in the same order."""


PAGE, JSON, CSV = "matrix.html", "matrix.json", "matrix.csv"

COLUMNS = (
    *("a", "b", "images", "disagreement_rate", "broken", "fixed"),
    *("delta", "low", "high", "mid_p"),
)


def shown_entry(name: str) -> str:
    """`v8` of the number 8; a file's name, or `birds/v8`, as it is."""
    return name if is_file_name(name) or "/" in name else f"v{name}"


def write_matrix(folder: Path, matrix: Matrix) -> None:
    write_json(folder / JSON, asdict(matrix))
    write_text(folder / CSV, matrix_csv(matrix))
    write_text(folder / PAGE, matrix_html(matrix))


def matrix_csv(matrix: Matrix) -> str:
    """One row a pair; a value that does not exist is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for pair in matrix.pairs:
        row = {**asdict(pair), **asdict(pair.delta), "delta": pair.delta.value}
        row["mid_p"] = pair.mcnemar_mid_p
        writer.writerow(csv_row(row[column] for column in COLUMNS))
    return text.getvalue()


def matrix_lines(matrix: Matrix, folder: Path) -> list[str]:
    names = [shown_entry(version.version) for version in matrix.versions]
    data = f" of {matrix.data.name}" if matrix.data.name else ""
    title = (
        f"{matrix.model or 'several models'}: {len(names)} versions on "
        f"{matrix.images:,} validation images{data}"
    )
    notes = [line for note in matrix.notes for line in wrap(f"Note: {note}.")]
    head = [*wrap(title), *notes, "", *_version_lines(matrix, names)]
    square = [
        *("", "first answers that differ, % of the images:"),
        *_square(names, churn_cells(matrix)),
        *("", "broken: right in the row's version, wrong in the column's, %:"),
        *_square(names, flip_cells(matrix)),
    ]
    if max(map(len, square)) > WIDTH:
        square = []  # too wide for a terminal; the page has them
    return [
        *head,
        *square,
        "",
        f"all pairs with intervals: {folder}/matrix.html, matrix.csv",
    ]


def churn_cells(matrix: Matrix) -> list[list[float | None]]:
    """[row][column]: share of images whose first answers differ, 0..1.

    The same across the diagonal, which is None.
    """
    cells = _empty_cells(matrix)
    for a, b, pair in _placed_pairs(matrix):
        cells[a][b] = cells[b][a] = pair.disagreement_rate
    return cells


def flip_cells(matrix: Matrix) -> list[list[float | None]]:
    """[row][column]: share of images right in the row's version, wrong in the column's.

    None on the diagonal, and everywhere if there are no images.
    """
    cells = _empty_cells(matrix)
    for a, b, pair in _placed_pairs(matrix):
        if pair.images:
            cells[a][b] = pair.broken / pair.images
            cells[b][a] = pair.fixed / pair.images
    return cells


def _empty_cells(matrix: Matrix) -> list[list[float | None]]:
    count = len(matrix.versions)
    return [[None] * count for _ in range(count)]


def _placed_pairs(matrix: Matrix) -> list[tuple[int, int, MatrixPair]]:
    place_of = {v.version: place for place, v in enumerate(matrix.versions)}
    return [(place_of[pair.a], place_of[pair.b], pair) for pair in matrix.pairs]


def _version_lines(matrix: Matrix, names: Sequence[str]) -> list[str]:
    """Accuracy of each version, and its change against the one named before it."""
    pairs = {(pair.a, pair.b): pair for pair in matrix.pairs}
    width = max(8, *map(len, names))
    lines = [
        f"{'':{width}} first right  among five   change against the one before, points"
    ]
    before = None
    for name, version in zip(names, matrix.versions, strict=True):
        change = ""
        if before is not None:
            delta = pairs[before, version.version].delta
            low, high = plain(delta.low, "points"), plain(delta.high, "points")
            change = f"{plain(delta.value, 'points')}  [{low}, {high}]"
        top1 = plain(version.top1.value, "percent")
        top5 = plain(version.top5.value, "percent")
        lines.append(f"{name:{width}}{top1:>12}{top5:>12}   {change}".rstrip())
        before = version.version
    return lines


def _square(names: Sequence[str], cells: Sequence[Sequence[float | None]]) -> list[str]:
    """One decimal if it fits the width: flips may be few."""
    least = max(map(len, names)) + 1
    width = max(least, 6) if (len(names) + 1) * 6 <= WIDTH else max(least, 4)
    digits = 1 if width >= 6 else 0
    lines = ["".join(f"{text:>{width}}" for text in ("", *names))]
    for name, row in zip(names, cells, strict=True):
        texts = (ABSENT if cell is None else f"{100 * cell:.{digits}f}" for cell in row)
        lines.append("".join(f"{text:>{width}}" for text in (name, *texts)))
    return lines


@dataclass(frozen=True)
class HeatMap:
    """Versions by versions."""

    kind: str
    label: str
    title: str
    """Title of a cell, with places for row, column and value."""

    cells: Sequence[Sequence[float | None]]
    """[row][column], shares; the diagonal is None."""

    @property
    def largest(self) -> float:
        known = (cell for row in self.cells for cell in row if cell is not None)
        return max(known, default=0.0)


def matrix_html(matrix: Matrix) -> str:
    """One file that needs no network; the heat maps are SVG."""
    environment = Environment(
        loader=PackageLoader("compare.matrix", ""),
        autoescape=True,  # names of models and data sets are others' text
        finalize=page_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["say"] = say
    environment.filters["shown"] = shown_entry
    maps = [
        HeatMap(
            "churn",
            "Share of images whose first answers differ",
            "{row} and {column} differ on {value} of the images",
            churn_cells(matrix),
        ),
        HeatMap(
            "flips",
            "Share of images that the row's version gets right and the column's wrong",
            "right in {row}, wrong in {column}: {value} of the images",
            flip_cells(matrix),
        ),
    ]
    return environment.get_template("matrix.html.j2").render(
        matrix=matrix,
        names=[shown_entry(version.version) for version in matrix.versions],
        maps=maps,
        best=max((v.top1.high or 0 for v in matrix.versions), default=0) or 1,
    )
