"""Files that a comparison leaves: names, contents, removal, and exported answers."""

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from classifier.bundle.labels import Labels
from classifier.bundle.predictions_file import Predictions, write_predictions_file
from classifier.console.text import csv_row
from classifier.storage import atomic_write, remove_files, write_json
from classifier.store.comparisons import PICTURES
from classifier.store.provenance import Difference
from compare.collect.answer_store import read_answers
from compare.collect.offline.files import read_long_answers
from compare.collect.schema import Answer, TopAnswer
from compare.results.comparison import Comparison, top_five_of
from compare.results.document import without_nulls, write_document
from compare.results.numbers import Probe
from compare.results.record import Record
from compare.results.summary import Summary
from compare.statistics.classes import ClassChange
from compare.statistics.measure import NOTHING, Estimate
from compare.statistics.top_five import TOP, BoolArray, IntArray, TopFive

SUMMARY, PER_IMAGE, PER_CLASS, RUN = (
    "summary.json",
    "per_image.parquet",
    "per_class.csv",
    "run.json",
)
HTML, MARKDOWN = "report.html", "summary.md"

ANSWERED = (SUMMARY, PER_IMAGE, PER_CLASS)
"""The same to the byte for the same answers and gates."""

KEPT = (
    "identity.json",  # of a folder before 2026-11-30
    "answers.jsonl",
    "comparison.json",
    "images.parquet",
    "a_predictions.parquet",
    "b_predictions.parquet",
    "thumbnails.parquet",
    PICTURES,
    "mlflow.json",
    "files.json",  # of a shard
)
"""Files to continue and to redraw from; each is written by a module of its own."""

REPORTS = (HTML, MARKDOWN, *ANSWERED, RUN)

Column: TypeAlias = "pa.Array[Any]"


def remove_everything(folder: Path) -> None:
    """Delete the reports and everything to continue from."""
    if folder.is_dir():
        remove_files(folder, (*REPORTS, *KEPT))
        # A folder: of a run of --engine ray that was interrupted.
        shutil.rmtree(folder / "answers.parquet", ignore_errors=True)


def write_summary(folder: Path, summary: Summary) -> None:
    write_json(folder / SUMMARY, write_document(summary))


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Single requests to one version."""

    p50_ms: float | None = None
    p95_ms: float | None = None
    requests: int | None = None
    samples_ms: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Latencies:
    a: Latency
    b: Latency
    median_difference_ms: Estimate = NOTHING


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Facts that differ from run to run, kept in run.json for the reports."""

    started_unix_seconds: float | None = None
    seconds: float | None = None
    url: str = ""
    retries: int | None = None
    probe: Probe | None = None
    latency: Latencies | None = None
    latency_note: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Images without an answer, and why."""

    differences: tuple[Difference, ...] | None = None
    """What differs between the versions and their runs; None if no store said it."""


def write_run(folder: Path, facts: Mapping[str, object]) -> None:
    """The document of run.json: RunFacts, and what only the next run reads."""
    write_json(folder / RUN, facts)


def read_run(folder: Path) -> dict[str, object]:
    """The document of run.json; empty if there is none."""
    try:
        facts: dict[str, object] = json.loads((folder / RUN).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return facts


def run_facts(document: Mapping[str, object]) -> RunFacts:
    return TypeAdapter(RunFacts).validate_python(without_nulls(document))


def write_per_image(folder: Path, comparison: Comparison) -> None:
    """A row per image that both versions answered.

    Without labels target, ranks and hits are null, and the columns `a_right` and
    `b_right` are missing: a program would read their nulls as wrong answers.
    """
    ids, count = comparison.labels.ids, len(comparison.names)
    unknown = np.full(count, not comparison.labelled)
    target_ids = [ids[t] for t in comparison.targets] if comparison.labelled else None
    columns: dict[str, Column] = {
        "image": pa.array(comparison.names, pa.string()),
        "target": pa.array(comparison.targets, pa.int32(), mask=unknown),
        "target_id": pa.array(target_ids or [None] * count, pa.string()),
        "a_rank": _rank_column(comparison.a_ranks),
        "b_rank": _rank_column(comparison.b_ranks),
        "category": pa.array(comparison.categories(), pa.string()),
        **_answer_columns("a", comparison.a),
        **_answer_columns("b", comparison.b),
        "a_hits": _hits_column(comparison.a_ranks, unknown),
        "b_hits": _hits_column(comparison.b_ranks, unknown),
    }
    if comparison.labelled:
        columns["a_right"] = pa.array(comparison.a_ranks == 1, pa.bool_())
        columns["b_right"] = pa.array(comparison.b_ranks == 1, pa.bool_())
    with atomic_write(folder / PER_IMAGE) as partial:
        pq.write_table(pa.table(columns), partial)


PER_CLASS_COLUMNS = (
    *("index", "id", "name", "images", "a_right", "b_right", "broken", "fixed"),
    *("delta", "low", "high", "mid_p", "q_value"),
    *("regression", "improvement", "could_be_flagged"),
)


def write_per_class(
    folder: Path, classes: Sequence[ClassChange], labels: Labels
) -> None:
    """A row per class. classifier.console.csv_text() reads an id or a name back."""
    with (
        atomic_write(folder / PER_CLASS) as partial,
        partial.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(PER_CLASS_COLUMNS)
        for change in classes:
            index, table, delta = change.index, change.table, change.delta
            a_right = table.both_right + table.broken
            b_right = table.both_right + table.fixed
            flags = change.is_regression, change.is_improvement, change.could_be_flagged
            row = (
                *(index, labels.ids[index], labels.names[index], table.images),
                *(a_right, b_right, table.broken, table.fixed),
                *(delta.value, delta.low, delta.high, change.mid_p, change.q_value),
                *(str(flag).lower() for flag in flags),
            )
            writer.writerow(csv_row(row))


def hits(rank: int) -> str:
    """`01000` if the truth is the second answer, as the seed report writes it."""
    return "".join("1" if place == rank else "0" for place in range(1, TOP + 1))


def _rank_column(ranks: IntArray) -> Column:
    return pa.array([int(rank) or None for rank in ranks], pa.int8())


def _hits_column(ranks: IntArray, unknown: BoolArray) -> Column:
    texts = np.array([hits(rank) for rank in ranks], object)
    return pa.array(texts, pa.string(), mask=unknown)


def _answer_columns(side: str, top: TopFive) -> dict[str, Column]:
    """Index and probability of each of the five answers; null if there are fewer."""
    absent = top.indices < 0
    probabilities = np.nan_to_num(top.probabilities)
    columns: dict[str, Column] = {}
    for name, values, kind in (
        ("index", top.indices, pa.int32()),
        ("probability", probabilities, pa.float64()),
    ):
        for place in range(TOP):
            columns[f"{side}_{name}_{place + 1}"] = pa.array(
                values[:, place], kind, mask=absent[:, place]
            )
    return columns


def export_answers(
    folder: Path, record: Record, exports: Sequence[tuple[str, Path]]
) -> None:
    """Write kept answers, of `a` or `b`, as files of predictions.

    The truth is among them if it is known. An image that the version did not answer has
    no row. Raises BadPlace or NotWritable.
    """
    answers = read_answers(folder) if exports else {}
    for side, file in exports:
        place = "ab".index(side)
        version = (record.a, record.b)[place]
        kept = read_long_answers(folder, side, version)
        predictions = kept or _short_answers(
            version.labels.ids,
            {name: pair[place] for name, pair in answers.items()},
        )
        row_of = {name: row for row, name in enumerate(predictions.names)}
        names = [name for name in record.names if name in row_of]
        predictions = predictions.at([row_of[name] for name in names])
        if record.class_ids is not None:
            truth_of = dict(zip(record.names, record.class_ids, strict=True))
            truths = tuple(truth_of[name] for name in names)
            predictions = replace(predictions, truths=truths)
        write_predictions_file(file, predictions)


def _short_answers(
    class_ids: tuple[str, ...], answers: Mapping[str, Answer]
) -> Predictions:
    """The five answers to each image; an image without them is left out."""
    answered = {n: each for n, each in answers.items() if isinstance(each, TopAnswer)}
    top = top_five_of(list(answered.values()), range(len(class_ids)))
    width = max((len(each.indices) for each in answered.values()), default=1)
    return Predictions(
        names=tuple(answered),
        truths=None,
        class_ids=class_ids,
        indices=top.indices[:, :width],
        probabilities=top.probabilities[:, :width],
        has_every_class=False,
    )
