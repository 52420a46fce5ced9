"""`--matrix v1..v16`: any number of versions, each with each, and no server."""

import logging
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from classifier.registry import Registry
from compare.agreement import paired_table
from compare.answers import ForeignFolder
from compare.comparison import NotComparable
from compare.intervals import (
    Estimate,
    PairedTable,
    mcnemar_mid_p,
    paired_difference,
    share,
)
from compare.matrix_files import write_matrix
from compare.matrix_table import print_matrix
from compare.matrix_versions import name_versions
from compare.validation_predictions import ValidatedVersion, read_side_by_side

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
