"""Gates: what can be written, what trips."""

import math

import pytest

from compare.gates import PATHS, UnknownGate, parse_gate, value_at


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
        ("broken>10", None, True),
        ("broken<10", None, True),
    ],
)
def test_a_gate_trips_when_it_is_true_or_has_no_value(
    expression: str, value: float | None, trips: bool
) -> None:
    assert parse_gate(expression).trips(value) is trips


def test_every_path_is_a_number_of_a_real_summary(summary: dict[str, object]) -> None:
    for path in PATHS:
        value = value_at(summary, path)
        assert value is not None, path
        assert math.isfinite(value)
