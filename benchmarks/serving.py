"""Serving beside its peers: the same graph, images, cores and load.

Speeds are shares of the bare model's. Servers are started, loaded and stopped one after
the other. Peers are installed below build/peers/ the first time; a peer that cannot be
installed is reported as not measured.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.bare_model import Bare, BareModel
from benchmarks.contestants import PEERS, Contest, flipside
from benchmarks.harness import write_table
from benchmarks.load import IMAGES, IMAGES_A_REQUEST, Load
from benchmarks.servers import (
    MANY_CONNECTIONS,
    OPEN_SHARE,
    Launch,
    ServerCost,
    ServerFailed,
    measure_server,
    start_seconds,
)
from benchmarks.serving_goals import (
    BUSY,
    GOAL_HEADER,
    NotMeasured,
    Outcome,
    Yardstick,
    errors_of,
    goal_rows,
)
from benchmarks.training_programs import existing_folder
from classifier.store.location import sqlite_file, store_uri
from classifier.store.registry import Registry

STARTS = 3


@dataclass(frozen=True)
class Arena:
    """Images, bare model and time that all servers share."""

    contest: Contest
    bare: BareModel
    files: Sequence[bytes]
    seconds: float
    measured: list[Bare] = field(default_factory=list)

    def meet(
        self, name: str, make: Callable[[], Launch], *, is_ours: bool = True
    ) -> Outcome:
        """Measure the server, and the bare model before and after it."""
        print(f"measuring {name}", file=sys.stderr)
        if not self.measured:
            self.measured.append(self.bare.measure(self.seconds))
        try:
            return measure_server(
                make(),
                self.bare,
                self.files,
                work=self.contest.work,
                seconds=self.seconds,
                is_ours=is_ours,
            )
        except ServerFailed as error:
            return NotMeasured(name, str(error))
        finally:
            self.measured.append(self.bare.measure(self.seconds))

    def starts(self, make: Callable[[], Launch]) -> list[float]:
        """Seconds from the start until it is ready, for several starts."""
        work, probe = self.contest.work, self.files[0]
        return start_seconds(make, work=work, probe=probe, times=STARTS)

    def yardstick(self) -> Yardstick:
        return Yardstick(tuple(self.measured))


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
    """One row for each number of connections, and one for the open loop."""
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
    """A sentence that names the reference of the ratios."""
    rates = [bare.rate for bare in yardstick.measured]
    singles = [bare.single_p50_ms for bare in yardstick.measured]
    return (
        f"Bare model: ONNX Runtime in process, batches of {IMAGES_A_REQUEST}, all "
        f"cores, images decoded before: {min(rates):,.0f} to {max(rates):,.0f} "
        f"images/s, one image at a time {min(singles):.1f} to {max(singles):.1f} ms, "
        "measured before and after each server; ratios are to the nearer one."
    )


def method(yardstick: Yardstick, ours: Outcome, *, seconds: float) -> str:
    """The method, as a paragraph below a table."""
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


ON_CPU: Mapping[str, str] = {"device": "cpu"}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Settings; four peers take six minutes at 8 seconds a load."""

    store: str
    model: str | None
    version: str
    second: str
    int8: str | None
    images: Path
    seconds: float
    peers: tuple[str, ...]
    ours: Mapping[str, str]
    shape: list[Mapping[str, str]]
    """If not empty, only these are measured."""


def main() -> None:
    plan = _plan()
    with tempfile.TemporaryDirectory(prefix="flipside-bench-") as folder:
        contest = _contest(plan, Path(folder))
        files = [file.read_bytes() for file in _images(plan.images)]
        arena = Arena(contest, BareModel(contest.bundle, files), files, plan.seconds)
        if plan.shape:
            _shapes(plan, arena)
        else:
            _beside_peers(plan, arena)


def _beside_peers(plan: Plan, arena: Arena) -> None:
    contest, flags = arena.contest, {**ON_CPU, **plan.ours}
    two = partial(flipside, contest, plan.version, plan.second, flags=flags)
    ours = arena.meet("flipside", two)
    starts = arena.starts(two)
    int8 = None
    if plan.int8 is not None:
        name = f"flipside, {plan.int8}"
        make = partial(flipside, contest, plan.int8, flags=flags, name=name)
        int8 = arena.meet(name, make)
    peers = [
        arena.meet(peer, partial(PEERS[peer], contest), is_ours=False)
        for peer in plan.peers
    ]
    yardstick = arena.yardstick()
    note = method(yardstick, ours, seconds=plan.seconds)
    rows = goal_rows(ours, int8, peers, starts=starts, yardstick=yardstick)
    write_table("Serving", GOAL_HEADER, rows, note=note)
    everyone = [ours, *([int8] if int8 else []), *peers]
    write_table("Servers beside it", SERVER_HEADER, server_rows(everyone, yardstick))


def _shapes(plan: Plan, arena: Arena) -> None:
    outcomes = []
    for shape in plan.shape:
        name = " ".join(f"--{flag} {value}" for flag, value in shape.items())
        flags = {**ON_CPU, **plan.ours, **shape}
        two = partial(flipside, arena.contest, plan.version, plan.second)
        outcomes.append(arena.meet(name, partial(two, flags=flags, name=name)))
    yardstick = arena.yardstick()
    note = bare_range(yardstick)
    rows = shape_rows(outcomes, yardstick)
    write_table("Process shape", SHAPE_HEADER, rows, note=note)


def _contest(plan: Plan, work: Path) -> Contest:
    file = sqlite_file(plan.store)  # absolute: servers run in a folder of their own
    store = plan.store if file is None else f"sqlite:///{file}"
    registry = Registry(store)
    model = registry.model_name(plan.model)
    bundle = registry.fetch(registry.resolve(model, plan.version))
    return Contest(store=store, model=model, bundle=bundle, work=work)


def _images(folder: Path) -> list[Path]:
    """The first 64 JPEGs by name. Exits if there are fewer."""
    endings = (".jpg", ".jpeg")
    files = [f for f in sorted(folder.iterdir()) if f.suffix.lower() in endings]
    if len(files) < IMAGES:
        sys.exit(f"error: {folder} holds {len(files)} JPEGs; {IMAGES} are needed")
    return files[:IMAGES]


def _plan() -> Plan:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--store", default=store_uri(), metavar="URI", help="MLFLOW_TRACKING_URI")
    add("--model", help="registered model; the only one if there is one")
    add("--version", default="v1")
    add("--second", default="v2", help="served beside it")
    add("--int8", metavar="VERSION", help="its int8 form: v1.int8")
    add("--images", type=existing_folder, required=True, help="64 JPEGs or more")
    add("--seconds", type=float, default=8.0, help="of each load, default 8")
    add("--peers", type=_peers, default=tuple(PEERS), metavar="A,B|none")
    flags: dict[str, Any] = {"type": _flags, "metavar": "KEY=VALUE,…"}
    add("--ours", **flags, default={}, help="flags of `python -m serving`")
    add("--shape", **flags, default=[], action="append", help=_SHAPE)
    plan = Plan(**vars(parser.parse_args()))
    wanted = f"{plan.version}.int8"
    if plan.int8 not in (None, wanted):
        parser.error(f"--int8 {plan.int8}: the int8 form of --version is {wanted}")
    return plan


_SHAPE = "measure these flags instead, beside each other; repeatable"


def _peers(text: str) -> tuple[str, ...]:
    names = () if text == "none" else tuple(text.split(","))
    unknown = set(names) - set(PEERS)
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no peer {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}"
        )
    return names


def _flags(text: str) -> Mapping[str, str]:
    flags = dict(part.partition("=")[::2] for part in text.split(","))
    if not all(flags.values()):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE,KEY=VALUE")
    return flags


if __name__ == "__main__":
    main()
