"""comparison.json: what a comparison was asked to compare, kept to go on from it."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from classifier.bundle.labels import Labels
from classifier.storage import write_json
from compare.collect.answer_store import ForeignFolder, Identity
from compare.collect.schema import ServedVersion, whole_number
from compare.results.gates import Gate, parse_gate

COMPARISON = "comparison.json"


@dataclass(frozen=True, kw_only=True)
class Record:
    """The versions, the images with their labels, and the settings."""

    a: ServedVersion
    b: ServedVersion
    data_name: str
    data_digest: str
    names: tuple[str, ...]
    """Names of the images to compare on, in the data's order."""

    class_ids: tuple[str, ...] | None
    """The true class of each image; None if the data has no labels."""

    available: int
    """Number of images in the data; --limit compares on fewer."""

    is_sample: bool = True
    """False in an old folder, whose --limit took the first images of the listing.
    Without --limit it means nothing."""

    gates: tuple[Gate, ...] = ()
    allow_missing: int = 0
    data_notes: tuple[str, ...] = ()
    """Notes for every report, such as files that the data's listing left out."""

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
        """Notes that every report shows first; they change no number."""
        notes = []
        if self.class_ids is not None:  # without labels the digest is of another kind
            notes += [
                f"v{version.number} was validated on other data: "
                f"digest {version.dataset_digest[:12]}, here {self.data_digest[:12]}"
                for version in {v.number: v for v in (self.a, self.b)}.values()
                if version.dataset_digest not in (None, self.data_digest)
            ]
        if len(self.names) < self.available:
            were = "was" if len(self.names) == 1 else "were"
            count = f"{len(self.names):,} of {self.available:,} images {were} compared"
            first = f"only the first {count}, which may be of few classes"
            by = "" if self.class_ids is None else " by class"
            sample = f"only {count}, a fixed sample{by}"
            notes.append(sample if self.is_sample else first)
        return [*notes, *self.data_notes]


def keep_record(folder: Path, record: Record) -> Record:
    """Write the record before the first request, and return it as it is kept.

    The aliases stay those of the comparison's first start. Aliases move, and the
    reports show them; an interrupted comparison must give the same files.
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
    """ForeignFolder if the folder has none."""
    try:
        return _from_json(json.loads((folder / COMPARISON).read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ForeignFolder(
            f"{folder} holds no comparison that could be drawn again; name the folder "
            "that python -m compare --a … --b … wrote"
        ) from error


def _to_json(record: Record) -> dict[str, object]:
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


def _from_json(found: Any) -> Record:
    """KeyError, TypeError or ValueError if it is no record."""
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


def _version_to_json(version: ServedVersion) -> dict[str, object]:
    return {
        "version": version.number,
        "run_id": version.run_id,
        "epoch": version.epoch,
        "dataset_digest": version.dataset_digest,
        "aliases": version.aliases,
        "labels": version.labels.to_json(),
    }


def _version_from_json(entry: Any, model: str) -> ServedVersion:
    return ServedVersion(
        model=model,
        number=entry["version"],
        labels=Labels.from_json(entry["labels"]),
        run_id=entry["run_id"],
        epoch=whole_number(entry["epoch"]),
        dataset_digest=entry["dataset_digest"],
        aliases=None if entry["aliases"] is None else tuple(entry["aliases"]),
    )
