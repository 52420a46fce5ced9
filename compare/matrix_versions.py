"""Which versions `--matrix v1..v16` or `v1,v4,@best` names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from classifier.versions import (
    INT8,
    UnknownVersion,
    Version,
    canonical_name,
    find_version,
)

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
