"""Numbers and verdicts in words."""

import re
from dataclasses import asdict
from typing import Any

import pytest

from compare.results.document import read_document
from compare.results.gates import parse_gate
from compare.results.verdict import judge, refuse
from compare.results.wording import (
    Words,
    notes_of,
    plain,
    plain_interval,
    say,
    say_value,
    verdict_in_words,
)
from compare.statistics.measure import Estimate, Kind
from compare.statistics.paired import PairedTable, mcnemar_mid_p, paired_difference
from tests.compare.conftest import DATA, made_up_comparison, served


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (0.31131, "percent", "31.13 %"),
        (-0.012, "points", "\N{MINUS SIGN}1.20"),
        (0.012, "points", "+1.20"),
        (0.00002, "points", "+0.0020"),
        (-1e-9, "points", "\N{MINUS SIGN}0.00"),
        (-0.346, "change", "\N{MINUS SIGN}0.346"),
        (0.00012, "change", "+0.00012"),
        (0.0496, "p", "0.0496"),
        (0.05, "p", "0.05"),
        (0.0504, "p", "0.05"),
        (0.00001, "p", "< 0.0001"),
        (0.0084, "p", "0.0084"),
        (10_000, "count", "10,000"),
        (None, "percent", "\N{EN DASH}"),
        (True, "count", "\N{EN DASH}"),
    ],
)
def test_numbers_have_their_units(value: object, kind: Kind, said: str) -> None:
    assert say(value, kind) == said


def test_an_estimate_is_said_with_its_interval() -> None:
    estimate = Estimate(0.0975, 0.0918, 0.1035)

    assert say_value(estimate, "percent") == "9.75 % (9.18 to 10.35 %)"
    assert say_value(Estimate(0.0975), "percent") == "9.75 %"
    assert say_value(Estimate(), "percent") == "\N{EN DASH}"


def test_the_terminal_has_the_same_numbers_in_ascii() -> None:
    estimate = Estimate(-0.012, -0.0209, -0.0031)

    assert plain(estimate.value, "points") == "-1.20"
    assert plain_interval(estimate, "points") == "[-2.09, -0.31]"
    assert plain_interval(Estimate(0.1, 0.09, 0.11), "percent") == "[9.00, 11.00]"
    assert plain_interval(Estimate(0.1), "percent") == ""
    assert plain(-0.020914876, "any") == "-0.02091"


def _words(document: dict[str, Any]) -> Words:
    return verdict_in_words(read_document(document))


def _with_table(
    document: dict[str, Any], table: tuple[int, int, int, int]
) -> dict[str, Any]:
    """A summary of these counts, both_right to both_wrong; nothing else moves."""
    paired = PairedTable(*table)
    unmoved = {"value": 0.0, "low": -0.1, "high": 0.1}
    return {
        **document,
        "a": {**document["a"]},
        "b": {**document["b"]},
        "top1": {
            **document["top1"],
            **asdict(paired),
            "delta": asdict(paired_difference(paired)),
            "mcnemar_mid_p": mcnemar_mid_p(paired),
        },
        "top5": {**document["top5"], "delta": unmoved},
        **dict.fromkeys(
            ("calibration_error_delta", "log_loss_delta", "brier_score_delta"), unmoved
        ),
    }


def _shifted(document: dict[str, Any], **top1: float) -> dict[str, Any]:
    return {**document, "top1": {**document["top1"], **top1}}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ((200, 20, 5, 175), "v16 is worse than v8 on images like these"),
        ((200, 5, 20, 175), "v16 is better than v8 on images like these"),
        ((200, 20, 15, 165), "Neither v8 nor v16 is shown to be better"),
        ((200, 0, 0, 200), "v16 breaks no image and fixes none"),
        ((800, 0, 5, 195), "It is too close to call whether v16 is better than v8"),
        ((0, 2, 0, 0), "It is too close to call whether v16 is worse than v8"),
    ],
)
def test_the_headline_says_what_test_and_interval_say(
    document: dict[str, Any], table: tuple[int, int, int, int], words: str
) -> None:
    assert _words(_with_table(document, table)).headline == words


SMALL = [
    (both_right, broken, fixed, images - both_right - broken - fixed)
    for images in range(1, 11)
    for both_right in range(images + 1)
    for broken in range(images - both_right + 1)
    for fixed in range(images - both_right - broken + 1)
]
LARGE = [
    (both_right, broken, fixed, both_wrong)
    for both_right, both_wrong in [(0, 17), (20, 5), (800, 195), (3, 9_990)]
    for broken in (0, 1, 2, 9, 40)
    for fixed in range(25)
]


@pytest.mark.parametrize("tables", [SMALL, LARGE], ids=["small", "large"])
def test_headline_interval_and_odds_never_contradict_each_other(
    document: dict[str, Any], tables: list[tuple[int, int, int, int]]
) -> None:
    """The sentences are parsed as a reader reads them."""
    for table in tables:
        words = _words(_with_table(document, table))
        said = " ".join(words.sentences)
        _, broken, fixed, _ = table
        is_off_zero = _says_off_zero(said)
        is_rare = _says_rare(said) if broken + fixed else False

        if is_off_zero and is_rare:
            better = f"is {'better' if fixed > broken else 'worse'} than v8 on images"
            assert better in words.headline, table
            assert "the interval of the change" not in said
        elif is_off_zero or is_rare:
            assert "too close to call" in words.headline, table
            assert ("leaves 0 out" in said) == is_off_zero
            assert ("which is rare, but" in said) == is_rare
        else:
            nothing = "breaks no image" if broken + fixed == 0 else "Neither v8 nor v16"
            assert nothing in words.headline, table
            assert "the interval of the change" not in said


def _says_off_zero(said: str) -> bool:
    match = re.search(r"between (\S+) and (\S+)\.", said)
    assert match is not None
    low, high = (float(end.replace("\N{MINUS SIGN}", "-")) for end in match.groups())
    return low > 0 or high < 0


def _says_rare(said: str) -> bool:
    """In words and in p alike."""
    words = re.search(r"in (less than )?([\d,]+) of ([\d,]+) such comparisons", said)
    p = re.search(r"mid-p (?:< )?([\d.e\u2212]+)", said)
    assert words is not None
    assert p is not None
    count, total = (int(number.replace(",", "")) for number in words.groups()[1:])
    is_rare = count / total < 0.05
    assert (float(p[1]) < 0.05) == is_rare, said
    return is_rare


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Neither v8 nor v16 is shown to be better"),
        (
            {"calibration_error_delta": (0.2, 0.18, 0.22)},
            "Neither v8 nor v16 is shown to be better; calibration error rises from "
            "18.00 % to 38.00 %",
        ),
        (
            {
                "calibration_error_delta": (0.2, -0.01, 0.22),
                "top5.delta": (-0.0267, -0.031, -0.022),
                "log_loss_delta": (1.3, 1.2, 1.4),
            },
            "Neither v8 nor v16 is shown to be better; the truth is among v16's five "
            "answers 2.67 points less often",
        ),
        (
            {
                "log_loss_delta": (-1.25, -1.4, -1.2),
                "brier_score_delta": (-0.1, -0.2, -0.05),
            },
            "Neither v8 nor v16 is shown to be better; log loss falls from 4.500 to "
            "3.250",
        ),
        (
            {
                "top1.delta": (0.3, 0.2, 0.4),
                "calibration_error_delta": (0.2, 0.18, 0.22),
            },
            "v16 is better than v8 on images like these",
        ),
        (
            {
                "top1.delta": (0.1, 0.05, 0.15),
                "calibration_error_delta": (0.2, 0.18, 0.22),
            },
            "v16 is better than v8 on images like these; calibration error rises from "
            "18.00 % to 38.00 %",
        ),
    ],
)
def test_the_headline_names_what_moved_most(
    document: dict[str, Any],
    changes: dict[str, tuple[float, float, float]],
    words: str,
) -> None:
    moved = _with_table(document, (200, 20, 15, 165))
    moved["a"] |= {"expected_calibration_error": 0.18, "log_loss": 4.5}
    moved["b"] |= {"expected_calibration_error": 0.38, "log_loss": 3.25}
    for path, ends in changes.items():
        *way, last = path.split(".")
        place = moved[way[0]] if way else moved
        place[last] = dict(zip(("value", "low", "high"), ends, strict=True))
        if way:
            place |= {"mcnemar_mid_p": 0.001, "fixed": 120}

    assert _words(moved).headline == words


@pytest.mark.parametrize(
    ("name", "before", "change", "words"),
    [
        ("expected_calibration_error", 0.05, 0.00003, "error rises by 0.0030 points"),
        ("log_loss", 1.5, -0.0002, "log loss falls by 0.00020"),
    ],
)
def test_the_headline_says_no_two_equal_numbers(
    document: dict[str, Any], name: str, before: float, change: float, words: str
) -> None:
    moved = _with_table(document, (200, 20, 15, 165))
    moved["a"][name], moved["b"][name] = before, before + change
    place = f"{name.removeprefix('expected_')}_delta"
    moved[place] = {"value": change, "low": change / 2, "high": 2 * change}

    assert _words(moved).headline.endswith(words)


def test_the_calibration_of_an_older_summary_is_no_news(
    document: dict[str, Any],
) -> None:
    """Before 2026-11-30 its interval did not hold what it said."""
    old = _with_table(document, (200, 20, 15, 165))
    old["calibration_error_delta"] = {"value": 0.2, "low": 0.18, "high": 0.22}
    del old["log_loss_delta"]

    assert _words(old).headline == "Neither v8 nor v16 is shown to be better"


def test_accuracies_that_do_not_move_are_said_to_stay(document: dict[str, Any]) -> None:
    delta = {"value": 0.0, "low": -0.0075, "high": 0.0075}
    unmoved = _shifted(document, broken=0, fixed=0)
    unmoved["top1"]["delta"] = delta
    unmoved["a"] = {**document["a"], "top1_accuracy": 0.35}

    first, *_ = _words(unmoved).sentences

    assert first.startswith("Right first answers stay at 35.00 %: 0 points")
    moved, *_ = _words(document).sentences
    assert moved.startswith("Right first answers go from ")


def test_a_pass_without_a_gate_is_not_called_good(document: dict[str, Any]) -> None:
    gated = {"gates": [{"expression": "x", "value": 1, "tripped": False}]}

    assert _words(document).mood == "open"
    assert _words({**document, **gated}).mood == "good"


def test_a_tripped_gate_is_a_fail_whatever_the_headline() -> None:
    verdict = judge(
        made_up_comparison(80),
        a=served("8"),
        b=served("16"),
        gates=(parse_gate("images>1"),),
        data=DATA,
    )

    words = verdict_in_words(verdict.summary)

    assert (words.badge, words.mood) == ("FAIL", "bad")


def test_what_cannot_be_compared_gives_its_reasons() -> None:
    verdict = refuse(["why"], a=served("8"), b=served("16"), gates=(), data=DATA)

    assert verdict_in_words(verdict.summary).sentences == ("why",)


def test_notes_name_chosen_versions_and_missing_images(
    document: dict[str, Any],
) -> None:
    found = {
        **document,
        "notes": ["first"],
        "b": {**document["b"], "chosen_on_these_images": True},
        "missing": 1,
    }

    missing, first, chosen = notes_of(read_document(found))

    assert first == "first"
    assert chosen.startswith("v16 was chosen")
    assert missing.startswith("1 image is left out")
    refused = {**found, "verdict": "not_comparable", "missing": None}
    assert notes_of(read_document(refused)) == ["first"]  # no number exists
