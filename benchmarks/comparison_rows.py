"""What a comparison costs, as rows of a table."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.comparing import Spent
from benchmarks.watched_run import WatchedRun

HEADER = ("", "measured", "least and most", "wanted")
GROWTH_HEADER = ("answers", "seconds", "ms per answer", "memory, MB")


@dataclass(frozen=True)
class Round:
    """Measured one after the other."""

    bare: Spent
    """The mean of before and after."""

    compared: WatchedRun
    redrawn: WatchedRun
    by_hand_seconds: float
    """For as many images as were compared, at the rate of BY_HAND."""

    from_flask_seconds: float
    """The same, where a Flask server written by hand answers."""


def comparison_rows(rounds: Sequence[Round]) -> list[tuple[str, ...]]:
    bare = [one.bare for one in rounds]
    whole = [one.compared for one in rounds]
    asking = [_asking_seconds(run) for run in whole]
    return [
        _row("the networks alone, s", [b.seconds for b in bare], "{:.1f}"),
        _row("the whole command, s", [run.seconds for run in whole], "{:.1f}"),
        _row(
            "the whole command, of the networks alone",
            [run.seconds / b.seconds for run, b in zip(whole, bare, strict=True)],
            "{:.2f}",
            "at most 1.20",
        ),
        _row(
            "first to last answer, of the networks alone",
            [seconds / b.seconds for seconds, b in zip(asking, bare, strict=True)],
            "{:.2f}",
        ),
        _row(
            "start of the command to its first answers, s",
            [run.first_line_at or 0.0 for run in whole],
            "{:.1f}",
        ),
        _row(
            "last answer to the end, s",
            [run.seconds - (run.last_line_at or 0.0) for run in whole],
            "{:.1f}",
        ),
        _row(
            "core-seconds of service and client, of the networks alone",
            [r.cpu_seconds / b.cpu_seconds for r, b in zip(whole, bare, strict=True)],
            "{:.2f}",
        ),
        _row(
            "memory of the client, MB",
            [run.peak_bytes / 1e6 for run in whole],
            "{:.0f}",
            "at most 400",
        ),
        _row(
            "all reports from kept answers, s",
            [one.redrawn.seconds for one in rounds],
            "{:.1f}",
            "at most 6",
        ),
        _row(
            "a script's loop, times as long",
            [one.by_hand_seconds / one.compared.seconds for one in rounds],
            "{:.1f}",
            "at least 5",
        ),
        _row(
            "a script's loop and a Flask server by hand, times as long",
            [one.from_flask_seconds / one.compared.seconds for one in rounds],
            "{:.1f}",
            "at least 5",
        ),
    ]


def _row(
    name: str, values: Sequence[float], form: str, wanted: str = ""
) -> tuple[str, ...]:
    ends = f"{form.format(min(values))} to {form.format(max(values))}"
    return name, form.format(statistics.median(values)), ends, wanted


def growth_rows(grown: Mapping[int, WatchedRun]) -> list[tuple[str, ...]]:
    return [
        (
            f"{images:,}",
            f"{run.seconds:.1f}",
            f"{1000 * run.seconds / images:.3f}",
            f"{run.peak_bytes / 1e6:.0f}",
        )
        for images, run in grown.items()
    ]


def _asking_seconds(run: WatchedRun) -> float:
    """From the first batch's answers to the last's."""
    if run.first_line_at is None or run.last_line_at is None:
        return 0.0
    return run.last_line_at - run.first_line_at
