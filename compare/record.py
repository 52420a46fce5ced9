"""What a comparison is about, kept beside its answers: enough to draw it again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from classifier.labels import Labels
from compare.answers import ForeignFolder, Identity
from compare.contract import ServedVersion, whole_number
from compare.gates import Gate, parse_gate
from compare.whole import write_json

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
