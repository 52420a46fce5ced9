"""The report's tables show the counted numbers."""

from dataclasses import replace

import pytest

from compare.report.html.tables import (
    broken_if_unrelated,
    class_rows,
    confidence_rows,
    confusion_filters,
    defined_numbers,
    definitions,
    figures,
    rank_rows,
    reach,
    slice_reach,
)
from compare.report.markdown import markdown
from compare.report.terminal import change_lines
from compare.results.comparison import Comparison
from compare.results.folder import RunFacts
from compare.results.gates import PATHS
from compare.results.numbers import ConfusionChange
from compare.results.summary import Summary
from compare.results.verdict import Verdict
from compare.results.wording import ARROW, say
from compare.statistics.measure import Estimate
from tests.compare.conftest import NO_NUMBERS, UNLABELLED


def test_rank_cells_lead_to_the_images_they_count(summary: Summary) -> None:
    rows = rank_rows(summary)

    counts = [[cell.count for cell in row] for row in rows]
    assert counts == summary.rank_transitions
    assert rows[0][5].filter == "show=all&a_rank=1&b_rank=0"
    assert [rows[2][column].kind for column in (1, 2, 3)] == ["up", "same", "down"]
    moved = [cell.weight for row in rows for cell in row if cell.kind != "same"]
    assert 0 <= min(moved) <= max(moved) == 1


def test_confidence_cells_lead_to_the_images_they_count(
    summary: Summary,
) -> None:
    rows = confidence_rows(summary)

    counts = [[cell.count for cell in row] for row in rows]
    assert counts == summary.confidence.table
    assert rows[2][7].filter == "show=all&a_tenth=2&b_tenth=7"
    assert [rows[2][column].kind for column in (1, 2, 3)] == ["moved", "same", "moved"]


def test_no_table_has_no_rows() -> None:
    assert confidence_rows(NO_NUMBERS) == rank_rows(NO_NUMBERS) == []


def test_classes_that_luck_explains_least_come_first(
    verdict: Verdict, comparison: Comparison
) -> None:
    rows = class_rows(verdict.classes, comparison.labels)

    assert len(rows) == len(verdict.classes)
    assert [row.q_value for row in rows] == sorted(row.q_value for row in rows)
    worse = sum(row.mark == "worse" for row in rows)
    assert worse == verdict.summary.class_regressions
    first = next(c for c in verdict.classes if c.index == rows[0].index)
    assert rows[0].b - rows[0].a == pytest.approx(first.delta.value)


def test_confusions_lead_to_images_by_the_classes_places(
    comparison: Comparison,
) -> None:
    entry = ConfusionChange(
        target_id="n2", target="", answer_id="n5", answer="", a=0, b=1
    )

    links = confusion_filters(entry, comparison.labels)

    assert links["b"] == "show=all&target=2&b=5"
    assert links["either"] == "show=all&target=2&says=5"


def test_pictures_of_slices_share_an_axis(summary: Summary) -> None:
    ends = [
        abs(end)
        for part in summary.slices or ()
        for end in (part.delta.low, part.delta.high)
        if end is not None
    ]

    assert slice_reach(summary) > max(ends)
    assert slice_reach(NO_NUMBERS) == 0


def test_unrelated_versions_break_what_the_relative_flip_rate_is_relative_to(
    summary: Summary,
) -> None:
    top1 = summary.top1
    assert top1.negative_flip_rate.value is not None
    assert top1.relative_flip_rate is not None

    expected = top1.negative_flip_rate.value / top1.relative_flip_rate

    assert broken_if_unrelated(summary) == pytest.approx(expected)
    assert broken_if_unrelated(NO_NUMBERS) is None


def test_six_numbers_with_intervals_and_pictures(summary: Summary) -> None:
    six = figures(summary)

    assert len(six) == 6
    assert six[0].estimate == summary.top1.delta
    for figure in six:
        low, high = figure.estimate.low, figure.estimate.high
        assert low is not None
        assert high is not None
        assert figure.least <= low <= high <= figure.most


def test_without_labels_there_are_other_numbers(summary: Summary) -> None:
    five = figures(replace(summary, data=UNLABELLED))

    assert five[0].name == "Changed first answers"
    assert five[0].estimate == summary.changed_first_answers


def test_a_picture_reaches_a_little_beyond_its_interval() -> None:
    assert 0.5 < reach(Estimate(0.1, -0.5, 0.3)) < 0.6
    assert reach(Estimate()) == 0


def test_truth_among_five_of_five_classes_is_left_out(summary: Summary) -> None:
    """The truth is always among five of five classes: 100 % in both."""
    of_five = replace(
        summary,
        a=replace(summary.a, top5_accuracy=1.0),
        b=replace(summary.b, top5_accuracy=1.0),
        overlap=replace(summary.overlap, top5=1.0),
    )

    shown, left = (
        [
            "\n".join(figure.name for figure in figures(said)),
            "\n".join(change_lines(said)),
            markdown(said, RunFacts()).split("\n\n| images")[0],
        ]
        for said in (summary, of_five)
    )
    assert all("among" in text for text in shown)
    assert not any("truth among" in text.lower() for text in left)


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
