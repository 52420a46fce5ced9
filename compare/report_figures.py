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
    deltas = [look_up(top, "delta") for top in (top1, top5)]
    widest = max(map(reach, deltas))
    numbers = [
        _figure(
            "Right first answers",
            deltas[0],
            "points",
            (-widest, widest),
            _from_to(summary, "top1_accuracy"),
        ),
        *_flip_figures(top1),
    ]
    if five_can_miss(summary):
        lost, gained = (
            say(look_up(top5, flips), "count") for flips in ("broken", "fixed")
        )
        numbers.append(
            _figure(
                "Truth among the five",
                deltas[1],
                "points",
                (-widest, widest),
                f"{_from_to(summary, 'top5_accuracy')}; lost on {lost}, gained on "
                f"{gained}",
            )
        )
    return [*numbers, *_confidence_figures(summary)]


def _flip_figures(top1: object) -> list[Figure]:
    rates = [look_up(top1, f"{sign}_flip_rate") for sign in ("negative", "positive")]
    most = max(map(reach, rates))
    broken, fixed = (
        f"{say(look_up(top1, flips), 'count')} images" for flips in ("broken", "fixed")
    )
    return [
        _figure(
            "Broken",
            rates[0],
            "percent",
            (0, most),
            f"{broken}: right before, wrong now",
        ),
        _figure(
            "Fixed", rates[1], "percent", (0, most), f"{fixed}: wrong before, right now"
        ),
    ]


def _confidence_figures(summary: Mapping[str, Any]) -> list[Figure]:
    error, loss = (
        look_up(summary, f"{name}_delta") for name in ("calibration_error", "log_loss")
    )
    return [
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
