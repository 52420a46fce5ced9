"""Every key of summary.json, and which of them are numbers."""

from collections.abc import Mapping
from typing import Any

import pytest

from compare.comparison import Comparison
from compare.summary_shape import NUMBERS, number_paths, without_values
from compare.verdict import Verdict, judge, refuse
from tests.compare.conftest import DATA, made_up_comparison, served

BEFORE = ["schema", "model", "verdict", "reasons", "notes", "gates"]


def _keys(document: Mapping[str, Any]) -> dict[str, Any]:
    """The shape of a document: its keys, down to what is no object."""
    return {
        key: _keys(value) if isinstance(value, Mapping) else None
        for key, value in document.items()
    }


def _unlabelled_verdict() -> Verdict:
    comparison = made_up_comparison(labelled=False)
    data = type(DATA)("digits", "d1", labelled=False)
    return judge(comparison, a=served("8"), b=served("16"), gates=(), data=data)


def _refusal() -> Verdict:
    return refuse(["why"], a=served("8"), b=served("16"), gates=(), data=DATA)


def test_a_comparison_has_exactly_these_keys_in_this_order(verdict: Verdict) -> None:
    summary = verdict.summary

    assert list(summary) == [*BEFORE, *NUMBERS]
    assert _keys({key: summary[key] for key in NUMBERS}) == without_values()


@pytest.mark.parametrize("make", [_refusal, _unlabelled_verdict])
def test_what_cannot_be_said_keeps_its_key(make: Any, verdict: Verdict) -> None:
    summary = make().summary

    assert list(summary) == list(verdict.summary)
    assert _keys({key: summary[key] for key in NUMBERS}) == without_values()


def test_a_refusal_has_no_number_but_the_epochs() -> None:
    summary = _refusal().summary

    for path in number_paths():
        value = summary
        for key in path:
            value = value[key]
        assert value is None or path[-1] == "epoch", path


def test_without_labels_only_what_needs_none_has_a_value() -> None:
    summary = _unlabelled_verdict().summary

    known = set()
    for path in number_paths():
        value = summary
        for key in path:
            value = value[key]
        if value is not None:
            known.add(".".join(path))

    assert known == {
        "a.epoch",
        "b.epoch",
        "a.mean_confidence",
        "b.mean_confidence",
        "images",
        "missing",
        "disagreement_rate",
        "disagreement.low",
        "disagreement.high",
        "agreement_kappa",
        "confidence.delta.value",
        "confidence.delta.low",
        "confidence.delta.high",
        "overlap.top5",
        "overlap.rank_biased_overlap",
        "overlap.jensen_shannon_lower_bound",
    }
    assert summary["slices"] is None
    assert summary["label_suspects"] is None
    assert summary["confusions"] == {"gained": None, "lost": None}


def test_what_needs_no_labels_is_the_same_with_them(comparison: Comparison) -> None:
    with_labels = judge(
        comparison, a=served("8"), b=served("16"), gates=(), data=DATA
    ).summary

    without = _unlabelled_verdict().summary

    for key in ("disagreement_rate", "disagreement", "agreement_kappa", "overlap"):
        assert without[key] == with_labels[key]
    assert without["confidence"]["delta"] == with_labels["confidence"]["delta"]
