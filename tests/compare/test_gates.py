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
