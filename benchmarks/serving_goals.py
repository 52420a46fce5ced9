"""Goals of the service beside the measurements, as rows of a table."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.bare_model import Bare
from benchmarks.load import IMAGES_A_REQUEST, Load
from benchmarks.servers import OPEN_SHARE, Sample, ServerCost

BUSY = 64
"""Number of connections of the load that compares servers."""


@dataclass(frozen=True)
class NotMeasured:
    """The server did not start, or its answers were wrong."""

    name: str
    reason: str


Outcome = ServerCost | NotMeasured


@dataclass(frozen=True)
class Yardstick:
    """The bare model's measurements, before and after each server."""

    measured: Sequence[Bare]

    def share(self, sample: Sample, *, images: int = 1) -> float:
        """Images a second as a share of the bare model's at the nearest time."""
        return images * sample.load.rate / self._nearest(sample).rate

    def busy_share(self, cost: ServerCost) -> float:
        return self.share(cost.singles[BUSY])

    def added_ms(self, sample: Sample) -> float:
        """Median time of a request minus the bare model's for one image."""
        return sample.load.p50_ms - self._nearest(sample).single_p50_ms

    def _nearest(self, sample: Sample) -> Bare:
        return min(self.measured, key=lambda bare: abs(bare.at - sample.at))


def errors_of(load: Load) -> str:
    """Empty if there are none."""
    return f" and {load.errors:,} errors" if load.errors else ""


GOAL_HEADER = ("", "flipside", "of the bare model", "of the best peer", "wanted")
MB = 1e6


def goal_rows(
    ours: Outcome,
    int8: Outcome | None,
    peers: Sequence[Outcome],
    *,
    starts: Sequence[float],
    yardstick: Yardstick,
) -> list[tuple[str, ...]]:
    """One row for each goal."""
    wanted = "at least 2.5 of the best peer"
    label = "one image a request, 64 connections, int8, requests/s"
    if int8 is None:
        int8 = NotMeasured("int8", "the store has none (--int8)")
    return [
        _busy_row(
            "one image a request, 64 connections, requests/s",
            ours,
            peers,
            yardstick,
            "at least 0.80, and 1.3 of the best peer",
        ),
        _busy_row(label, int8, peers, yardstick, wanted),
        *_rows_of_ours(ours, starts, yardstick),
        ("CUDA, 32 images a request", "not measured: no GPU", "", "", "at least 0.5"),
    ]


def _busy_row(
    label: str,
    ours: Outcome,
    peers: Sequence[Outcome],
    yardstick: Yardstick,
    wanted: str,
) -> tuple[str, ...]:
    if isinstance(ours, NotMeasured):
        return (label, f"not measured: {ours.reason}", "", "", wanted)
    share = yardstick.busy_share(ours)
    # Shares of the bare model at their own time cancel the machine's drift.
    others = {
        peer.name: yardstick.busy_share(peer)
        for peer in peers
        if isinstance(peer, ServerCost)
    }
    best = max(others, key=others.__getitem__, default=None)
    beside = f"{share / others[best]:.2f} ({best})" if best else "no peer measured"
    rate = f"{ours.singles[BUSY].load.rate:,.0f}{errors_of(ours.singles[BUSY].load)}"
    return (label, rate, f"{share:.2f}", beside, wanted)


def _rows_of_ours(
    ours: Outcome, starts: Sequence[float], yardstick: Yardstick
) -> list[tuple[str, ...]]:
    if isinstance(ours, NotMeasured):
        return []
    open_load = ours.open_loop.load
    single = ours.singles[1]
    return [
        *(
            (
                f"{IMAGES_A_REQUEST} images a request, {form}, images/s",
                f"{IMAGES_A_REQUEST * sample.load.rate:,.0f}{errors_of(sample.load)}",
                f"{yardstick.share(sample, images=IMAGES_A_REQUEST):.2f}",
                "",
                "at least 0.90",
            )
            for form, sample in ours.many.items()
        ),
        (
            "one connection, p50, ms",
            f"{single.load.p50_ms:.2f}",
            f"{yardstick.added_ms(single):+.2f} ms",
            "",
            "at most +1 ms",
        ),
        (
            f"p99 at {OPEN_SHARE:.0%} of the highest rate, open loop, ms",
            f"{open_load.p99_ms:.1f}{errors_of(open_load)}",
            f"{open_load.p99_ms / open_load.p50_ms:.1f} x p50",
            "",
            "at most 3 x p50",
        ),
        (
            "start to ready, two versions, s",
            f"{statistics.median(starts):.1f} ({min(starts):.1f} to {max(starts):.1f})",
            "",
            "",
            "at most 3",
        ),
        (
            "memory with two versions, MB",
            f"{ours.idle_memory_bytes / MB:.0f} before the loads, "
            f"{ours.memory_bytes / MB:.0f} after",
            "",
            "",
            "at most 450",
        ),
    ]
