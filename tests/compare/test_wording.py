"""Numbers and verdicts, as people read them."""

from typing import Any

import pytest

from compare.gates import parse_gate
from compare.verdict import judge, refuse
from compare.wording import (
    Kind,
    look_up,
    notes_of,
    say,
    say_estimate,
    verdict_in_words,
)
from tests.compare.conftest import DATA, made_up_comparison, served


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (0.31131, "percent", "31.13 %"),
        (-0.012, "points", "\N{MINUS SIGN}1.20"),
        (0.012, "points", "+1.20"),
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
    estimate = {"value": 0.0975, "low": 0.0918, "high": 0.1035}

    assert say_estimate(estimate, "percent") == "9.75 % (9.18 to 10.35 %)"
    assert say_estimate({"value": 0.0975}, "percent") == "9.75 %"
    assert say_estimate(None, "percent") == "\N{EN DASH}"


def test_a_way_that_ends_early_leads_to_nothing() -> None:
    assert look_up({"a": {"b": 1}}, "a.b") == 1
    assert look_up({"a": {"b": 1}}, "a.b.c") is None
    assert look_up({}, "a.b") is None


def _shifted(summary: dict[str, Any], **top1: float) -> dict[str, Any]:
    return {**summary, "top1": {**summary["top1"], **top1}}


@pytest.mark.parametrize(
    ("broken", "fixed", "p", "words"),
    [
        (20, 5, 0.003, "v16 is worse than v8 on images like these"),
        (5, 20, 0.003, "v16 is better than v8 on images like these"),
        (20, 15, 0.4, "Neither v8 nor v16 is shown to be better"),
        (0, 0, 1.0, "v16 breaks no image and fixes none"),
    ],
)
def test_the_headline_says_what_the_test_says(
    summary: dict[str, Any], broken: int, fixed: int, p: float, words: str
) -> None:
    shifted = _shifted(summary, broken=broken, fixed=fixed, mcnemar_mid_p=p)

    assert verdict_in_words(shifted).headline == words


def test_accuracies_that_do_not_move_are_said_to_stay(summary: dict[str, Any]) -> None:
    delta = {"value": 0.0, "low": -0.0075, "high": 0.0075}
    unmoved = _shifted(summary, broken=0, fixed=0)
    unmoved["top1"]["delta"] = delta
    unmoved["a"] = {**summary["a"], "top1_accuracy": 0.35}

    first, *_ = verdict_in_words(unmoved).sentences

    assert first.startswith("Right first answers stay at 35.00 %: 0 points")
    moved, *_ = verdict_in_words(summary).sentences
    assert moved.startswith("Right first answers go from ")


def test_a_pass_without_a_gate_is_not_called_good(summary: dict[str, Any]) -> None:
    gated = {"gates": [{"expression": "x", "value": 1, "tripped": False}]}

    assert verdict_in_words(summary).mood == "open"
    assert verdict_in_words({**summary, **gated}).mood == "good"


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


def test_notes_are_whoever_was_chosen_and_what_is_missing(
    summary: dict[str, Any],
) -> None:
    found = {
        **summary,
        "notes": ["first"],
        "b": {**summary["b"], "chosen_on_these_images": True},
        "missing": 1,
    }

    first, chosen, missing = notes_of(found)

    assert first == "first"
    assert chosen.startswith("v16 was chosen")
    assert missing.startswith("1 image is left out")
    refused = {**found, "verdict": "not_comparable", "missing": None}
    assert notes_of(refused) == ["first"]  # there is no number that could flatter
