"""Description of a number, and the small types of which summary.json is made.

`delta: Estimate = measure("…", name="…", kind="percent")`: the JSON schema takes the
meaning, the report's table of definitions takes all of it. Imports no library: gates
are named by these fields, and the command line must not wait for scipy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["percent", "points", "number", "change", "p", "count", "ms", "any"]
"""How a number is written: a fraction in percent, a difference of fractions in
percentage points, a difference of log losses or scores as `change`; `any` is for the
values of gates."""


@dataclass(frozen=True)
class Measure:
    meaning: str
    name: str = ""
    """Heading in the report's table of definitions; empty if it is not listed there."""

    kind: Kind = "number"
    formula: str = ""
    source: str = ""


def describe(meaning: str, **more: Any) -> Mapping[str, object]:
    """Metadata of a field; `more` are the other fields of Measure.

    pydantic takes `description` for the JSON schema.
    """
    return {"description": meaning, "measure": Measure(meaning, **more)}


def measure(meaning: str, *, default: Any = None, **more: Any) -> Any:
    """A field with its Measure; `default` stands for a value that does not exist."""
    # Any, as in dataclasses.field: the field's annotation is its type.
    return field(default=default, metadata=describe(meaning, **more))


@dataclass(frozen=True)
class Estimate:
    value: float | None = measure("the value")
    low: float | None = measure("lower end of its 95 % interval")
    high: float | None = measure("upper end of its 95 % interval")


NOTHING = Estimate()


def estimate(meaning: str, **more: Any) -> Any:
    return measure(meaning, default=NOTHING, **more)


@dataclass(frozen=True)
class Symmetry:
    """Bowker's test: are moves up as frequent as moves down? None without moves.

    J. Am. Stat. Assoc. 43:572 (1948). Pairs of cells that are both empty count neither
    in the statistic nor in the degrees of freedom.
    """

    statistic: float | None = measure("Bowker's chi-squared")
    degrees_of_freedom: int | None = measure(
        "pairs of places between which an image moved"
    )
    p: float | None = measure(
        "probability of a rank table at least this asymmetric if moves up and down "
        "are equally frequent",
        name="Symmetry of the rank table",
        kind="p",
        formula="sum of (n\u1d62\u2c7c \N{MINUS SIGN} n\u2c7c\u1d62)"
        "\N{SUPERSCRIPT TWO} / (n\u1d62\u2c7c + n\u2c7c\u1d62), chi-squared",
        source="Bowker, JASA 43:572 (1948)",
    )


@dataclass(frozen=True)
class ReliabilityBin:
    """The images whose confidence is in (low, high]; the first bin has 0 as well."""

    low: float = field(metadata=describe("confidence is more than this, or is 0"))
    high: float = field(metadata=describe("and at most this"))
    images: int = field(metadata=describe("images in the bin"))
    accuracy: float | None = field(
        metadata=describe("share that is right; null if there is no image")
    )
    confidence: float | None = field(
        metadata=describe("mean confidence; null if there is no image")
    )
