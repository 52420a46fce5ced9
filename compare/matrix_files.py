"""What `--matrix` leaves in its folder: a page, and the same numbers to read on."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from classifier.plain_text import csv_row
from compare.matrix_page import matrix_html
from compare.whole import write_json, write_text

PAGE, JSON, CSV = "matrix.html", "matrix.json", "matrix.csv"

COLUMNS = (
    *("a", "b", "images", "disagreement_rate", "broken", "fixed"),
    *("delta", "low", "high", "mid_p"),
)


def write_matrix(folder: Path, matrix: Mapping[str, Any]) -> None:
    """All three; `matrix` is matrix.json's document."""
    write_json(folder / JSON, matrix)
    write_text(folder / CSV, matrix_csv(matrix))
    write_text(folder / PAGE, matrix_html(matrix))


def matrix_csv(matrix: Mapping[str, Any]) -> str:
    """A row a pair; empty where a value does not exist."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for pair in matrix["pairs"]:
        delta, mid_p = pair["delta"], pair["mcnemar_mid_p"]
        row = {**pair, **delta, "delta": delta["value"], "mid_p": mid_p}
        writer.writerow(csv_row(row[column] for column in COLUMNS))
    return text.getvalue()
