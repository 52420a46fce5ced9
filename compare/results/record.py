"""comparison.json: versions, images and settings, kept to continue a comparison."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from classifier.bundle.labels import Labels
from classifier.console.exits import WrongUsage
from classifier.storage import make_folder, partial_name, write_json
from compare.collect.images import Shard
from compare.collect.schema import ServedVersion, shown_names, whole_number
from compare.results.comparison import describe_left_out
from compare.results.gates import Gate, parse_gate

COMPARISON = "comparison.json"

SHARDS = "shard-*-of-*"
"""The folders of shards, in that of their comparison."""


class ForeignFolder(WrongUsage, ValueError):
    """The folder holds something else."""


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

    left_out: Mapping[str, int] = field(default_factory=dict)
    """Number of images of each class that one version lacks; none is compared."""

    class_map: tuple[tuple[str, str], ...] = ()
    """Ids of the baseline's and the candidate's classes that mean the same."""

    available: int
    """Number of images in the data; --limit compares on fewer."""

    is_sample: bool = True
    """False in an old folder, whose --limit took the first images of the listing.
    Without --limit it means nothing."""

    gates: tuple[Gate, ...] = ()
    allow_missing: int = 0
    shard: Shard | None = None
    """The part of the images that the folder has answers to; None is all of them."""

    data_notes: tuple[str, ...] = ()
    """Notes for every report, such as files that the data's listing left out."""

    @property
    def identity(self) -> Mapping[str, str | None]:
        """A folder that has these is continued; the service's address is none.

        What a version is served as is not always known.
        """
        return {
            "model": self.a.model,
            "baseline": self.a.number,
            "run of the baseline": self.a.run_id,
            "digest of the baseline": self.a.file_sha256,
            "model of the candidate": self.b.model,
            "candidate": self.b.number,
            "run of the candidate": self.b.run_id,
            "digest of the candidate": self.b.file_sha256,
            "data set": self.data_name,
            "digest of the data": self.data_digest,
            "backend of the baseline": self.a.served_as,
            "backend of the candidate": self.b.served_as,
            "shard": None if self.shard is None else str(self.shard),
        }

    @property
    def shown_names(self) -> tuple[str, str]:
        return shown_names(self.a.key, self.b.key)

    @property
    def notes(self) -> list[str]:
        """Notes that every report shows first; they change no number."""
        notes = [describe_left_out(self.left_out, self.a, self.b, self.class_map)]
        if self.class_ids is not None:  # without labels the digest is of another kind
            by_name = dict(zip(self.shown_names, (self.a, self.b), strict=True))
            notes += [
                f"{name} was validated on other data: "
                f"digest {version.dataset_digest[:12]}, here {self.data_digest[:12]}"
                for name, version in by_name.items()
                if version.dataset_digest not in (None, self.data_digest)
            ]
        if len(self.names) < self.available - sum(self.left_out.values()):
            were = "was" if len(self.names) == 1 else "were"
            count = f"{len(self.names):,} of {self.available:,} images {were} compared"
            first = f"only the first {count}, which may be of few classes"
            by = "" if self.class_ids is None else " by class"
            sample = f"only {count}, a fixed sample{by}"
            notes.append(sample if self.is_sample else first)
        return [*filter(None, notes), *self.data_notes]


def open_folder(folder: Path, record: Record, *, fresh: bool) -> Record:
    """Make or continue the folder, and return the record as the folder keeps it.

    Raises ForeignFolder if it has anything but this comparison, unless `fresh`. The
    aliases stay those of the comparison's first start. Aliases move, and the reports
    show them; an interrupted comparison must give the same files.
    """
    if folder.exists() and not folder.is_dir():
        raise ForeignFolder(f"{folder} is a file; name another folder with --out")
    if not fresh and _has_files(folder):
        kept = _same_comparison(folder, record)
        record = replace(
            record,
            a=_as_kept(record.a, kept.a),
            b=_as_kept(record.b, kept.b),
        )
    make_folder(folder, flag="--out")
    write_json(folder / COMPARISON, _to_json(record))
    return record


def _as_kept(version: ServedVersion, kept: ServedVersion) -> ServedVersion:
    served_as = version.served_as or kept.served_as
    return replace(version, aliases=kept.aliases, served_as=served_as)


def _has_files(folder: Path) -> bool:
    """Apart from shards, and from what a kill in the first moment leaves."""
    first = {partial_name(COMPARISON), "identity.json", partial_name("identity.json")}
    return folder.exists() and any(
        file.name not in first and not file.match(SHARDS) for file in folder.iterdir()
    )


def _same_comparison(folder: Path, record: Record) -> Record:
    """The record in the folder. Raises ForeignFolder if it is of another comparison."""
    advice = "name another folder with --out, or delete it with --fresh"
    try:
        kept = read_record(folder)
    except ForeignFolder as error:
        raise ForeignFolder(
            f"{folder} holds something that is no comparison; {advice}"
        ) from error
    for name, value in record.identity.items():
        found = kept.identity[name]
        is_open = name.startswith("backend") and None in (found, value)
        if found != value and not is_open:
            raise ForeignFolder(
                f"{folder} holds a comparison with another {name}: {found!r}, "
                f"not {value!r}; {advice}"
            )
    return kept


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
        "left_out": record.left_out,
        "class_map": record.class_map,
        "shard": record.shard and [record.shard.index, record.shard.count],
    }


def _from_json(found: Any) -> Record:
    """KeyError, TypeError or ValueError if it is no record."""
    classes = found["class_ids"]
    return Record(
        a=_version_from_json({"model": found["model"], **found["a"]}),
        b=_version_from_json({"model": found["model"], **found["b"]}),
        data_name=found["data"]["name"],
        data_digest=found["data"]["digest"],
        gates=tuple(parse_gate(expression) for expression in found["gates"]),
        allow_missing=int(found["allow_missing"]),
        available=int(found["available"]),
        is_sample=bool(found.get("is_sample", False)),
        data_notes=tuple(map(str, found.get("data_notes", ()))),
        names=tuple(found["names"]),
        class_ids=None if classes is None else tuple(classes),
        left_out=dict(found.get("left_out", {})),
        class_map=tuple((a, b) for a, b in found.get("class_map", ())),
        shard=Shard(*found["shard"]) if found.get("shard") else None,
    )


def _version_to_json(version: ServedVersion) -> dict[str, object]:
    return {
        "model": version.model,
        "version": version.number,
        "file_sha256": version.file_sha256,
        "run_id": version.run_id,
        "epoch": version.epoch,
        "dataset_digest": version.dataset_digest,
        "aliases": version.aliases,
        "served_as": version.served_as,
        "labels": version.labels.to_json(),
    }


def _version_from_json(entry: Any) -> ServedVersion:
    """An entry of before 2026-11-30 has no digest of a file, as it is of none, and does
    not say what it was served as."""
    return ServedVersion(
        model=entry["model"],
        number=entry["version"],
        labels=Labels.from_json(entry["labels"]),
        run_id=entry["run_id"],
        epoch=whole_number(entry["epoch"]),
        dataset_digest=entry["dataset_digest"],
        aliases=None if entry["aliases"] is None else tuple(entry["aliases"]),
        file_sha256=entry.get("file_sha256"),
        served_as=entry.get("served_as"),
    )
