"""The matrix in a terminal: tables of 80 columns, readable in a pipe."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from classifier.plain_text import printable
from compare.terminal_words import WIDTH, percent, points, wrap
from compare.wording import ABSENT


def print_matrix(matrix: Mapping[str, Any], folder: Path) -> None:
    print("\n".join(map(printable, matrix_lines(matrix, folder))), flush=True)


def matrix_lines(matrix: Mapping[str, Any], folder: Path) -> list[str]:
    names = [f"v{version['version']}" for version in matrix["versions"]]
    data = f" of {matrix['data']['name']}" if matrix["data"]["name"] else ""
    said = (
        f"{matrix['model']}: {len(names)} versions on {matrix['images']:,} validation "
        f"images{data}"
    )
    notes = [line for n in matrix["notes"] for line in wrap(f"Note: {n}.")]
    head = [*wrap(said), *notes, "", *_version_lines(matrix, names)]
    square = [
        *("", "first answers that differ, % of the images:"),
        *_square(names, churn_cells(matrix)),
        *("", "broken: right in the row's version, wrong in the column's, %:"),
        *_square(names, flip_cells(matrix)),
    ]
    if max(map(len, square)) > WIDTH:
        square = []  # too many, or with long names: the page has them
    return [
        *head,
        *square,
        "",
        f"each two with intervals: {folder}/matrix.html, matrix.csv",
    ]


def churn_cells(matrix: Mapping[str, Any]) -> list[list[float | None]]:
    """[row][column]: the share of images whose first answers differ; None with itself.

    Fractions, 0..1; the same across the diagonal.
    """
    cells = _empty_cells(matrix)
    for a, b, pair in _placed_pairs(matrix):
        cells[a][b] = cells[b][a] = pair["disagreement_rate"]
    return cells


def flip_cells(matrix: Mapping[str, Any]) -> list[list[float | None]]:
    """[row][column]: the share of images that the row's version gets right and the
    column's wrong; None with itself, or where there are no images."""
    cells = _empty_cells(matrix)
    for a, b, pair in _placed_pairs(matrix):
        if pair["images"]:
            cells[a][b] = pair["broken"] / pair["images"]
            cells[b][a] = pair["fixed"] / pair["images"]
    return cells


def _empty_cells(matrix: Mapping[str, Any]) -> list[list[float | None]]:
    count = len(matrix["versions"])
    return [[None] * count for _ in range(count)]


def _placed_pairs(
    matrix: Mapping[str, Any],
) -> list[tuple[int, int, Mapping[str, Any]]]:
    place_of = {v["version"]: place for place, v in enumerate(matrix["versions"])}
    return [(place_of[p["a"]], place_of[p["b"]], p) for p in matrix["pairs"]]


def _version_lines(matrix: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Accuracy of each, and its change against the one named before it."""
    pairs = {(pair["a"], pair["b"]): pair for pair in matrix["pairs"]}
    width = max(8, *map(len, names))
    lines = [
        f"{'':{width}} first right  among five   change against the one before, points"
    ]
    before = None
    for name, version in zip(names, matrix["versions"], strict=True):
        change = ""
        if before is not None:
            delta = pairs[before, version["version"]]["delta"]
            change = f"{points(delta['value'])}  [{points(delta['low'])}, "
            change += f"{points(delta['high'])}]"
        top1, top5 = (percent(version[key]["value"]) for key in ("top1", "top5"))
        lines.append(f"{name:{width}}{top1:>12}{top5:>12}   {change}".rstrip())
        before = version["version"]
    return lines


def _square(names: Sequence[str], cells: Sequence[Sequence[float | None]]) -> list[str]:
    """With a decimal where there is room for it: flips may be few."""
    least = max(map(len, names)) + 1
    width = max(least, 6) if (len(names) + 1) * 6 <= WIDTH else max(least, 4)
    digits = 1 if width >= 6 else 0
    lines = ["".join(f"{text:>{width}}" for text in ("", *names))]
    for name, row in zip(names, cells, strict=True):
        texts = (ABSENT if cell is None else f"{100 * cell:.{digits}f}" for cell in row)
        lines.append("".join(f"{text:>{width}}" for text in (name, *texts)))
    return lines
