"""Description of a number, written once beside the field that holds it.

`Annotated[Estimate, Measure("…", name="…", kind="percent")]`: the JSON schema takes the
meaning, the report's table of definitions takes all of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

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
        self, schema: CoreSchema, handler: Callable[[CoreSchema], dict[str, object]]
    ) -> dict[str, object]:
        return {**handler(schema), "description": self.meaning}
