"""Goals of the service beside the measurements, as rows of a table."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.bare_model import Bare
from benchmarks.load import IMAGES_A_REQUEST, Load
from benchmarks.servers import BUSY, Sample, ServerCost


@dataclass(frozen=True)
class Outcome:
    """A server's measurements, one a round, or why there are none."""

    name: str
    costs: Sequence[ServerCost]
    not_measured: str = ""

    def each(self, value: Callable[[ServerCost], float]) -> list[float]:
        return [value(cost) for cost in self.costs]

    def median(self, value: Callable[[ServerCost], float]) -> float:
        return statistics.median(self.each(value))


@dataclass(frozen=True)
class Yardstick:
    """The bare model's measurements, before and after each server."""

    measured: Sequence[Bare]

    def share(self, sample: Sample, *, images: int = 1) -> float:
        """Images a second as a share of the bare model's at the nearest time."""
        return images * sample.load.rate / self._nearest(sample).rate

    def added_ms(self, sample: Sample) -> float:
        """Median time of a request minus the bare model's for one image."""
        return sample.load.p50_ms - self._nearest(sample).single_p50_ms

    def ratios(self, ours: Outcome, theirs: Outcome, connections: int) -> list[float]:
        """Ours as a multiple of theirs, round by round, through the bare model."""
        return [
            self.share(one.singles[connections])
            / self.share(other.singles[connections])
            for one, other in zip(ours.costs, theirs.costs, strict=True)
        ]

    def _nearest(self, sample: Sample) -> Bare:
        return min(self.measured, key=lambda bare: abs(bare.at - sample.at))


Row = tuple[str, ...]
HEADER = ("", "flipside", "of the bare model", "of the best peer", "wanted")
FASTEST = "fastest proved form, 64 connections, requests/s"
BYSTANDER = "p99 of a bystander beside 830 slow clients"
MEMORY = "memory, two versions, MB"
LOST = "requests lost at SIGTERM under load"
LOST_AT_ONCE = f"{LOST}, --drain-seconds 0"
RELOAD = "SIGHUP under load, failed requests"
NAMES = {"fp32": "fp32", "fast": FASTEST, "null": "null network"}
WANTED: Mapping[str, str] = {
    "fp32, 64 connections, requests/s": "at least 0.85, and 1.0 of the best peer",
    "fp32, 16 connections, requests/s": "at least 1.4 of the best peer",
    "fp32, 1 connection, requests/s": "at least 2.5 of the best peer",
    "fp32, 1 connection, p50, ms": "at most +0.8 ms",
    "32 images a request, JPEG as base64 in JSON, images/s": "at least 0.95",
    "32 images a request, decoded, as .npy, images/s": "at least 0.95",
    "start to ready, two versions, s": "at most 3",
    FASTEST: "at least 3 of the best peer's fp32, 99 % of first answers equal",
    "null network, one process, 64 connections, requests/s": "at least 1,600",
    "null network, p99, ms": "at most 80",
    "null network, core-ms a request": "at most 0.60, with the C parser 0.45",
    BYSTANDER: "at most 2 x",
    MEMORY: "at most 400, and 1.3 x after any load",
    LOST: "0",
    LOST_AT_ONCE: "",
    RELOAD: "0",
}


def row(label: str, ours: str, bare: str = "", peer: str = "") -> Row:
    """A row of the table with the goal of that label."""
    return (label, ours, bare, peer, WANTED[label])


def not_measured(label: str, reason: str) -> Row:
    return (label, f"not measured: {reason}", "", "", "")


def errors_of(load: Load) -> str:
    """Empty if there are none."""
    return f" and {load.errors:,} errors" if load.errors else ""


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """The median, with the least and the most if there are several."""
    middle = f"{statistics.median(values):{form}}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):{form}} to {max(values):{form}})"


def fp32_rows(
    ours: Outcome, peers: Sequence[Outcome], yardstick: Yardstick
) -> list[Row]:
    rows = []
    for connections in sorted(ours.costs[0].singles, reverse=True):
        label = f"fp32, {connections} connection{'s' if connections > 1 else ''}"
        rates, shares = _rates(ours, yardstick, connections)
        peer = _best_peer(ours, peers, yardstick, connections)
        rows.append(row(f"{label}, requests/s", rates, shares, peer))
    lone = ours.each(lambda cost: cost.singles[1].load.p50_ms)
    added = ours.each(lambda cost: yardstick.added_ms(cost.singles[1]))
    cells = (spread(lone), f"{spread(added, '+.2f')} ms")
    rows.append(row("fp32, 1 connection, p50, ms", *cells))
    for name in ours.costs[0].many:
        label = f"{IMAGES_A_REQUEST} images a request, {name}, images/s"
        samples = [cost.many[name] for cost in ours.costs]
        rate = spread([IMAGES_A_REQUEST * each.load.rate for each in samples], ",.0f")
        of_bare = [yardstick.share(each, images=IMAGES_A_REQUEST) for each in samples]
        rows.append(row(label, rate, spread(of_bare)))
    starts = ours.each(lambda cost: cost.ready_seconds)
    return [*rows, row("start to ready, two versions, s", spread(starts, ".1f"))]


def fastest_rows(
    fast: Outcome, peers: Sequence[Outcome], yardstick: Yardstick
) -> list[Row]:
    rates, shares = _rates(fast, yardstick, BUSY)
    equal = fast.median(lambda cost: cost.agreement)
    ours = f"{rates} as {fast.costs[0].form}, {equal:.1%} of first answers equal"
    return [row(FASTEST, ours, shares, _best_peer(fast, peers, yardstick, BUSY))]


def null_rows(null: Outcome, parser: str) -> list[Row]:
    busy = [cost.singles[BUSY] for cost in null.costs]
    rates = spread([each.load.rate for each in busy], ",.0f")
    label = "null network, one process, 64 connections, requests/s"
    p99_ms = spread([each.load.p99_ms for each in busy], ".0f")
    return [
        row(label, f"{rates}, {parser} parser"),
        row("null network, p99, ms", p99_ms),
        row("null network, core-ms a request", spread([each.cpu_ms for each in busy])),
    ]


def _rates(ours: Outcome, yardstick: Yardstick, connections: int) -> tuple[str, str]:
    """Cells of requests/s, and of their share of the bare model's."""
    samples = [cost.singles[connections] for cost in ours.costs]
    errors = "".join(errors_of(sample.load) for sample in samples)
    rates = spread([sample.load.rate for sample in samples], ",.0f")
    return rates + errors, spread([yardstick.share(sample) for sample in samples])


def _best_peer(
    ours: Outcome, peers: Sequence[Outcome], yardstick: Yardstick, connections: int
) -> str:
    """The smallest of our ratios to a peer, and the peer's name."""
    ratios = {peer.name: yardstick.ratios(ours, peer, connections) for peer in peers}
    if not ratios:
        return "no peer measured"
    best = min(ratios, key=lambda name: statistics.median(ratios[name]))
    return f"{spread(ratios[best])}, {best}"
