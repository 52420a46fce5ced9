"""`--matrix v1..v16`: every pair of versions, from predictions kept with them."""

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
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
    split_name,
)
from compare.collect.schema import is_file_name
from compare.matrix.output import (
    CSV,
    JSON,
    PAGE,
    Matrix,
    MatrixData,
    MatrixPair,
    MatrixVersion,
    matrix_lines,
    write_matrix,
)
from compare.matrix.predictions import ValidatedVersion, read_side_by_side
from compare.mlflow_log import try_to_log_matrix
from compare.report.terminal import print_lines
from compare.results.comparison import NotComparable
from compare.results.record import ForeignFolder
from compare.statistics.paired import mcnemar_mid_p, paired_difference, share
from compare.statistics.top_five import paired_table

MOST = 100
"""Most versions in one matrix: smaller cells cannot be told apart."""

LONGEST_NUMBER = 9
"""Most digits of a version's number: longer ends of a range are not tried."""

HINT = "name two or more, as in v1..v16, v1,v4,@best or v1,birds/v3,rival.csv"

DRAWN, NOT_COMPARABLE = 0, 3

logger = logging.getLogger(__name__)


def draw_matrix(
    names: str, *, model: str | None, out: Path | None, is_logged: bool = False
) -> int:
    """Write the folder, print the table, log both, return the exit code.

    The code is 3 if the versions were validated on different images or classes. Raises
    UnknownModel, UnknownVersion, ForeignFolder, StoreUnavailable or OSError.
    """
    folder = out or Path(f"compare-matrix-{_file_name(names)}")
    if folder.exists() and not folder.is_dir():
        raise ForeignFolder(f"{folder} is a file; name another folder with --out")
    are_files = all(is_file_name(part.strip()) for part in names.split(","))
    registry = None if are_files else Registry()
    known_of = None if registry is None else _registered(registry, model)
    versions, notes = name_entries(names, known_of)
    try:
        validated = read_side_by_side(registry, versions)
    except NotComparable as error:
        logger.error("not comparable: %s", error)
        return NOT_COMPARABLE
    matrix = make_matrix(validated, notes=notes)
    make_folder(folder, flag="--out")
    write_matrix(folder, matrix)
    print_lines(matrix_lines(matrix, folder))
    if is_logged and registry is not None:
        files = [folder / file for file in (JSON, CSV, PAGE)]
        try_to_log_matrix(files, name=f"all pairs of {names}", model=matrix.model)
    return DRAWN


def make_matrix(
    validated: Sequence[ValidatedVersion], *, notes: Sequence[str] = ()
) -> Matrix:
    """All pairs of two or more aligned versions."""
    first = validated[0]
    models = {entry.version.model for entry in validated}
    names = dict(zip(map(id, validated), _names(validated), strict=True))
    return Matrix(
        model=first.version.model if len(models) == 1 else None,
        data=MatrixData(first.version.dataset_name, first.version.dataset_digest),
        images=len(first.names),
        notes=tuple(notes),
        versions=tuple(_version(entry, names[id(entry)]) for entry in validated),
        pairs=tuple(
            _pair(a, b, names[id(a)], names[id(b)])
            for a, b in combinations(validated, 2)
        ),
    )


def _names(validated: Sequence[ValidatedVersion]) -> list[str]:
    """Numbers, or `birds/v8` beside another model's versions; of files their paths."""
    versions = [entry.version for entry in validated]
    models = {v.model for v in versions if not is_file_name(v.number)}
    return [
        f"{version.model}/v{version.number}"
        if len(models) > 1 and not is_file_name(version.number)
        else version.number
        for version in versions
    ]


def _version(validated: ValidatedVersion, name: str) -> MatrixVersion:
    version, count = validated.version, len(validated.names)
    return MatrixVersion(
        version=name,
        run_id=version.run_id,
        epoch=version.epoch,
        aliases=tuple(version.aliases),
        top1=share(int(validated.right.sum()), count),
        top5=share(int((validated.ranks > 0).sum()), count),
    )


def _pair(
    baseline: ValidatedVersion, candidate: ValidatedVersion, a: str, b: str
) -> MatrixPair:
    table = paired_table(baseline=baseline.right, candidate=candidate.right)
    differ = baseline.first != candidate.first
    return MatrixPair(
        a=a,
        b=b,
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


KnownOf = Callable[[str | None], tuple[str, Sequence[Version]]]
"""A model's name and versions; None is the model of --model, or the only one."""


def _registered(registry: Registry, default: str | None) -> KnownOf:
    """Raises UnknownModel or StoreUnavailable. Each model is read once."""

    @functools.cache
    def known(model: str | None) -> tuple[str, Sequence[Version]]:
        name = registry.model_name(model or default)
        return name, registry.versions(name)

    return known


def name_entries(
    names: str, known_of: KnownOf | None
) -> tuple[list[Version], list[str]]:
    """Versions and files in the order of their names, each once; notes for the reports.

    The ends of a range may be aliases. A number that is missing within a range is left
    out and noted. The number of a file is its path. `known_of` is None if all are
    files. Raises UnknownVersion for any other name that is missing, and for fewer than
    two entries or too many.
    """
    found: dict[tuple[str, str], Version] = {}
    notes: list[str] = []
    for part in (part.strip() for part in names.split(",")):
        if part.lower().endswith(".onnx"):
            raise UnknownVersion(
                f"{part} keeps no predictions; compare it first, with --export FILE, "
                "and name that file"
            )
        if is_file_name(part):
            found[part, part] = Version(model=part, number=part, model_id=None)
            continue
        assert known_of is not None
        of_model, name = split_name(part)
        model, known = known_of(of_model)
        there, missing = _name_part(known, name, model=model)
        for version in there:
            found.setdefault((version.model, version.number), version)
        notes += missing
    if not 2 <= len(found) <= MOST:
        raise UnknownVersion(
            f"{names!r} names {len(found)} version{'s' * (len(found) != 1)}; {HINT}, "
            f"and at most {MOST}"
        )
    return list(found.values()), notes


def _name_part(
    known: Sequence[Version], part: str, *, model: str
) -> tuple[list[Version], list[str]]:
    """The versions of one name or range, and a note if some are missing."""
    if ".." not in part:
        return [find_version(known, part, model=model)], []
    there, missing = _range(known, part, model=model)
    note = f"{part}: the model has no {missing}, so the matrix is of the others"
    return there, [note] if missing else []


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
