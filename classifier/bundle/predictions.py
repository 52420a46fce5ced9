"""validation_predictions.parquet: a version's top five of each validation image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.metrics import FloatArray, IntArray, top_k

TOP = 5


class BrokenPredictions(ValueError):
    """The file is no such table, or names a class that the version does not have."""


@dataclass(frozen=True)
class ValidationPredictions:
    """The kept answers to N images, in the file's order."""

    names: tuple[str, ...]
    targets: IntArray
    """True class indices, [N]."""

    indices: IntArray
    """Classes by falling probability, [N, 5]; -1 beyond the number of classes."""


def write_predictions(
    path: Path, *, names: Sequence[str], targets: IntArray, probabilities: FloatArray
) -> None:
    """Columns `image`, `target`, `index_1..5` and `probability_1..5`.

    `probabilities` is [N, K]. With K < 5 classes, the columns beyond K are null.
    """
    import pyarrow as pa  # serving reads bundles without it
    import pyarrow.parquet as pq

    top = top_k(probabilities, TOP)
    of_top: NDArray[np.floating] = np.take_along_axis(probabilities, top, axis=1)
    columns: dict[str, Any] = {
        "image": pa.array(names, pa.string()),
        "target": pa.array(targets, pa.int32()),
    }
    for kind, values, type_ in (
        ("index", top, pa.int32()),
        ("probability", of_top, pa.float32()),
    ):
        for place in range(TOP):
            exists = place < values.shape[1]
            column = values[:, place] if exists else [None] * len(names)
            columns[f"{kind}_{place + 1}"] = pa.array(column, type_)
    pq.write_table(pa.table(columns), path)


def read_predictions(path: Path, *, classes: int) -> ValidationPredictions:
    """Raises FileNotFoundError, or BrokenPredictions if the file is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [f"index_{place + 1}" for place in range(TOP)]
    try:
        table = pq.read_table(path, columns=["image", "target", *columns])
        of_places: list[Any] = [table[column] for column in columns]
        indices = [column.fill_null(-1).to_numpy() for column in of_places]
        found = ValidationPredictions(
            names=tuple(map(str, table["image"].to_pylist())),
            targets=table["target"].to_numpy().astype(np.int64),
            indices=np.stack(indices, axis=1).astype(np.int64),
        )
    except FileNotFoundError:
        raise
    # A damaged footer is an OSError to pyarrow.
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise BrokenPredictions(str(error).splitlines()[0]) from error
    if not (
        _in_range(found.targets, 0, classes) and _in_range(found.indices, -1, classes)
    ):
        raise BrokenPredictions(f"an index outside the {classes} classes")
    return found


def _in_range(indices: IntArray, low: int, high: int) -> bool:
    return bool(((low <= indices) & (indices < high)).all())
