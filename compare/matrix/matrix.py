"""`--matrix v1..v16`: any number of versions, each with each, and no server."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from classifier.store.registry import Registry
from classifier.store.versions import (
    INT8,
    UnknownVersion,
    Version,
    canonical_name,
    find_version,
)
from compare.collect.answer_store import ForeignFolder
from compare.matrix.output import print_matrix, write_matrix
from compare.matrix.predictions import ValidatedVersion, read_side_by_side
from compare.results.comparison import NotComparable
from compare.statistics.paired import (
    Estimate,
    PairedTable,
    mcnemar_mid_p,
    paired_difference,
    share,
)
from compare.statistics.top_five import paired_table

MOST = 100
"""Versions in one matrix: the cells of more cannot be told apart."""

LONGEST_NUMBER = 9
"""Digits: longer ones are no version's, and a range of them is not gone over."""

HINT = "name two or more, as in v1..v16 or v1,v4,@best"


@dataclass(frozen=True)
class NamedVersions:
    """In the order in which they were named, each once."""

    versions: tuple[Version, ...]
    notes: tuple[str, ...]
    """What a range went over although it is not there."""


def name_versions(known: Sequence[Version], asked: str, *, model: str) -> NamedVersions:
    """UnknownVersion for a name that is not there, or fewer than two or too many.

    A number that is missing within a range is left out and noted; every other name
    must exist. The ends of a range may be aliases too.
    """
    found: dict[str, Version] = {}
    notes: list[str] = []
    for part in (part.strip() for part in asked.split(",")):
        if ".." not in part:
            version = find_version(known, part, model=model)
            found.setdefault(version.number, version)
            continue
        there, missing = _range(known, part, model=model)
        found.update({v.number: v for v in there if v.number not in found})
        if missing:
            notes.append(f"{part} goes on without {missing}, as the model has none")
    if not 2 <= len(found) <= MOST:
        raise UnknownVersion(
            f"{asked!r} names {len(found)} version{'s' * (len(found) != 1)} of "
            f"{model!r}; {HINT}, and at most {MOST}"
        )
    return NamedVersions(tuple(found.values()), tuple(notes))


def _range(
    known: Sequence[Version], part: str, *, model: str
) -> tuple[list[Version], str]:
    """Those from one end to the other, and the names of those that are missing."""
    written = part.split("..")
    ends = [canonical_name(end.strip()) for end in written]
    forms = [end.endswith(INT8) for end in ends]
    if len(ends) != 2 or not all(written) or forms[0] != forms[1]:
        raise UnknownVersion(f"{part!r} is no range of versions; {HINT}")
    suffix = INT8 if forms[0] else ""
    low, high = (_number(known, end.removesuffix(suffix), model) for end in ends)
    if low > high:
        raise UnknownVersion(
            f"{part!r} runs from v{low} down to v{high}; write v{high}..v{low}"
        )
    forms_of = {
        int(version.number): version.int8 if suffix else version for version in known
    }
    there = {
        number: version
        for number, version in sorted(forms_of.items())
        if version is not None and low <= number <= high
    }
    return list(there.values()), ", ".join(_gaps(list(there), low, high, suffix))


def _number(known: Sequence[Version], end: str, model: str) -> int:
    """A number, whether it is there or not; an alias is looked up."""
    if end.isdecimal() and len(end) <= LONGEST_NUMBER:
        return int(end)
    return int(find_version(known, end, model=model).number)


def _gaps(there: Sequence[int], low: int, high: int, suffix: str) -> Iterator[str]:
    """`v3` or `v5 to v9`, of the numbers from low to high that are not there."""
    edges = [low - 1, *there, high + 1]
    for before, after in pairwise(edges):
        if after - before == 2:
            yield f"v{before + 1}{suffix}"
        elif after - before > 2:
            yield f"v{before + 1}{suffix} to v{after - 1}{suffix}"


DRAWN, NOT_COMPARABLE = 0, 3
SCHEMA = 1

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """Two versions' places in the matrix, the baseline first, and what differs."""

    a: int
    b: int
    disagreement_rate: float | None
    table: PairedTable
    delta: Estimate
    mid_p: float


@dataclass(frozen=True)
class Matrix:
    """Everything that is drawn."""

    model: str
    data_name: str | None
    data_digest: str | None
    images: int
    versions: tuple[ValidatedVersion, ...]
    pairs: tuple[Pair, ...]
    """Each two once, in the order in which they were named."""

    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """matrix.json: fractions, 0..1; differences are b - a; 0/0 is null."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "data": {"name": self.data_name, "digest": self.data_digest},
            "images": self.images,
            "notes": list(self.notes),
            "versions": [_version_to_json(version) for version in self.versions],
            "pairs": [self._pair_to_json(pair) for pair in self.pairs],
        }

    def _pair_to_json(self, pair: Pair) -> dict[str, Any]:
        a, b = (self.versions[place].version.number for place in (pair.a, pair.b))
        return {
            "a": a,
            "b": b,
            "images": self.images,
            "disagreement_rate": pair.disagreement_rate,
            "broken": pair.table.broken,
            "fixed": pair.table.fixed,
            "delta": asdict(pair.delta),
            "mcnemar_mid_p": pair.mid_p,
        }


def draw_matrix(versions: str, *, model: str | None, out: Path | None) -> int:
    """Writes the folder and prints the table; the exit code.

    UnknownModel, UnknownVersion, ForeignFolder, StoreUnavailable or OSError; 3 where
    the versions were validated on different images or classes.
    """
    folder = out or Path(f"compare-matrix-{_file_name(versions)}")
    if folder.exists() and not folder.is_dir():
        raise ForeignFolder(f"{folder} is a file; name another folder with --out")
    registry = Registry()
    name = registry.model_name(model)
    named = name_versions(registry.versions(name), versions, model=name)
    try:
        validated = read_side_by_side(registry, named.versions)
    except NotComparable as error:
        logger.error("not comparable: %s", error)
        return NOT_COMPARABLE
    matrix = make_matrix(validated, notes=named.notes)
    folder.mkdir(parents=True, exist_ok=True)
    document = matrix.to_json()
    write_matrix(folder, document)
    print_matrix(document, folder)
    return DRAWN


def make_matrix(
    validated: list[ValidatedVersion], *, notes: tuple[str, ...] = ()
) -> Matrix:
    """Of two or more versions, aligned."""
    first = validated[0]
    return Matrix(
        model=first.version.model,
        data_name=first.version.dataset_name,
        data_digest=first.version.dataset_digest,
        images=len(first.names),
        versions=tuple(validated),
        pairs=tuple(
            _pair(validated, a, b) for a, b in combinations(range(len(validated)), 2)
        ),
        notes=notes,
    )


def _pair(validated: list[ValidatedVersion], a: int, b: int) -> Pair:
    baseline, candidate = validated[a], validated[b]
    table = paired_table(baseline=baseline.right, candidate=candidate.right)
    differ = baseline.first != candidate.first
    return Pair(
        a=a,
        b=b,
        disagreement_rate=float(np.mean(differ)) if len(differ) else None,
        table=table,
        delta=paired_difference(table),
        mid_p=mcnemar_mid_p(table),
    )


def _version_to_json(validated: ValidatedVersion) -> dict[str, Any]:
    version, count = validated.version, len(validated.names)
    return {
        "version": version.number,
        "run_id": version.run_id,
        "epoch": version.epoch,
        "aliases": list(version.aliases),
        "top1": asdict(share(int(validated.right.sum()), count)),
        "top5": asdict(share(int((validated.ranks > 0).sum()), count)),
    }


def _file_name(versions: str) -> str:
    """`v1..v16` is `v1-v16`; nothing in it leaves the folder we are in."""
    kept = [c if c.isalnum() or c in "._-" else "-" for c in versions.replace("@", "")]
    return "".join(kept).replace("..", "-")[:80]
