"""`--matrix v1..v16`: every pair of versions, from predictions kept with them."""

import logging
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np

from classifier.storage import make_folder
from classifier.store.registry import Registry
from classifier.store.versions import (
    INT8,
    UnknownVersion,
    Version,
    canonical_name,
    find_version,
)
from compare.matrix.output import (
    Matrix,
    MatrixData,
    MatrixPair,
    MatrixVersion,
    matrix_lines,
    write_matrix,
)
from compare.matrix.predictions import ValidatedVersion, read_side_by_side
from compare.report.terminal import print_lines
from compare.results.comparison import NotComparable
from compare.results.record import ForeignFolder
from compare.statistics.paired import mcnemar_mid_p, paired_difference, share
from compare.statistics.top_five import paired_table

MOST = 100
"""Most versions in one matrix: smaller cells cannot be told apart."""

LONGEST_NUMBER = 9
"""Most digits of a version's number: longer ends of a range are not tried."""

HINT = "name two or more, as in v1..v16 or v1,v4,@best"

DRAWN, NOT_COMPARABLE = 0, 3

logger = logging.getLogger(__name__)


def draw_matrix(names: str, *, model: str | None, out: Path | None) -> int:
    """Write the folder, print the table, return the exit code.

    The code is 3 if the versions were validated on different images or classes. Raises
    UnknownModel, UnknownVersion, ForeignFolder, StoreUnavailable or OSError.
    """
    folder = out or Path(f"compare-matrix-{_file_name(names)}")
    if folder.exists() and not folder.is_dir():
        raise ForeignFolder(f"{folder} is a file; name another folder with --out")
    registry = Registry()
    name = registry.model_name(model)
    versions, notes = name_versions(registry.versions(name), names, model=name)
    try:
        validated = read_side_by_side(registry, versions)
    except NotComparable as error:
        logger.error("not comparable: %s", error)
        return NOT_COMPARABLE
    matrix = make_matrix(validated, notes=notes)
    make_folder(folder, flag="--out")
    write_matrix(folder, matrix)
    print_lines(matrix_lines(matrix, folder))
    return DRAWN


def make_matrix(
    validated: Sequence[ValidatedVersion], *, notes: Sequence[str] = ()
) -> Matrix:
    """All pairs of two or more aligned versions."""
    first = validated[0]
    return Matrix(
        model=first.version.model,
        data=MatrixData(first.version.dataset_name, first.version.dataset_digest),
        images=len(first.names),
        notes=tuple(notes),
        versions=tuple(map(_version, validated)),
        pairs=tuple(_pair(a, b) for a, b in combinations(validated, 2)),
    )


def _version(validated: ValidatedVersion) -> MatrixVersion:
    version, count = validated.version, len(validated.names)
    return MatrixVersion(
        version=version.number,
        run_id=version.run_id,
        epoch=version.epoch,
        aliases=tuple(version.aliases),
        top1=share(int(validated.right.sum()), count),
        top5=share(int((validated.ranks > 0).sum()), count),
    )


def _pair(baseline: ValidatedVersion, candidate: ValidatedVersion) -> MatrixPair:
    table = paired_table(baseline=baseline.right, candidate=candidate.right)
    differ = baseline.first != candidate.first
    return MatrixPair(
        a=baseline.version.number,
        b=candidate.version.number,
        images=len(baseline.names),
        disagreement_rate=float(np.mean(differ)) if len(differ) else None,
        broken=table.broken,
        fixed=table.fixed,
        delta=paired_difference(table),
        mcnemar_mid_p=mcnemar_mid_p(table),
    )


def _file_name(names: str) -> str:
    """`v1-v16` for `v1..v16`; the name never leads out of the current folder."""
    kept = [c if c.isalnum() or c in "._-" else "-" for c in names.replace("@", "")]
    return "".join(kept).replace("..", "-")[:80]


def name_versions(
    known: Sequence[Version], names: str, *, model: str
) -> tuple[list[Version], list[str]]:
    """The versions in the order of their names, each once, and notes for the reports.

    The ends of a range may be aliases. A number that is missing within a range is left
    out and noted. Raises UnknownVersion for any other name that is missing, and for
    fewer than two versions or too many.
    """
    found: dict[str, Version] = {}
    notes: list[str] = []
    for part in (part.strip() for part in names.split(",")):
        if ".." not in part:
            version = find_version(known, part, model=model)
            found.setdefault(version.number, version)
            continue
        there, missing = _range(known, part, model=model)
        found.update({v.number: v for v in there if v.number not in found})
        if missing:
            notes.append(
                f"{part}: the model has no {missing}, so the matrix is of the others"
            )
    if not 2 <= len(found) <= MOST:
        raise UnknownVersion(
            f"{names!r} names {len(found)} version{'s' * (len(found) != 1)} of "
            f"{model!r}; {HINT}, and at most {MOST}"
        )
    return list(found.values()), notes


def _range(
    known: Sequence[Version], part: str, *, model: str
) -> tuple[list[Version], str]:
    """Versions from one end to the other, and the names of missing ones."""
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
    """The number, which may be missing, or the number that an alias names."""
    if end.isdecimal() and len(end) <= LONGEST_NUMBER:
        return int(end)
    return int(find_version(known, end, model=model).number)


def _gaps(there: Sequence[int], low: int, high: int, suffix: str) -> Iterator[str]:
    """Names of the numbers from `low` to `high` that are missing: `v3`, `v5 to v9`."""
    edges = [low - 1, *there, high + 1]
    for before, after in pairwise(edges):
        if after - before == 2:
            yield f"v{before + 1}{suffix}"
        elif after - before > 2:
            yield f"v{before + 1}{suffix} to v{after - 1}{suffix}"
