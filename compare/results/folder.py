"""What a comparison leaves in its folder, the same to the byte for the same answers."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from classifier.bundle.labels import Labels
from classifier.console import csv_row
from classifier.storage import remove_files, whole, write_json
from compare.collect.answer_store import ForeignFolder, Identity
from compare.collect.schema import ServedVersion, whole_number
from compare.results.comparison import Comparison
from compare.results.gates import Gate, parse_gate
from compare.results.numbers import Probe
from compare.results.summary import Summary, without_nulls, write_document
from compare.statistics.classes import ClassChange
from compare.statistics.paired import NOTHING, Estimate
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
    """What differs from run to run, in run.json; the reports show it."""

    started_unix_seconds: float | None = None
    seconds: float | None = None
    url: str = ""
    retries: int | None = None
    probe: Probe | None = None
    latency: Latencies | None = None
    latency_note: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Images without an answer, and why."""


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


def write_per_class(
    folder: Path, classes: Sequence[ClassChange], labels: Labels
) -> None:
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
        for change in classes:
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


COMPARISON = "comparison.json"


@dataclass(frozen=True, kw_only=True)
class Record:
    """The versions, the truth and the terms of one comparison."""

    a: ServedVersion
    b: ServedVersion
    data_name: str
    data_digest: str
    names: tuple[str, ...]
    """Of the images that are asked about, in the data's order."""

    class_ids: tuple[str, ...] | None
    """Of the same images; None where nobody says what is on them."""

    available: int
    """Images that the data has; some are left out with --limit."""

    is_sample: bool = True
    """False of an old folder, whose --limit took the first images as they are listed.
    It says nothing where all images were asked."""

    gates: tuple[Gate, ...] = ()
    allow_missing: int = 0
    data_notes: tuple[str, ...] = ()
    """Said in every report, such as what the data's listing left out."""

    @property
    def identity(self) -> Identity:
        return Identity(
            model=self.a.model,
            a_version=self.a.number,
            a_run_id=self.a.run_id,
            b_version=self.b.number,
            b_run_id=self.b.run_id,
            dataset=self.data_name,
            dataset_digest=self.data_digest,
        )

    @property
    def notes(self) -> list[str]:
        """What every report says first, and what changes no number."""
        notes = []
        if self.class_ids is not None:  # without labels the digest is of another kind
            notes += [
                f"v{version.number} was validated on other data, "
                f"{version.dataset_digest[:12]}, here is {self.data_digest[:12]}"
                for version in {v.number: v for v in (self.a, self.b)}.values()
                if version.dataset_digest not in (None, self.data_digest)
            ]
        if len(self.names) < self.available:
            count = f"{len(self.names):,} of {self.available:,} images were asked"
            first = f"only the first {count}, which may be of few classes"
            by = "" if self.class_ids is None else " by class"
            sample = f"only {count}, a fixed sample{by}"
            notes.append(sample if self.is_sample else first)
        return [*notes, *self.data_notes]


def keep_record(folder: Path, record: Record) -> Record:
    """Written whole before the first image is asked; the record as it is kept.

    Aliases stay those of the comparison's first start: they move, and what they say of
    a version is part of files that are the same whenever the work was interrupted.
    """
    try:
        found = read_record(folder)
    except ForeignFolder:
        found = None
    if found is not None and found.identity == record.identity:
        record = replace(
            record,
            a=replace(record.a, aliases=found.a.aliases),
            b=replace(record.b, aliases=found.b.aliases),
        )
    write_json(folder / COMPARISON, _to_json(record))
    return record


def read_record(folder: Path) -> Record:
    """ForeignFolder where there is none."""
    try:
        return _from_json(json.loads((folder / COMPARISON).read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ForeignFolder(
            f"{folder} holds no comparison that could be drawn again; name the folder "
            "that python -m compare --a … --b … wrote"
        ) from error


def _to_json(record: Record) -> dict[str, Any]:
    return {
        "schema": 1,
        "model": record.a.model,
        "a": _version_to_json(record.a),
        "b": _version_to_json(record.b),
        "data": {"name": record.data_name, "digest": record.data_digest},
        "gates": [gate.expression for gate in record.gates],
        "allow_missing": record.allow_missing,
        "available": record.available,
        "is_sample": record.is_sample,
        "data_notes": record.data_notes,
        "names": record.names,
        "class_ids": record.class_ids,
    }


def _from_json(found: Mapping[str, Any]) -> Record:
    """KeyError, TypeError or ValueError where it is no record."""
    classes = found["class_ids"]
    return Record(
        a=_version_from_json(found["a"], found["model"]),
        b=_version_from_json(found["b"], found["model"]),
        data_name=found["data"]["name"],
        data_digest=found["data"]["digest"],
        gates=tuple(parse_gate(expression) for expression in found["gates"]),
        allow_missing=int(found["allow_missing"]),
        available=int(found["available"]),
        is_sample=bool(found.get("is_sample", False)),
        data_notes=tuple(map(str, found.get("data_notes", ()))),
        names=tuple(found["names"]),
        class_ids=None if classes is None else tuple(classes),
    )


def _version_to_json(version: ServedVersion) -> dict[str, Any]:
    return {
        "version": version.number,
        "run_id": version.run_id,
        "epoch": version.epoch,
        "dataset_digest": version.dataset_digest,
        "aliases": version.aliases,
        "labels": version.labels.to_json(),
    }


def _version_from_json(entry: Mapping[str, Any], model: str) -> ServedVersion:
    return ServedVersion(
        model=model,
        number=entry["version"],
        labels=Labels.from_json(entry["labels"]),
        run_id=entry["run_id"],
        epoch=whole_number(entry["epoch"]),
        dataset_digest=entry["dataset_digest"],
        aliases=None if entry["aliases"] is None else tuple(entry["aliases"]),
    )
