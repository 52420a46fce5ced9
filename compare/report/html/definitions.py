"""The report's table of definitions, taken from the fields of Summary."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from compare.results.summary import FieldPath, Place, Summary, places, value_at
from compare.results.wording import ABSENT, ARROW, say_value
from compare.statistics.measure import Measure


@dataclass(frozen=True)
class Definition:
    """A row: one number, or one number of both versions."""

    measure: Measure
    paths: tuple[FieldPath, ...]
    """Where it stands in summary.json."""

    said: str
    """The value with its interval; `a → b` if each version has its own."""


def definitions(summary: Summary) -> list[Definition]:
    """The numbers that exist, in the order of summary.json."""
    rows = []
    for measure, paths in defined_numbers():
        said = f" {ARROW} ".join(
            say_value(value_at(summary, path), measure.kind) for path in paths
        )
        if said.replace(ABSENT, "").strip(f" {ARROW}"):
            rows.append(Definition(measure, paths, said))
    return rows


def defined_numbers() -> Iterator[tuple[Measure, tuple[FieldPath, ...]]]:
    """Every measure that has a name, with its paths; `a` and `b` share a row."""
    for place in places():
        if not place.measure.name or place.path[0] == "b":
            continue
        paths: tuple[FieldPath, ...] = (place.path,)
        if place.path[0] == "a":
            paths = (place.path, ("b", *place.path[1:]))
        yield _of_five(place) if place.path[0] == "top5" else place.measure, paths


def _of_five(place: Place) -> Measure:
    """The measures of `top5` are those of `top1` with another meaning of right."""
    return replace(
        place.measure,
        name=f"{place.measure.name}, five answers",
        meaning="as for first answers; right means: the true class is among the five",
        formula="as for first answers",
        source="",
    )
