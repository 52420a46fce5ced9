"""The few numbers at the head of a report, with pictures of their intervals."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from compare.report_charts import interval_plot
from compare.wording import Kind, five_can_miss, look_up, say, say_interval


@dataclass(frozen=True)
class Figure:
    """One of the numbers at the top."""

    name: str
    value: str
    interval: str
    plot: Markup
    meaning: str


def figures(summary: Mapping[str, Any], *, labelled: bool) -> list[Figure]:
    """Those that exist, with pictures of their intervals."""
    if not labelled:
        return _unlabelled_figures(summary)
    top1, top5 = look_up(summary, "top1"), look_up(summary, "top5")
    deltas = [look_up(summary, f"{top}.delta") for top in ("top1", "top5")]
    widest = max(map(reach, deltas))
    flips = [look_up(top1, f"{sign}_flip_rate") for sign in ("negative", "positive")]
    most = max(map(reach, flips))
    error, loss = (
        look_up(summary, f"{name}_delta") for name in ("calibration_error", "log_loss")
    )
    five = look_up(top5, "broken"), look_up(top5, "fixed")
    numbers = [
        _figure(
            "Right first answers",
            deltas[0],
            "points",
            (-widest, widest),
            _from_to(summary, "top1_accuracy"),
        ),
        _figure(
            "Broken",
            flips[0],
            "percent",
            (0, most),
            f"{say(look_up(top1, 'broken'), 'count')} images: right before, wrong now",
        ),
        _figure(
            "Fixed",
            flips[1],
            "percent",
            (0, most),
            f"{say(look_up(top1, 'fixed'), 'count')} images: wrong before, right now",
        ),
        _figure(
            "Truth among the five",
            deltas[1],
            "points",
            (-widest, widest),
            f"{_from_to(summary, 'top5_accuracy')}; lost on "
            f"{say(five[0], 'count')}, gained on {say(five[1], 'count')}",
        ),
        _figure(
            "Calibration error",
            error,
            "points",
            (-reach(error), reach(error)),
            f"{_from_to(summary, 'expected_calibration_error')}; less is better",
        ),
        _figure(
            "Log loss",
            loss,
            "change",
            (-reach(loss), reach(loss)),
            f"{_from_to(summary, 'log_loss', 'number')}; less is better",
        ),
    ]
    if not five_can_miss(summary):
        del numbers[3]
    return numbers


def _unlabelled_figures(summary: Mapping[str, Any]) -> list[Figure]:
    changed = {
        "value": look_up(summary, "disagreement_rate"),
        "low": look_up(summary, "disagreement.low"),
        "high": look_up(summary, "disagreement.high"),
    }
    confidence = look_up(summary, "confidence.delta")
    widest = reach(confidence)

    def plain(path: str) -> dict[str, Any]:
        return {"value": look_up(summary, path)}

    return [
        _figure(
            "Changed first answers",
            changed,
            "percent",
            (0, 1),
            "the likeliest class is another",
        ),
        _figure(
            "Confidence",
            confidence,
            "points",
            (-widest, widest),
            "mean change of the first answer's probability",
        ),
        _figure(
            "Shared answers",
            plain("overlap.top5"),
            "percent",
            (0, 1),
            "of those that each version gives",
        ),
        _figure(
            "Rank-biased overlap",
            plain("overlap.rank_biased_overlap"),
            "number",
            (0, 1),
            "1: the same list in the same order",
        ),
        _figure(
            "Kappa of first answers",
            plain("agreement_kappa"),
            "number",
            (0, 1),
            "agreement beyond luck; 1 is always",
        ),
    ]


def _figure(
    name: str, estimate: object, kind: Kind, ends: tuple[float, float], meaning: str
) -> Figure:
    value = say(look_up(estimate, "value"), kind)
    return Figure(
        name,
        f"{value} points" if kind == "points" else value,
        say_interval(estimate, kind),
        interval_plot(estimate, least=ends[0], most=ends[1]),
        meaning,
    )


def reach(estimate: object) -> float:
    """How far from 0 a picture of it has to go; a little more than its interval."""
    ends = [look_up(estimate, end) for end in ("value", "low", "high")]
    return 1.15 * max((abs(end) for end in ends if end is not None), default=0.0)


def _from_to(summary: Mapping[str, Any], key: str, kind: Kind = "percent") -> str:
    a, b = (say(look_up(summary, f"{side}.{key}"), kind) for side in "ab")
    return f"{a} \N{RIGHTWARDS ARROW} {b}"
