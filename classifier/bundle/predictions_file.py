"""Files of predictions that any tool can make: CSV or Parquet, read, checked, written.

A row per image: `image`, optionally `truth` (a class id), and then either `id_1..id_k`
with `probability_1..probability_k`, or one column of probabilities per class, named by
its id.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from classifier.console.exits import WrongUsage
from classifier.console.text import csv_row, csv_text
from classifier.metrics import FloatArray, IntArray
from classifier.storage import atomic_write

IMAGE, TRUTH = "image", "truth"
NUMBERED = re.compile(r"(id|probability)_([1-9][0-9]{0,5})")

_INDEX = re.compile(r"\s*|Unnamed: \d+|__index_level_\d+__")
"""Names of the column in which pandas writes the index of a frame."""

MOST_SUM = 1.001
"""Largest sum of a row's probabilities: 1, and the rounding of three digits."""

FORM = (
    "image, optionally truth, and then id_1..id_k with probability_1..probability_k, "
    "or one column of probabilities per class"
)


class BadPredictions(WrongUsage, ValueError):
    """The file is no table of predictions, or has a row that is none."""


@dataclass(frozen=True)
class Predictions:
    """Predictions of N images, in the file's order."""

    names: tuple[str, ...]
    truths: tuple[str, ...] | None
    """Class ids; None if the file has no truth."""

    class_ids: tuple[str, ...]
    """The classes that `indices` mean."""

    indices: IntArray
    """[N, k], classes by falling probability; -1 where a row has fewer than k."""

    probabilities: FloatArray
    """[N, k], NaN where a row has fewer."""

    has_every_class: bool
    """True for a column per class: there is no class but `class_ids`, and k is their
    number. False if `class_ids` are only the classes that occur."""

    def __len__(self) -> int:
        return len(self.names)

    def at(self, rows: Sequence[int]) -> "Predictions":
        return replace(
            self,
            names=tuple(self.names[row] for row in rows),
            truths=self.truths and tuple(self.truths[row] for row in rows),
            indices=self.indices[list(rows)],
            probabilities=self.probabilities[list(rows)],
        )

    def with_classes(self, class_ids: Sequence[str]) -> "Predictions":
        """The same by indices of `class_ids`, which have all that occur."""
        place_of = {class_id: place for place, class_id in enumerate(class_ids)}
        # The last place stands for the index -1.
        new = np.array([*(place_of[class_id] for class_id in self.class_ids), -1])
        return replace(self, class_ids=tuple(class_ids), indices=new[self.indices])


def read_predictions_file(path: Path) -> Predictions:
    """Raises BadPredictions with the fault and the first image that has it."""
    import pyarrow as pa  # serving imports this room and has no pyarrow

    if not path.is_file():
        raise BadPredictions(f"there is no file {path}")
    try:
        table = _read_table(path)
        _check_columns(table.column_names)
        return _parse(table)
    except BadPredictions as error:
        raise BadPredictions(f"{path}: {error}") from error
    # A damaged footer is an OSError to pyarrow.
    except (pa.ArrowException, OSError, ValueError, csv.Error) as error:
        reason = str(error).splitlines()[0]
        raise BadPredictions(f"{path} cannot be read: {reason}") from error


def _read_table(path: Path) -> Any:
    """A pyarrow table, whose text columns are text."""
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    if path.suffix.lower() != ".csv":
        return pq.read_table(path)
    with path.open(encoding="utf-8-sig", newline="") as lines:
        header = [csv_text(name) for name in next(csv.reader(lines), [])]
    _check_columns(header)  # before rows that do not fit a wrong header
    texts = _text_columns(header)
    table = pa_csv.read_csv(
        path,
        read_options=pa_csv.ReadOptions(column_names=header, skip_rows=1),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            column_types={
                name: "string" if name in texts else "float64" for name in header
            },
            null_values=[""],  # else an image called NA had no name
            strings_can_be_null=False,
        ),
    )
    for place, name in enumerate(header):
        if name in texts:
            cells = [[csv_text(text) for text in _texts(table[name])]]
            table = table.set_column(place, name, cells)
    return table


def _check_columns(columns: Sequence[str]) -> None:
    """BadPredictions unless there is an image column and one of the two forms."""
    name, count = Counter(columns).most_common(1)[0] if columns else ("", 0)
    if count > 1:
        raise BadPredictions(f"the column {name!r} stands there twice")
    found = f"it has {_listed(columns)}"
    if IMAGE not in columns:
        raise BadPredictions(f"there is no column {IMAGE!r}; {found}. Needed: {FORM}")
    places = _places(columns)
    if not set(columns) - {IMAGE, TRUTH}:
        raise BadPredictions(f"there are no probabilities; {found}. Needed: {FORM}")
    if not places and (index := [name for name in columns if _INDEX.fullmatch(name)]):
        raise BadPredictions(
            f"the column {index[0]!r} is not named by a class; pandas writes its index "
            "so: write the file again with index=False, or name the column"
        )
    numbered = {match[0] for name in columns if (match := NUMBERED.fullmatch(name))}
    pairs = {f"{kind}_{n}" for kind in ("id", "probability") for n in places}
    if lone := sorted(numbered ^ pairs):
        raise BadPredictions(
            f"{lone[0]} is missing or stands alone; {found}. Needed: id_1..id_k with "
            "probability_1..probability_k, without a gap"
        )


def _places(columns: Iterable[str]) -> list[int]:
    """1..k, for the k columns of ids; empty for a column per class."""
    numbered = filter(None, map(NUMBERED.fullmatch, columns))
    return list(range(1, 1 + sum(match[1] == "id" for match in numbered)))


def _text_columns(columns: Sequence[str]) -> set[str]:
    return {IMAGE, TRUTH, *(f"id_{place}" for place in _places(columns))}


def _parse(table: Any) -> Predictions:
    names = _texts(table[IMAGE])
    if not names:
        raise BadPredictions("it has no rows")
    name, count = Counter(names).most_common(1)[0]
    if count > 1 or "" in names:
        fault = f"the image {name!r} stands there {count} times"
        raise BadPredictions("an image has no name" if "" in names else fault)
    truths = None
    if TRUTH in table.column_names:
        truths = tuple(_texts(table[TRUTH]))
        if "" in truths:
            raise BadPredictions(
                f"{names[truths.index('')]!r} has no {TRUTH}; fill the column, or "
                "leave it out"
            )
    places = _places(table.column_names)
    parse = _parse_numbered if places else _parse_columns
    class_ids, indices, probabilities = parse(table)
    _check_probabilities(names, indices, probabilities, is_whole=not places)
    order = np.argsort(-probabilities, axis=1, kind="stable")  # NaN comes last
    return Predictions(
        names=tuple(names),
        truths=truths,
        class_ids=tuple(class_ids),
        indices=np.take_along_axis(indices, order, axis=1),
        # A sum of at most MOST_SUM allows for a first one above 1.
        probabilities=np.take_along_axis(np.minimum(probabilities, 1), order, axis=1),
        has_every_class=not places,
    )


def _parse_numbered(table: Any) -> tuple[list[str], IntArray, FloatArray]:
    """The classes, sorted, and [N, k] indices and probabilities of id_1..id_k."""
    places = _places(table.column_names)
    texts = [_texts(table[f"id_{place}"]) for place in places]
    class_ids = sorted({text for column in texts for text in column} - {""})
    place_of = {"": -1, **{text: place for place, text in enumerate(class_ids)}}
    indices = np.array([[place_of[text] for text in column] for column in texts]).T
    columns = [table[f"probability_{place}"] for place in places]
    probabilities = np.stack([_numbers(column) for column in columns], axis=1)
    # An absent answer is two empty cells; NaN is a fault.
    is_null = np.stack([_is_null(column) for column in columns], axis=1)
    if ((indices < 0) != is_null).any():
        row = int(np.flatnonzero(((indices < 0) != is_null).any(axis=1))[0])
        raise BadPredictions(
            f"{_texts(table[IMAGE])[row]!r} has an id without a probability, or the "
            "reverse"
        )
    return class_ids, indices.astype(np.int64), probabilities


def _parse_columns(table: Any) -> tuple[list[str], IntArray, FloatArray]:
    class_ids = [name for name in table.column_names if name not in (IMAGE, TRUTH)]
    columns = [_numbers(table[class_id]) for class_id in class_ids]
    indices = np.tile(np.arange(len(class_ids)), (table.num_rows, 1))
    return class_ids, indices, np.stack(columns, axis=1)


def _check_probabilities(
    names: Sequence[str],
    indices: IntArray,
    probabilities: FloatArray,
    *,
    is_whole: bool,
) -> None:
    """BadPredictions for the first row that is no distribution, or its first part.

    A whole one has every class. Its zeros alone would not say which class is first.
    """
    listed = indices >= 0
    some = np.where(listed, probabilities, 0)
    ordered = np.sort(indices, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    faults = (
        ("has no answer at all", ~listed.any(axis=1)),
        ("has a probability that is no number", ~np.isfinite(some).all(axis=1)),
        ("has a negative probability", (some < 0).any(axis=1)),
        (f"has probabilities that add to more than {MOST_SUM}", some.sum(1) > MOST_SUM),
        ("has a class twice", twice.any(axis=1)),
        (
            "has 0 for each class, so no class is its answer; fill it, or leave it out",
            is_whole & (some == 0).all(axis=1),
        ),
    )
    for fault, rows in faults:
        if rows.any():
            row = int(np.flatnonzero(rows)[0])
            others = int(rows.sum()) - 1
            more = f" (and {others:,} other rows)" if others else ""
            raise BadPredictions(f"the row of {names[row]!r} {fault}{more}")


def _texts(column: Any) -> list[str]:
    texts: list[str] = column.cast("string").fill_null("").to_pylist()
    return texts


def _numbers(column: Any) -> FloatArray:
    numbers: FloatArray = column.cast("float64").to_numpy().astype(np.float64)
    return numbers


def _is_null(column: Any) -> Any:
    return column.is_null().to_numpy()


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(map(repr, columns[:5])) or "none"
    return f"the columns {shown}{', …' if len(columns) > 5 else ''}"


def write_predictions_file(path: Path, predictions: Predictions) -> None:
    """CSV or Parquet, by the name's end. Reading it gives the same predictions."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = _columns(predictions)
    with atomic_write(path) as partial:
        if path.suffix.lower() != ".csv":
            pq.write_table(pa.table(columns), partial)
            return
        with partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(csv_row(columns))
            writer.writerows(map(csv_row, zip(*columns.values(), strict=True)))


def _columns(predictions: Predictions) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {IMAGE: list(predictions.names)}
    if predictions.truths is not None:
        columns[TRUTH] = list(predictions.truths)
    indices, probabilities = predictions.indices, predictions.probabilities
    ids = predictions.class_ids
    if predictions.has_every_class:
        by_class = np.empty_like(probabilities)
        np.put_along_axis(by_class, indices, probabilities, axis=1)
        columns |= {ids[k]: by_class[:, k].tolist() for k in range(len(ids))}
        return columns
    for place in range(indices.shape[1]):
        numbers = indices[:, place].tolist()
        columns[f"id_{place + 1}"] = [ids[n] if n >= 0 else None for n in numbers]
        columns[f"probability_{place + 1}"] = [
            value if n >= 0 else None
            for n, value in zip(numbers, probabilities[:, place].tolist(), strict=True)
        ]
    return columns
