"""What `--matrix` leaves in its folder: a page, and the same numbers to read on."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compare.matrix_page import matrix_html

PAGE, JSON, CSV = "matrix.html", "matrix.json", "matrix.csv"

COLUMNS = (
    *("a", "b", "images", "disagreement_rate", "broken", "fixed"),
    *("delta", "low", "high", "mid_p"),
)


def write_json(folder: Path, matrix: Mapping[str, Any]) -> None:
    text = json.dumps(matrix, indent=1, ensure_ascii=False, allow_nan=False)
    _write(folder / JSON, text + "\n")


def write_csv(folder: Path, matrix: Mapping[str, Any]) -> None:
    """A row a pair; empty where a value does not exist."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for pair in matrix["pairs"]:
        delta, mid_p = pair["delta"], pair["mcnemar_mid_p"]
        writer.writerow({**pair, **delta, "delta": delta["value"], "mid_p": mid_p})
    _write(folder / CSV, text.getvalue())


def write_page(folder: Path, matrix: Mapping[str, Any]) -> None:
    _write(folder / PAGE, matrix_html(matrix))


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, "utf-8", newline="")
    partial.replace(path)
