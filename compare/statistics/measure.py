"""Description of a number, and the small types of which summary.json is made.

`Annotated[Estimate, Measure("…", name="…", kind="percent")]`: the JSON schema takes the
meaning, the report's table of definitions takes all of it. Imports no library: gates
are named by these fields, and the command line must not wait for scipy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

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

    def __get_pydantic_json_schema__(
        self, schema: "CoreSchema", handler: "Callable[[CoreSchema], dict[str, object]]"
    ) -> dict[str, object]:
        return {**handler(schema), "description": self.meaning}


@dataclass(frozen=True)
class Estimate:
    value: Annotated[float | None, Measure("the value")] = None
    low: Annotated[float | None, Measure("lower end of its 95 % interval")] = None
    high: Annotated[float | None, Measure("upper end of its 95 % interval")] = None


NOTHING = Estimate()


@dataclass(frozen=True)
class Symmetry:
    """Bowker's test: are moves up as frequent as moves down? None without moves.

    J. Am. Stat. Assoc. 43:572 (1948). Pairs of cells that are both empty count neither
    in the statistic nor in the degrees of freedom.
    """

    statistic: Annotated[float | None, Measure("Bowker's chi-squared")] = None
    degrees_of_freedom: Annotated[
        int | None, Measure("pairs of places between which an image moved")
    ] = None
    p: Annotated[
        float | None,
        Measure(
            "probability of a rank table at least this asymmetric if moves up and down "
            "are equally frequent",
            name="Symmetry of the rank table",
            kind="p",
            formula="sum of (n\u1d62\u2c7c \N{MINUS SIGN} n\u2c7c\u1d62)"
            "\N{SUPERSCRIPT TWO} / (n\u1d62\u2c7c + n\u2c7c\u1d62), chi-squared",
            source="Bowker, JASA 43:572 (1948)",
        ),
    ] = None


@dataclass(frozen=True)
class ReliabilityBin:
    """The images whose confidence is in (low, high]; the first bin has 0 as well."""

    low: Annotated[float, Measure("confidence is more than this, or is 0")]
    high: Annotated[float, Measure("and at most this")]
    images: Annotated[int, Measure("images in the bin")]
    accuracy: Annotated[
        float | None, Measure("share that is right; null if there is no image")
    ]
    confidence: Annotated[
        float | None, Measure("mean confidence; null if there is no image")
    ]
