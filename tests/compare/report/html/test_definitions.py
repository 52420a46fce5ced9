"""The table of definitions says what every number is that it shows."""

from compare.report.html.definitions import defined_numbers, definitions
from compare.results.gates import PATHS
from compare.results.summary import Summary
from compare.results.wording import ARROW, say
from tests.compare.conftest import NO_NUMBERS


def test_each_has_a_meaning_and_a_formula_and_is_a_number_of_a_gate() -> None:
    for measure, paths in defined_numbers():
        assert measure.meaning
        assert measure.formula
        for path in paths:
            assert path in PATHS or (*path, "value") in PATHS


def test_no_two_have_one_name() -> None:
    names = [measure.name for measure, _ in defined_numbers()]

    assert len(names) == len(set(names))


def test_numbers_that_do_not_exist_are_left_out(summary: Summary) -> None:
    assert definitions(NO_NUMBERS) == []
    assert len(definitions(summary)) == len([*defined_numbers()])


def test_both_versions_are_said_with_their_intervals(summary: Summary) -> None:
    (first,) = (each for each in definitions(summary) if each.paths[0] == ("a", "top1"))

    a, b = first.said.split(f" {ARROW} ")

    assert a.startswith(f"{say(summary.a.top1_accuracy, 'percent')} (")
    assert b.startswith(f"{say(summary.b.top1_accuracy, 'percent')} (")
