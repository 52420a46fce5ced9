"""Serving beside its peers: the same graph, images, cores and load, as shares of the
bare model.

Each server is started, asked and stopped in turn. Peers are installed below
build/peers/ the first time; one that cannot be is told, and the rest goes on.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.arena import Arena
from benchmarks.arrange import existing_folder
from benchmarks.bare_model import BareModel
from benchmarks.contestants import PEERS, Contest, flipside
from benchmarks.report import write_table
from benchmarks.request_bodies import IMAGES
from benchmarks.serving_goals import GOAL_HEADER, goal_rows
from benchmarks.serving_rows import (
    SERVER_HEADER,
    SHAPE_HEADER,
    bare_range,
    method,
    server_rows,
    shape_rows,
)
from classifier.registry import Registry
from classifier.store import sqlite_file, store_uri

ON_CPU: Mapping[str, str] = {"device": "cpu"}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured; four peers take six minutes at 8 seconds a load."""

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
    """If there are any, they alone are measured."""


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
    """The first 64 JPEGs by name; exits where there are fewer."""
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
        parser.error(
            f"--int8 {plan.int8}: what is compared is {plan.version}'s {wanted}"
        )
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
