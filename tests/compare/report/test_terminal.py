"""The report on standard output, in every kind of comparison."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compare.collect.schema import TopAnswer
from compare.report.terminal import clipped, report_lines, shown_lines
from compare.results.comparison import Comparison, align
from compare.results.gates import parse_gate
from compare.results.numbers import Probe
from compare.results.summary import Summary
from compare.results.verdict import Verdict, judge, refuse
from compare.results.wording import chance_in_words
from compare.statistics.measure import Estimate
from tests.compare.conftest import (
    DATA,
    UNLABELLED,
    as_json,
    image_facts,
    made_up_comparison,
    served,
)

FOLDER = Path("compare-v8-v16")
GATES = tuple(
    parse_gate(text)
    for text in (
        "negative_flip_rate>0.06",
        "delta.low<-0.005",
        "top5.delta.low<-0.01",
        "class_regressions>0",
        "b.expected_calibration_error>0.1",
        "mean_reciprocal_rank_delta.low<-0.01",
    )
)
NOTES = ["v8 was validated on other data: digest 0123456789ab, here abcdef012345"] * 6


SHARE = ("{:.2f} %", "{:+.2f}", 100)


def _verdict(**options: Any) -> Verdict:
    labelled = options.pop("labelled", True)
    a, b = options.pop("a", served("8")), options.pop("b", served("16"))
    return judge(
        replace(
            made_up_comparison(labelled=labelled), missing=options.pop("missing", {})
        ),
        a=a,
        b=b,
        data=DATA if labelled else UNLABELLED,
        images=image_facts(400),
        probe=Probe(100, 0),
        **{"gates": (), **options},
    )


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("gates", [(), GATES])
@pytest.mark.parametrize("notes", [(), NOTES])
@pytest.mark.parametrize("numbers", [("8", "16"), ("116.int8", "117.int8")])
def test_thirty_lines_of_eighty_columns_are_enough(
    labelled: bool, gates: Any, notes: Any, numbers: tuple[str, str]
) -> None:
    a, b = (
        replace(served(n, epoch=16), aliases=("best",), model="tiny-imagenet-resnet18")
        for n in numbers
    )
    verdict = _verdict(
        labelled=labelled, gates=gates, notes=notes, a=a, b=b, missing={"x": "late"}
    )

    lines = report_lines(verdict, data="tiny-imagenet", folder=FOLDER)

    assert len(lines) <= 30
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in "".join(lines)
    assert lines[-1] == "report:  compare-v8-v16/report.html"


def test_all_that_goes_with_both_versions_is_in_the_table() -> None:
    verdict = _verdict()
    summary = as_json(verdict.summary)

    lines = report_lines(verdict, data="digits", folder=FOLDER)

    calibration, loss = summary["calibration_error_delta"], summary["log_loss_delta"]
    for name, key, delta, kind, change_kind, unit in (
        ("first answer right", "top1_accuracy", summary["top1"]["delta"], *SHARE),
        ("truth among five", "top5_accuracy", summary["top5"]["delta"], *SHARE),
        ("calibration error", "expected_calibration_error", calibration, *SHARE),
        ("mean confidence", "mean_confidence", summary["confidence"]["delta"], *SHARE),
        ("log loss", "log_loss", loss, "{:.3f}", "{:+.3f}", 1),
    ):
        (line,) = (line for line in lines if line.startswith(name))
        assert kind.format(unit * summary["a"][key]) in line
        assert kind.format(unit * summary["b"][key]) in line
        value, low, high = (change_kind.format(unit * end) for end in delta.values())
        assert f"{value} " in line
        assert f"[{low}, {high}]" in line
        assert ("points" in line) == (unit == 100)


def test_a_long_headline_cuts_no_sentence_while_there_is_room() -> None:
    verdict = _verdict(notes=NOTES[:1])
    summary = verdict.summary
    moved = replace(
        summary,
        top1=replace(
            summary.top1,
            broken=1_234,
            fixed=1_310,
            mcnemar_mid_p=0.031,
            delta=Estimate(0.0053, -0.0002, 0.0108),
        ),
        a=replace(summary.a, expected_calibration_error=0.18),
        b=replace(summary.b, expected_calibration_error=0.38),
        calibration_error_delta=Estimate(0.2, 0.1, 0.3),
    )

    lines = report_lines(replace(verdict, summary=moved), data="digits", folder=FOLDER)

    text = " ".join(" ".join(lines).split())
    rate = summary.disagreement_rate
    assert rate is not None
    assert "too close to call" in text
    assert f"The first answer changes on {100 * rate:.2f} % of the images." in text
    assert len(lines) <= 30


def test_classes_that_could_have_been_flagged_are_counted() -> None:
    verdict = _verdict()

    (line,) = (
        line
        for line in report_lines(verdict, data="digits", folder=FOLDER)
        if line.startswith("Classes shown worse")
    )

    classes = verdict.summary.classes
    assert f"({classes.could_be_flagged} changed enough to show it)" in line


def test_without_labels_the_report_says_so_and_judges_nobody() -> None:
    verdict = _verdict(labelled=False)

    text = " ".join(
        " ".join(report_lines(verdict, data="photos", folder=FOLDER)).split()
    )

    assert "The images have no labels" in text
    assert f"{100 * (verdict.summary.disagreement_rate or 0):.2f} %" in text
    for word in ("right,", "broken", "fixed", "accuracy", "calibration"):
        assert word not in text


def test_sentences_about_long_names_say_a_and_b() -> None:
    a, b = (replace(served("1"), number=f"{'long_' * 14}{n}.csv") for n in "12")

    lines = report_lines(_verdict(a=a, b=b), data="digits", folder=FOLDER)

    text = " ".join(" ".join(lines).split())
    heading, rest = text.split(", on 400 images of digits")
    assert heading.endswith(f"{b.number} (B) in place of {a.number} (A)")
    assert "B breaks " in rest
    assert "long_" not in rest
    assert len(lines) <= 30


def test_a_version_chosen_on_these_images_is_noted_once() -> None:
    a, b = (replace(served(number), aliases=("best",)) for number in ("8", "16"))

    both = report_lines(_verdict(a=a, b=b), data="d", folder=FOLDER)
    one = report_lines(_verdict(b=b), data="d", folder=FOLDER)
    same = report_lines(_verdict(a=b, b=b), data="d", folder=FOLDER)

    assert sum("chosen" in line for line in both) == 1
    assert "v8 and v16 were chosen as best" in "\n".join(both)
    assert "Note: v16 was chosen as best" in "\n".join(one)
    assert "Note: v16 was chosen as best" in "\n".join(same)


def test_the_reason_of_a_refusal_comes_first() -> None:
    a, b = served("8"), served("16")
    reasons = [f"reason {n}: " + "word " * 40 for n in range(8)]
    verdict = refuse(reasons, a=a, b=b, gates=GATES, notes=NOTES, data=DATA)

    lines = report_lines(verdict, data="digits", folder=FOLDER)

    assert lines[0] == "NOT COMPARABLE"
    assert lines[1].startswith("  reason 0")
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 80
    assert "see compare-v8-v16/" in lines


def test_images_without_labels_are_shown_with_both_first_answers() -> None:
    comparison = made_up_comparison(labelled=False)
    names = comparison.labels.names

    lines = shown_lines(comparison, 3)

    rows = sorted(range(400), key=comparison.names.__getitem__)
    assert len(lines) == 3
    for row, line in zip(rows, lines, strict=False):
        a, b = (names[top.indices[row, 0]] for top in (comparison.a, comparison.b))
        assert line.split() == [comparison.names[row], "a:", a, "b:", b]


def test_what_is_cut_off_shows_that_there_was_more() -> None:
    assert clipped(["a", "b"], 2) == ["a", "b"]
    assert clipped(["a", "b" * 80, "c"], 2) == ["a", "b" * 78 + " …"]


def test_words_about_chance_are_those_of_mid_p() -> None:
    top = TopAnswer((0, 1, 2, 3, 4), (0.5, 0.2, 0.1, 0.05, 0.01))
    other = TopAnswer((1, 0, 2, 3, 4), (0.5, 0.2, 0.1, 0.05, 0.01))
    answers = {"x": (top, other)}
    one = align(["x"], ["n0"], answers, a=served("8"), b=served("16"))

    verdict = judge(one, a=served("8"), b=served("16"), gates=(), data=DATA)
    text = " ".join(report_lines(verdict, data="d", folder=Path("x")))

    assert "breaks 1 image that" in " ".join(text.split())
    assert "in 50 of 100 such comparisons (McNemar's mid-p 0.5; " in " ".join(
        text.split()
    )


def test_the_report_has_the_summarys_numbers_and_says_what_they_mean(
    verdict: Verdict, summary: Summary
) -> None:
    lines = report_lines(verdict, data="digits", folder=Path("compare-v8-v16"))
    text = " ".join(" ".join(lines).split())

    top1 = summary.top1
    assert f"v16 breaks {top1.broken} images that v8 had right" in text
    assert f"and fixes {top1.fixed} that it had wrong" in text
    assert f"{100 * (summary.a.top1_accuracy or 0):.2f} %" in text
    assert "chance would split" in text
    assert "such comparisons" in text


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (0.43, "in 43 of 100 such comparisons"),
        (0.039, "in 39 of 1,000 such comparisons"),
        (0.0499, "in 49 of 1,000 such comparisons"),
        (0.0501, "in 50 of 1,000 such comparisons"),
        (1e-9, "in less than 1 of 1,000 such comparisons"),
        (1.0, "in 100 of 100 such comparisons"),
    ],
)
def test_chance_is_said_in_words(p: float, words: str) -> None:
    assert chance_in_words(p) == words


def test_images_are_shown_in_the_seed_reports_manner(comparison: Comparison) -> None:
    lines = shown_lines(comparison, 50)

    assert len(lines) == 50
    rows = sorted(range(400), key=comparison.names.__getitem__)
    names = [comparison.names[row] for row in rows[:4]]
    assert names == ["img_0.png", "img_1.png", "img_10.png", "img_100.png"]
    for row, line in zip(rows, lines, strict=False):
        a, b = comparison.a_ranks[row], comparison.b_ranks[row]
        target = comparison.targets[row]
        truth = [str(target), comparison.labels.names[target]]
        assert line.split()[:3] == [comparison.names[row], *truth]
        assert ("a: " in line) == (a != b)
        if (a, b) == (1, 2):
            assert line.endswith("10000 01000  a: first, b: second")


def test_the_first_images_of_tiny_imagenet_are_in_the_seed_reports_order() -> None:
    names = [f"val_{number}.JPEG" for number in range(1_001)]
    top = TopAnswer((0, 1, 2, 3, 4), (0.5, 0.2, 0.1, 0.05, 0.01))
    third = TopAnswer((0, 1, 7, 3, 4), (0.5, 0.2, 0.1, 0.05, 0.01))
    second = TopAnswer((0, 7, 2, 3, 4), (0.5, 0.2, 0.1, 0.05, 0.01))
    answers = dict.fromkeys(names, (top, top))
    answers["val_10.JPEG"] = (third, second)
    a, b = served("8"), served("16")

    lines = shown_lines(align(names, ["n7"] * len(names), answers, a=a, b=b), 5)

    shown = ["val_0", "val_1", "val_10", "val_100", "val_1000"]
    assert [line.split(".")[0] for line in lines] == shown
    assert lines[0] == f"{'val_0.JPEG':<16} 7 {'n7':<24} 00000 00000"
    assert lines[2].endswith(" 00100 01000  a: third, b: second")


def test_a_reader_who_left_is_no_error(folder: Path) -> None:
    command = [sys.executable, "-m", "compare", "--from", str(folder), "--show", "9"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""

    assert process.returncode == 0
