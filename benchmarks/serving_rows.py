"""What servers cost as rows of tables, as shares of the bare model."""

from collections.abc import Sequence

from benchmarks.load import Load
from benchmarks.request_bodies import IMAGES, IMAGES_A_REQUEST
from benchmarks.server_cost import MANY_CONNECTIONS, OPEN_SHARE, ServerCost
from benchmarks.yardstick import BUSY, NotMeasured, Outcome, Yardstick, errors_of

SERVER_HEADER = (
    "server",
    "connections",
    "requests/s",
    "of the bare model",
    "p50, ms",
    "p99, ms",
    "errors",
    "CPU ms a request",
    "memory, MB",
    "start, s",
)
SHAPE_HEADER = (
    "flags",
    "requests/s, 64 connections",
    "of the bare model",
    "p99, ms",
    "CPU ms a request",
    "p50 of 1 connection, ms",
    "32 JPEGs a request, of the bare model",
    "memory, MB",
    "start, s",
)
MB = 1e6


def server_rows(
    outcomes: Sequence[Outcome], yardstick: Yardstick
) -> list[tuple[str, ...]]:
    """A row for each number of connections, and one of the open loop."""
    rows: list[tuple[str, ...]] = []
    for outcome in outcomes:
        if isinstance(outcome, NotMeasured):
            rows.append((outcome.name, f"not measured: {outcome.reason}", *[""] * 8))
            continue
        costs = (f"{outcome.memory_bytes / MB:.0f}", f"{outcome.ready_seconds:.1f}")
        for connections, sample in outcome.singles.items():
            share = f"{yardstick.share(sample):.2f}"
            cpu = f"{sample.cpu_ms:.2f}"
            load = _load_cells(sample.load, share)
            rows.append((outcome.name, str(connections), *load, cpu, *costs))
            costs = ("", "")
        load = _load_cells(outcome.open_loop.load, "")
        rows.append((outcome.name, f"open loop, {OPEN_SHARE:.0%}", *load, "", *costs))
    return rows


def shape_rows(
    outcomes: Sequence[Outcome], yardstick: Yardstick
) -> list[tuple[str, ...]]:
    """This project's own service, started with different flags."""
    rows: list[tuple[str, ...]] = []
    for outcome in outcomes:
        if isinstance(outcome, NotMeasured):
            rows.append((outcome.name, f"not measured: {outcome.reason}", *[""] * 7))
            continue
        busy, many = outcome.singles[BUSY], next(iter(outcome.many.values()))
        rows.append(
            (
                outcome.name,
                f"{busy.load.rate:,.0f}{errors_of(busy.load)}",
                f"{yardstick.share(busy):.2f}",
                f"{busy.load.p99_ms:.0f}",
                f"{busy.cpu_ms:.2f}",
                f"{outcome.singles[1].load.p50_ms:.2f}",
                f"{yardstick.share(many, images=IMAGES_A_REQUEST):.2f}",
                f"{outcome.memory_bytes / MB:.0f}",
                f"{outcome.ready_seconds:.1f}",
            )
        )
    return rows


def bare_range(yardstick: Yardstick) -> str:
    """A sentence on what the ratios are to."""
    rates = [bare.rate for bare in yardstick.measured]
    singles = [bare.single_p50_ms for bare in yardstick.measured]
    return (
        f"Bare model: ONNX Runtime in process, batches of {IMAGES_A_REQUEST}, all "
        f"cores, images decoded before: {min(rates):,.0f} to {max(rates):,.0f} "
        f"images/s, one image at a time {min(singles):.1f} to {max(singles):.1f} ms, "
        "measured before and after each server; ratios are to the nearer one."
    )


def method(yardstick: Yardstick, ours: Outcome, *, seconds: float) -> str:
    """The paragraph below a table: what was measured, and how."""
    generator = (
        f" (the generator took {ours.open_loop.generator_cpu:.0%} of a core beside "
        "flipside)"
        if isinstance(ours, ServerCost)
        else ""
    )
    return (
        f"{bare_range(yardstick)} {IMAGES} images in turn, {seconds:g} s a load, by "
        f"one thread of wrk on the same cores; {IMAGES_A_REQUEST} images a request on "
        f"{MANY_CONNECTIONS} connections. Open loop: Poisson arrivals, timed from when "
        f"a request was to be sent{generator}. CPU time and memory (PSS) are those of "
        "all of a server's processes, memory after all loads. Each server first had "
        "to name the same classes as the bare model."
    )


def _load_cells(load: Load, share: str) -> tuple[str, ...]:
    return (
        f"{load.rate:,.0f}",
        share,
        f"{load.p50_ms:.1f}",
        f"{load.p99_ms:.1f}",
        f"{load.errors:,}",
    )
