"""What a comparison leaves in its folder, the same to the byte for the same answers."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from classifier.labels import Labels
from classifier.plain_text import csv_row
from compare.agreement import TOP, BoolArray, IntArray, TopFive
from compare.comparison import Comparison
from compare.verdict import Verdict
from compare.whole import remove_files, whole, write_json

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
    "identity.json",
    "answers.jsonl",
    "comparison.json",
    "images.parquet",
    "thumbnails.parquet",
    "mlflow.json",
)
"""What is gone on from and drawn from again; each has a module that writes it."""

REPORTS = (HTML, MARKDOWN, *ANSWERED, RUN)


def remove_results(folder: Path) -> None:
    """Of an earlier run: what is there afterwards is of this one."""
    remove_files(folder, REPORTS)


def remove_everything(folder: Path) -> None:
    """That a comparison has left there, also what it would go on from."""
    if folder.is_dir():
        remove_results(folder)
        remove_files(folder, KEPT)


def write_summary(folder: Path, verdict: Verdict) -> None:
    write_json(folder / SUMMARY, verdict.summary)


def write_run(folder: Path, facts: Mapping[str, Any]) -> None:
    """All that differs from run to run: times, address, retries, what was missing."""
    write_json(folder / RUN, facts)


def write_per_image(folder: Path, comparison: Comparison) -> None:
    """A row per image that both versions answered.

    Without labels all about the truth is null: target, ranks and hits. `a_right` and
    `b_right` are never null, and so are not there: false would read as wrong.
    """
    ids, count = comparison.labels.ids, len(comparison.names)
    unknown = np.full(count, not comparison.labelled)
    target_ids = [ids[t] for t in comparison.targets] if comparison.labelled else None
    columns: dict[str, Any] = {
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
    with whole(folder / PER_IMAGE) as partial:
        pq.write_table(pa.table(columns), partial)


def write_per_class(folder: Path, verdict: Verdict, labels: Labels) -> None:
    """A row per class; `csv_text` reads an id or a name back."""
    header = (
        "index,id,name,images,a_right,b_right,broken,fixed,delta,low,high,mid_p,q_value,"
        "regression,improvement,could_be_flagged"
    )
    with (
        whole(folder / PER_CLASS) as partial,
        partial.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header.split(","))
        for change in verdict.classes:
            table, delta = change.table, change.delta
            writer.writerow(
                csv_row(
                    (
                        change.index,
                        labels.ids[change.index],
                        labels.names[change.index],
                        table.images,
                        table.both_right + table.broken,
                        table.both_right + table.fixed,
                        table.broken,
                        table.fixed,
                        delta.value,
                        delta.low,
                        delta.high,
                        change.mid_p,
                        change.q_value,
                        *(
                            str(said).lower()
                            for said in (
                                change.is_regression,
                                change.is_improvement,
                                change.could_be_flagged,
                            )
                        ),
                    )
                )
            )


def hits(rank: int) -> str:
    """The seed report's five booleans: `01000` where the truth is the second answer."""
    return "".join("1" if place == rank else "0" for place in range(1, TOP + 1))


def _rank_column(ranks: IntArray) -> Any:
    return pa.array([int(rank) or None for rank in ranks], pa.int8())


def _hits_column(ranks: IntArray, unknown: BoolArray) -> Any:
    written = np.array([hits(rank) for rank in ranks], object)
    return pa.array(written, pa.string(), mask=unknown)


def _answer_columns(side: str, top: TopFive) -> dict[str, Any]:
    """Null beyond the number of classes."""
    absent = top.indices < 0
    columns: dict[str, Any] = {}
    for place in range(TOP):
        columns[f"{side}_index_{place + 1}"] = pa.array(
            top.indices[:, place], pa.int32(), mask=absent[:, place]
        )
    for place in range(TOP):
        columns[f"{side}_probability_{place + 1}"] = pa.array(
            np.nan_to_num(top.probabilities[:, place]),
            pa.float64(),
            mask=absent[:, place],
        )
    return columns
