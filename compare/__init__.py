"""Compare two versions of a classifier on the same images.

In Python: `compare.load("compare-v8-v16")`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compare.report.notebook import Loaded

__all__ = ["load"]


def load(folder: str | Path) -> "Loaded":
    """The comparison that `python -m compare` wrote to `folder`, for a notebook.

    Raises FileNotFoundError if there is none.
    """
    # Imported here: the programs do not need pandas.
    from compare.report.notebook import load_comparison

    return load_comparison(Path(folder))
