"""Every definition is of a number that summary.json has."""

from typing import Any

import pytest

from compare.report.html.definitions import DEFINITIONS, Definition
from compare.results.gates import without_values
from compare.results.wording import look_up


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda each: each.path)
def test_its_path_leads_to_a_number(
    definition: Definition, summary: dict[str, Any]
) -> None:
    for side in "ab":
        value = look_up(summary, definition.path.replace("*", side))
        value = look_up(value, "value") if isinstance(value, dict) else value
        assert isinstance(value, int | float)
    assert definition.said(without_values()).count("\N{EN DASH}") >= 1


def test_both_versions_are_said_with_their_intervals(summary: dict[str, Any]) -> None:
    (first,) = (each for each in DEFINITIONS if each.path == "*.top1")

    a, b = first.said(summary).split(" \N{RIGHTWARDS ARROW} ")

    assert a.startswith(f"{100 * summary['a']['top1_accuracy']:.2f} % (")
    assert b.startswith(f"{100 * summary['b']['top1_accuracy']:.2f} % (")
