"""The numbers at the head of the report."""

from typing import Any

from compare.markdown_report import markdown
from compare.report_figures import figures, reach
from compare.terminal_tables import accuracy_lines


def test_six_numbers_with_intervals_and_pictures(summary: dict[str, Any]) -> None:
    six = figures(summary, labelled=True)

    assert len(six) == 6
    delta = summary["top1"]["delta"]["value"]
    assert six[0].value == f"{100 * delta:+.2f} points".replace("-", "\N{MINUS SIGN}")
    assert all(" to " in figure.interval for figure in six)
    assert all("<svg" in figure.plot for figure in six)


def test_without_labels_there_are_other_numbers(summary: dict[str, Any]) -> None:
    five = figures({**summary, "top1": None, "top5": None}, labelled=False)

    assert five[0].name == "Changed first answers"
    assert five[0].value == f"{100 * summary['disagreement_rate']:.2f} %"


def test_numbers_that_do_not_exist_are_dashes() -> None:
    for labelled in (True, False):
        assert {
            figure.value.split()[0] for figure in figures({}, labelled=labelled)
        } == {"\N{EN DASH}"}


def test_a_picture_reaches_a_little_beyond_its_interval() -> None:
    assert 0.5 < reach({"value": 0.1, "low": -0.5, "high": 0.3}) < 0.6
    assert reach(None) == 0


def test_truth_among_five_of_five_classes_is_left_out(summary: dict[str, Any]) -> None:
    """It is always there: 100 % in both, and nothing to learn from it."""
    of_five = {
        **summary,
        "a": {**summary["a"], "top5_accuracy": 1.0},
        "b": {**summary["b"], "top5_accuracy": 1.0},
        "overlap": {**summary["overlap"], "top5": 1.0},
    }

    shown, left = (
        [
            "\n".join(figure.name for figure in figures(said, labelled=True)),
            "\n".join(accuracy_lines(said, "v8", "v16")),
            markdown(said, {}).split("\n\n| images")[0],
        ]
        for said in (summary, of_five)
    )
    assert all("among" in text for text in shown)
    assert not any("truth among" in text.lower() for text in left)
