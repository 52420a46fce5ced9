"""Serving beside its peers: the same graph, images, cores and load, in rounds.

Speeds are shares of the bare model's. Servers are started, loaded and stopped one after
the other, in each round in the other order. Peers are installed below build/peers/ the
first time; a peer that cannot be installed is reported as not measured.
"""

import argparse
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import endurance, servers, serving_goals
from benchmarks.bare_model import Bare, BareModel
from benchmarks.contestants import PEERS, Contest, app_of_file, flipside, null_network
from benchmarks.harness import write_table
from benchmarks.load import IMAGES, IMAGES_A_REQUEST, raw
from benchmarks.servers import Launch, Sample, ServerCost, ServerFailed, measure_server
from benchmarks.serving_goals import Outcome, Row, Yardstick, not_measured
from benchmarks.training_programs import existing_folder
from classifier.store.location import sqlite_file, store_uri
from classifier.store.registry import Registry

CHECKED = 960
"""Images whose first answers a faster form is compared on, if there are as many."""

SERVER_HEADER = (
    *("server", "connections", "requests/s", "of the bare model", "p50, ms", "p99, ms"),
    *("errors", "CPU ms a request", "memory, MB", "start, s"),
)
Makers = Mapping[str, Callable[[], Launch]]


@dataclass(frozen=True)
class Arena:
    """Images, bare model and time that all servers share."""

    contest: Contest
    bare: BareModel
    files: Sequence[bytes]
    seconds: float

    def meet(self, makers: Makers, rounds: int) -> tuple[dict[str, Outcome], Yardstick]:
        """Measure the servers, and the bare model before and after each."""
        measured: list[Bare] = [self.bare.measure(self.seconds / 2)]
        costs: dict[str, list[ServerCost]] = {name: [] for name in makers}
        failed: dict[str, str] = {}
        for number in range(rounds):
            for name in list(makers)[:: -1 if number % 2 else 1]:
                if name in failed:
                    continue
                print(f"round {number + 1}: {name}", file=sys.stderr)
                try:
                    launch, work = makers[name](), self.contest.work
                    cost = measure_server(
                        launch, self.bare, self.files, work, self.seconds
                    )
                    costs[name].append(cost)
                except ServerFailed as error:
                    failed[name] = str(error)
                measured.append(self.bare.measure(self.seconds / 2))
        outcomes = {
            name: Outcome(name, [], failed[name])
            if name in failed
            else Outcome(costs[name][0].name, costs[name])
            for name in makers
        }
        return outcomes, Yardstick(measured)


def server_rows(outcomes: Sequence[Outcome], yardstick: Yardstick) -> list[Row]:
    """Medians of the rounds: one row for each number of connections."""
    rows: list[Row] = []
    for outcome in outcomes:
        name, costs = outcome.name, outcome.costs
        if outcome.not_measured:
            rows.append((name, f"not measured: {outcome.not_measured}", *[""] * 8))
            continue
        memory = f"{outcome.median(lambda cost: cost.memory_bytes) / servers.MB:.0f}"
        start = f"{outcome.median(lambda cost: cost.ready_seconds):.1f}"
        for connections in costs[0].singles:
            samples = [cost.singles[connections] for cost in costs]
            cells = _load_cells(samples, yardstick)
            rows.append((name, str(connections), *cells, memory, start))
    return rows


def _load_cells(samples: Sequence[Sample], yardstick: Yardstick) -> Row:
    def median(value: Callable[[Sample], float]) -> float:
        return statistics.median(map(value, samples))

    return (
        f"{median(lambda sample: sample.load.rate):,.0f}",
        f"{median(yardstick.share):.2f}",
        f"{median(lambda sample: sample.load.p50_ms):.1f}",
        f"{median(lambda sample: sample.load.p99_ms):.1f}",
        f"{sum(sample.load.errors for sample in samples):,}",
        f"{median(lambda sample: sample.cpu_ms):.2f}",
    )


def method(yardstick: Yardstick, seconds: float) -> str:
    """The method, as a paragraph below the table."""
    rates = [bare.rate for bare in yardstick.measured]
    singles = [bare.single_p50_ms for bare in yardstick.measured]
    return f"""Medians of the rounds (least to most). Bare model: ONNX Runtime alone,
fp32, batches of {IMAGES_A_REQUEST}, all cores, images decoded before: {min(rates):,.0f}
to {max(rates):,.0f} images/s, one image at a time {min(singles):.1f} to
{max(singles):.1f} ms, measured before and after each server; ratios are to the nearer
one, those to a peer of pairs of one round. {IMAGES} images in turn, {seconds:g} s a
load, by one thread of wrk on the same cores; {IMAGES_A_REQUEST} images a request on
{servers.MANY_CONNECTIONS} connections. CPU time and memory (PSS): all of a server's
processes. Each server first named the bare model's classes. Slow clients: 300 send a
head and 130 a body, a byte a second; 400 ask on and on and read no answer; whoever is
cut comes back. Lost: sent or under way at the signal by 32 clients without a proxy, and
not answered whole. Signals and memory: once.""".replace("\n", " ")


ROWS = ("fp32", "fast", "null", *endurance.MEASURES)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Settings; all rows of three rounds take twelve minutes at 4 seconds a load."""

    store: str
    model: str | None
    version: str
    second: str
    images: Path
    seconds: float
    rounds: int
    only: tuple[str, ...]
    peers: tuple[str, ...]
    ours: Mapping[str, str]
    fast: Mapping[str, str]
    app: list[Path]
    shape: list[Mapping[str, str]]


def main() -> None:
    plan = _plan()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers are stopped, too
    with tempfile.TemporaryDirectory(prefix="flipside-bench-") as folder:
        contest = _contest(plan, Path(folder))
        files = [file.read_bytes() for file in _images(plan.images)]
        arena = Arena(contest, BareModel(contest.bundle, files), files, plan.seconds)
        _measure(plan, arena)


def _ours(
    plan: Plan,
    contest: Contest,
    flags: Mapping[str, str],
    name: str = "flipside",
    proves: bool = False,
) -> Launch:
    versions = [plan.version] if proves else [plan.version, plan.second]
    given = {**ON_CPU, **plan.ours, **flags}
    return flipside(contest, *versions, flags=given, name=name, proves=proves)


def _measure(plan: Plan, arena: Arena) -> None:
    contest, fastest = arena.contest, "flipside, fastest"
    makers: dict[str, Callable[[], Launch]] = {
        "fp32": partial(_ours, plan, contest, {}),
        "fast": partial(_ours, plan, contest, plan.fast, fastest, True),
        "null": partial(null_network, contest, flags={**ON_CPU, **plan.ours}),
    }
    makers = {name: make for name, make in makers.items() if name in plan.only}
    if {"fp32", "fast"} & makers.keys():
        makers |= {peer: partial(PEERS[peer], contest) for peer in plan.peers}
        makers |= {str(file): partial(app_of_file, file, contest) for file in plan.app}
    for shape in plan.shape:
        name = " ".join(f"--{flag} {value}" for flag, value in shape.items())
        makers[name] = partial(_ours, plan, contest, shape, name)
    outcomes, yardstick = arena.meet(makers, plan.rounds)
    peers = [outcomes[peer] for peer in plan.peers if peer in outcomes]
    rows = _speed_rows(outcomes, peers, yardstick) + _endurance_rows(plan, arena)
    note = method(yardstick, plan.seconds)
    write_table("Serving", serving_goals.HEADER, rows, note=note)
    if outcomes:
        everyone = server_rows(list(outcomes.values()), yardstick)
        write_table("Servers beside it", SERVER_HEADER, everyone)


def _speed_rows(
    outcomes: Mapping[str, Outcome], peers: Sequence[Outcome], yardstick: Yardstick
) -> list[Row]:
    others = [peer for peer in peers if not peer.not_measured]
    parser = "C" if find_spec("gunicorn_h1c") else "Python"
    rows: Mapping[str, Callable[[Outcome], list[Row]]] = {
        "fp32": lambda ours: serving_goals.fp32_rows(ours, others, yardstick),
        "fast": lambda fast: serving_goals.fastest_rows(fast, others, yardstick),
        "null": lambda null: serving_goals.null_rows(null, parser),
    }
    found: list[Row] = []
    for name in [name for name in rows if name in outcomes]:
        reason = outcomes[name].not_measured
        label = serving_goals.NAMES[name]
        found += [not_measured(label, reason)] if reason else rows[name](outcomes[name])
    return found


def _endurance_rows(plan: Plan, arena: Arena) -> list[Row]:
    files = arena.files[:IMAGES]
    trial = endurance.Trial(
        make=partial(_ours, plan, arena.contest),
        second=plan.second,
        bodies=raw(files),
        many=list(servers.many_bodies(arena.bare, files).values()),
        work=arena.contest.work,
        seconds=plan.seconds,
        rounds=plan.rounds,
    )
    rows: list[Row] = []
    for name, measure in endurance.MEASURES.items():
        if name in plan.only:
            print(name, file=sys.stderr)
            try:
                rows += measure(trial)
            except ServerFailed as error:
                rows.append(not_measured(name, str(error)))
    return rows


def _contest(plan: Plan, work: Path) -> Contest:
    file = sqlite_file(plan.store)  # absolute: servers run in a folder of their own
    store = plan.store if file is None else f"sqlite:///{file}"
    registry = Registry(store)
    model = registry.model_name(plan.model)
    bundle = registry.fetch(registry.resolve(model, plan.version))
    return Contest(store=store, model=model, bundle=bundle, work=work)


def _images(folder: Path) -> list[Path]:
    """The first JPEGs by name, in groups of 64. Exits if there are fewer."""
    endings = (".jpg", ".jpeg")
    files = [f for f in sorted(folder.iterdir()) if f.suffix.lower() in endings]
    if len(files) < IMAGES:
        sys.exit(f"error: {folder} holds {len(files)} JPEGs; {IMAGES} are needed")
    return files[: min(CHECKED, len(files) // IMAGES * IMAGES)]


def _plan() -> Plan:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--store", default=store_uri(), metavar="URI", help="MLFLOW_TRACKING_URI")
    add("--model", help="registered model; the only one if there is one")
    add("--version", default="v1")
    add("--second", default="v2", help="served beside it")
    add("--images", type=existing_folder, required=True, help="64 JPEGs or more")
    add("--seconds", type=float, default=4.0, help="of each load, default 4")
    add("--rounds", type=int, default=3)
    add("--only", type=_some_of(ROWS), default=ROWS, metavar=",".join(ROWS))
    add("--peers", type=_some_of(PEERS), default=FASTEST_PEERS, metavar="A,B|none")
    flags: dict[str, Any] = {"type": _flags, "metavar": "KEY=VALUE,…"}
    add("--ours", **flags, default={}, help="flags of `python -m serving`")
    add("--fast", **flags, default=FAST, help="those of the fastest form")
    add("--app", type=Path, default=[], action="append", help=_APP)
    add("--shape", **flags, default=[], action="append", help=_SHAPE)
    return Plan(**vars(parser.parse_args()))


ON_CPU, FAST = {"device": "cpu"}, {"precision": "auto"}
FASTEST_PEERS = ("mosec", "litserve", "ray", "mlserver")  # Flask takes its time
_APP = "a file with create_app() to measure beside it, see contestants.app_of_file"
_SHAPE = "flags of ours to measure beside it; repeatable"


def _some_of(known: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        names = () if text == "none" else tuple(text.split(","))
        unknown = set(names) - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(
                f"no {', '.join(sorted(unknown))}; there are {', '.join(known)}"
            )
        return names

    return parse


def _flags(text: str) -> Mapping[str, str]:
    flags = dict(part.partition("=")[::2] for part in text.split(","))
    if not all(flags.values()):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE,KEY=VALUE")
    return flags


if __name__ == "__main__":
    main()
