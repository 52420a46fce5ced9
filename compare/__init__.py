"""Questions two versions about the same images, and says what differs.

In Python: `compare.load("compare-v8-v16")`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compare.report.notebook import Loaded

__all__ = ["load"]


def load(folder: str | Path) -> "Loaded":
    """The comparison that `python -m compare` wrote to `folder`, for a notebook.

    FileNotFoundError where there is none.
    """
    from compare.report.notebook import (
        load_comparison,  # pandas, only for those who load
    )

    return load_comparison(Path(folder))
