"""The tables of the terminal's report: accuracies, flips, places of the truth."""

from collections.abc import Mapping
from typing import Any

from compare.terminal_words import (
    change_between,
    percent,
    percent_between,
    points,
    points_between,
)
from compare.wording import PLACES, five_can_miss, signed_change


def accuracy_lines(summary: Mapping[str, Any], a: str, b: str) -> list[str]:
    label, width = _widths(a, b)
    lines = [f"{'':{label}}{a:>{width}}{b:>{width}}   change, with its 95 % interval"]
    for name, key, delta in (
        ("first answer right", "top1_accuracy", summary["top1"]["delta"]),
        ("truth among five", "top5_accuracy", summary["top5"]["delta"]),
        (
            "calibration error",
            "expected_calibration_error",
            summary["calibration_error_delta"],
        ),
        ("mean confidence", "mean_confidence", summary["confidence"]["delta"]),
    ):
        if key == "top5_accuracy" and not five_can_miss(summary):
            continue
        sides = [percent(summary[side][key]) for side in ("a", "b")]
        lines.append(
            f"{name:{label}}{sides[0]:>{width}}{sides[1]:>{width}}   "
            f"{points(delta['value'])} points  {points_between(delta)}".rstrip()
        )
    return lines


def log_loss_line(summary: Mapping[str, Any], a: str, b: str) -> str:
    """One more row of the table above."""
    label, width = _widths(a, b)
    before, after = (summary[side]["log_loss"] for side in "ab")
    delta = summary["log_loss_delta"]
    return (
        f"{'log loss':{label}}{before:>{width}.3f}{after:>{width}.3f}   "
        f"{signed_change(delta['value']):<14} {change_between(delta)}"
    ).rstrip()


def _widths(a: str, b: str) -> tuple[int, int]:
    width = max(9, len(a) + 1, len(b) + 1)
    return max(18, 38 - 2 * width), width  # 20, or less where names are long


def flip_lines(summary: Mapping[str, Any], a: str, b: str) -> list[str]:
    top1 = summary["top1"]
    broken, fixed = top1["negative_flip_rate"], top1["positive_flip_rate"]
    first, width = max(14, len(a) + 6), max(12, len(b) + 7)  # `v16.int8 right`
    said = [
        f"{percent(rate['value'])} {percent_between(rate)}" for rate in (broken, fixed)
    ]
    return [
        f"{'':{first}}{b + ' right':>{width}}{b + ' wrong':>{width}}",
        f"{a + ' right':{first}}{top1['both_right']:>{width},}"
        f"{top1['broken']:>{width},}   broken: {said[0]}",
        f"{a + ' wrong':{first}}{top1['fixed']:>{width},}"
        f"{top1['both_wrong']:>{width},}   fixed:  {said[1]}",
    ]


def rank_lines(summary: Mapping[str, Any], a: str, b: str) -> list[str]:
    corner, columns = "the truth is", [f"{b} {name}" for name in PLACES]
    if len(columns[-1]) > 10:  # `v16.int8 none` six times is wider than 80
        corner, columns = f"in {b}", list(PLACES)
    lines = [f"{corner:>14}" + "".join(f"{column:>11}" for column in columns)]
    for name, row in zip(PLACES, summary["rank_transitions"], strict=True):
        lines.append(f"{f'{a} {name}':>14}" + "".join(f"{n:>11,}" for n in row))
    return lines
