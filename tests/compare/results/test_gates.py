"""Every number of summary.json has a gate, and nothing else has."""

import math
from dataclasses import replace

import pytest

from compare.results.comparison import Comparison
from compare.results.gates import PATHS, UnknownGate, parse_gate
from compare.results.summary import GateResult, Summary, value_at
from compare.results.verdict import Verdict, judge, refuse
from tests.compare.conftest import DATA, as_json, made_up_comparison, served


def _unlabelled_verdict() -> Verdict:
    comparison = made_up_comparison(labelled=False)
    data = replace(DATA, labelled=False)
    return judge(comparison, a=served("8"), b=served("16"), gates=(), data=data)


def _refusal() -> Verdict:
    return refuse(["why"], a=served("8"), b=served("16"), gates=(), data=DATA)


def _known(summary: Summary) -> set[str]:
    return {".".join(path) for path in PATHS if value_at(summary, path) is not None}


def test_a_refusal_has_no_number_but_the_epochs() -> None:
    assert _known(_refusal().summary) == {"a.epoch", "b.epoch"}


def test_without_labels_only_what_needs_none_has_a_value() -> None:
    summary = _unlabelled_verdict().summary

    assert _known(summary) == {
        "a.epoch",
        "b.epoch",
        "a.mean_confidence",
        "b.mean_confidence",
        "images",
        "missing",
        "left_out",
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
    assert summary.slices is None
    assert summary.label_suspects is None
    assert as_json(summary)["confusions"] == {"gained": None, "lost": None}


def test_what_needs_no_labels_is_the_same_with_them(comparison: Comparison) -> None:
    with_labels = judge(
        comparison, a=served("8"), b=served("16"), gates=(), data=DATA
    ).summary

    without = _unlabelled_verdict().summary

    for key in ("disagreement_rate", "disagreement", "agreement_kappa", "overlap"):
        assert getattr(without, key) == getattr(with_labels, key)
    assert without.confidence.delta == with_labels.confidence.delta


@pytest.mark.parametrize(
    ("expression", "path"),
    [
        ("negative_flip_rate>0.06", ("top1", "negative_flip_rate", "value")),
        (
            "top1.negative_flip_rate.value > 0.06",
            ("top1", "negative_flip_rate", "value"),
        ),
        ("delta.low<-0.005", ("top1", "delta", "low")),
        ("top5.delta.low<=-1e-2", ("top5", "delta", "low")),
        ("class_regressions>0", ("class_regressions",)),
        ("a.top1_accuracy<0.3", ("a", "top1_accuracy")),
        ("mcnemar_mid_p<0.05", ("top1", "mcnemar_mid_p")),
        ("broken>=10", ("top1", "broken")),
        ("a.mean_reciprocal_rank<0.4", ("a", "mean_reciprocal_rank")),
        ("a.top1<0.3", ("a", "top1", "value")),
        ("b.top1.low<0.3", ("b", "top1", "low")),
        ("backward_trust.low<0.9", ("top1", "backward_trust", "low")),
        ("top5.kappa<0.5", ("top5", "kappa")),
        ("rank_symmetry.p<0.05", ("rank_symmetry", "p")),
        ("confidence.delta<-0.1", ("confidence", "delta", "value")),
        ("calibration_error_delta.high>0.02", ("calibration_error_delta", "high")),
        ("overlap.top5<0.5", ("overlap", "top5")),
        ("disagreement.high>0.3", ("disagreement", "high")),
        ("probe.differing>0", ("probe", "differing")),
        ("classes.could_be_flagged<50", ("classes", "could_be_flagged")),
    ],
)
def test_leading_top1_and_final_value_may_be_left_out(
    expression: str, path: tuple[str, ...]
) -> None:
    assert parse_gate(expression).path == path


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("nfr>0.06", "nothing in summary.json is called 'nfr'"),
        ("top1>0.06", "nothing in summary.json"),
        ("verdict>0", "nothing in summary.json"),
        ("rank_transitions>0", "nothing in summary.json"),
        ("slices>0", "nothing in summary.json"),
        ("a.version>0", "nothing in summary.json"),
        ("a.chosen_on_these_images>0", "nothing in summary.json"),
        ("schema>0", "nothing in summary.json"),
        ("backward_trusts<1", "did you mean backward_trust"),
        ("delta.lo<0", r"did you mean delta"),
        ("delta.low<-inf", "'-inf' is not a finite number"),
        ("delta.low<1e999", "'1e999' is not a finite number"),
        ("delta.low<nan", "'nan' is not a finite number"),
        ("delta.low<inf", "'inf' is not a finite number"),
        ("delta.low<x", "'x' is not a finite number"),
        ("delta.low=0", "is no gate"),
        ("delta.low", "is no gate"),
        ("", "is no gate"),
    ],
)
def test_what_is_no_gate_is_refused_when_parsing(expression: str, message: str) -> None:
    with pytest.raises(UnknownGate, match=message):
        parse_gate(expression)


@pytest.mark.parametrize(
    ("expression", "value", "trips"),
    [
        ("broken>10", 10, False),
        ("broken>10", 11, True),
        ("broken>=10", 10, True),
        ("delta.low<-0.005", -0.006, True),
        ("delta.low<-0.005", -0.005, False),
        ("delta.low<=-0.005", -0.005, True),
    ],
)
def test_a_gate_trips_when_it_is_true(
    expression: str, value: float, trips: bool
) -> None:
    assert parse_gate(expression).trips(value) is trips


@pytest.mark.parametrize("expression", ["broken>10", "broken<10"])
def test_a_gate_trips_when_it_has_no_value(expression: str) -> None:
    assert parse_gate(expression).result(_refusal().summary) == GateResult(
        expression=expression, value=None, tripped=True
    )


def test_every_path_is_a_number_of_a_real_summary(summary: Summary) -> None:
    for path in PATHS:
        value = value_at(summary, path)
        assert isinstance(value, int | float), path
        assert math.isfinite(value)
