"""differing.json: pictures on which the versions disagree, for the page of the service.

Each has the bytes of its file and both versions' answers, so that the page shows them
without asking the versions again.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from classifier.storage import write_json
from classifier.store.comparisons import PICTURES
from compare.collect.images import Images
from compare.collect.schema import ServedVersion
from compare.results.comparison import Comparison
from compare.results.image_order import showing_order
from compare.results.record import Record
from compare.statistics.top_five import TopFive

MOST = 12
MOST_BYTES = 8_000_000
"""Limit of all pictures together; pictures beyond it are left out."""


def write_differing(
    folder: Path, record: Record, images: Images, comparison: Comparison
) -> None:
    """Write the most informative pictures; no file if no picture can be read."""
    file_of = dict(zip(images.names, images.files, strict=True))
    disagrees, left = comparison.disagrees, MOST_BYTES
    pictures: list[dict[str, Any]] = []
    for row in showing_order(comparison):
        if len(pictures) == MOST or not disagrees[row]:
            continue
        data = _read(file_of[comparison.names[row]])
        if data and len(data) <= left:
            left -= len(data)
            pictures.append(_picture(comparison, int(row), data))
    if pictures:
        sides = {"a": _version(record.a), "b": _version(record.b)}
        write_json(folder / PICTURES, {**sides, "pictures": pictures})
    else:
        (folder / PICTURES).unlink(missing_ok=True)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _version(version: ServedVersion) -> Mapping[str, str | None]:
    return {
        "model": version.model,
        "version": version.number,
        "run_id": version.run_id,
    }


def _picture(comparison: Comparison, row: int, data: bytes) -> dict[str, Any]:
    target = int(comparison.targets[row])
    return {
        "name": comparison.names[row],
        "truth": _class(comparison, target) if comparison.labelled else None,
        "a": _top(comparison, comparison.a, row),
        "b": _top(comparison, comparison.b, row),
        "b64": base64.b64encode(data).decode("ascii"),
    }


def _top(comparison: Comparison, top: TopFive, row: int) -> list[dict[str, Any]]:
    pairs = zip(top.indices[row], np.nan_to_num(top.probabilities[row]), strict=True)
    return [
        {**_class(comparison, int(index)), "probability": float(probability)}
        for index, probability in pairs
        if index >= 0
    ]


def _class(comparison: Comparison, index: int) -> dict[str, str]:
    labels = comparison.labels
    return {"id": labels.ids[index], "name": labels.names[index]}
