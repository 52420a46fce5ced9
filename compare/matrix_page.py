"""matrix.html: one file that needs no network; pictures in SVG, numbers as tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from classifier.plain_text import page_text
from compare.matrix_table import churn_cells, flip_cells
from compare.wording import say

WITH_NUMBERS = 24
"""Versions up to which a cell is large enough for its number."""


@dataclass(frozen=True)
class Cell:
    """One square of a heat map."""

    row: int
    column: int
    shade: float
    """0..1, of the largest value."""

    text: str
    title: str


@dataclass(frozen=True)
class HeatMap:
    """A square of versions; sizes are in the picture's own units."""

    kind: str
    label: str
    names: Sequence[str]
    cells: Sequence[Cell]
    largest: str
    size: int
    """Of a cell."""

    margin: int
    """Room for the names."""

    @property
    def with_numbers(self) -> bool:
        return len(self.names) <= WITH_NUMBERS


def matrix_html(matrix: Mapping[str, Any]) -> str:
    """Of matrix.json's document."""
    environment = Environment(
        loader=PackageLoader("compare"),
        autoescape=True,  # names of models and data sets are others' text
        finalize=page_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["say"] = say
    names = [f"v{version['version']}" for version in matrix["versions"]]
    return environment.get_template("matrix.html.j2").render(
        matrix=matrix,
        names=names,
        maps=[
            _heat_map(
                "churn",
                "Share of images whose first answers differ",
                names,
                churn_cells(matrix),
                "{row} and {column} differ on {value} of the images",
            ),
            _heat_map(
                "flips",
                "Share of images that the row's version gets right and the column's "
                "wrong",
                names,
                flip_cells(matrix),
                "right in {row}, wrong in {column}: {value} of the images",
            ),
        ],
        best=max((v["top1"]["high"] or 0 for v in matrix["versions"]), default=0) or 1,
    )


def _heat_map(
    kind: str,
    label: str,
    names: Sequence[str],
    values: Sequence[Sequence[float | None]],
    title: str,
) -> HeatMap:
    """Shades from 0 to the largest value; the diagonal is empty."""
    largest = max((v for row in values for v in row if v is not None), default=0.0)
    cells = [
        Cell(
            row=row,
            column=column,
            shade=value / largest if largest else 0.0,
            text=f"{100 * value:.1f}",
            title=title.format(
                row=names[row], column=names[column], value=say(value, "percent")
            ),
        )
        for row, line in enumerate(values)
        for column, value in enumerate(line)
        if value is not None
    ]
    size = 40 if len(names) <= WITH_NUMBERS else 14
    margin = 16 + 8 * max(map(len, names))
    return HeatMap(kind, label, names, cells, say(largest, "percent"), size, margin)
