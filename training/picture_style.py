"""What the pictures of a run have in common: colours, sizes, how they are saved."""

import warnings
from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure

from classifier.plain_text import printable

# Okabe and Ito's palette: told apart by the colour-blind too.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
LIGHT_BLUE = "#56B4E9"

WIDTH = 8.0
"""Inches. `mlflow ui` shows a picture 550 to 900 pixels wide: at DPI, letters of 10
points are 8 to 12 pixels high there."""

DPI = 130


def tidy(axes: Any, grid: Literal["both", "x", "y"] = "both") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, alpha=0.25)
    axes.set_axisbelow(True)


def save(figure: Figure, path: Path) -> None:
    with warnings.catch_warnings():
        # A class named in a script that the font lacks gets boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure.savefig(path, dpi=DPI)


def shortened(name: str, length: int) -> str:
    """At most `length` characters, as matplotlib shows them: `$` begins no formula."""
    name = printable(name)
    kept = name if len(name) <= length else name[: length - 1].rstrip() + "…"
    return kept.replace("$", r"\$")
