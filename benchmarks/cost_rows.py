"""The costs of two programs as rows of a table: ours, theirs, ratio, what is wanted."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.programs import Cost

UNKNOWN = "not measured: the run does not tell"


@dataclass(frozen=True)
class Round:
    """Both programs, one after the other."""

    ours: Cost
    theirs: Cost


def rate_row(
    what: str, rounds: list[Round], of: Callable[[Cost], float], wanted: str = ""
) -> tuple[str, ...]:
    ratios = [of(round_.ours) / of(round_.theirs) for round_ in rounds]
    return (
        what,
        f"{statistics.median(of(round_.ours) for round_ in rounds):,.0f}",
        f"{statistics.median(of(round_.theirs) for round_ in rounds):,.0f}",
        f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})",
        wanted and f"at least {wanted}",
    )


def publishing_rows(rounds: list[Round], *, wanted: str) -> list[tuple[str, ...]]:
    """Shares of an epoch's wall time."""
    kinds: list[tuple[str, Callable[[Cost], float | None], str]] = [
        ("training stood still for publishing", lambda c: c.waiting_seconds, wanted),
        ("logging and publishing were busy", lambda c: c.publishing_seconds, ""),
        (
            "all that is not training steps",
            lambda c: c.epoch_seconds - c.training_seconds,
            "",
        ),
    ]
    return [
        (
            f"{what}, share of time",
            _share([round_.ours for round_ in rounds], seconds),
            _share([round_.theirs for round_ in rounds], seconds),
            "",
            goal,
        )
        for what, seconds, goal in kinds
    ]


def _share(costs: list[Cost], seconds: Callable[[Cost], float | None]) -> str:
    shares = [
        value / cost.epoch_seconds
        for cost in costs
        if (value := seconds(cost)) is not None
    ]
    return f"{statistics.median(shares):.1%}" if shares else UNKNOWN


def first_step_row(rounds: list[Round]) -> tuple[str, ...]:
    """Of the rounds after the first, which fills the caches."""
    cells = []
    for costs in ([r.ours for r in rounds[1:]], [r.theirs for r in rounds[1:]]):
        seconds = [
            cost.first_step_seconds
            for cost in costs
            if cost.first_step_seconds is not None
        ]
        cells.append(f"{statistics.median(seconds):.1f}" if seconds else UNKNOWN)
    if len(rounds) < 2:
        cells = ["not measured: takes two rounds"] * 2
    return ("start to first step, cache warm, s", *cells, "", "at most 5")
