"""One server under every load in turn: what it answers, what it costs."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bare_model import BareModel
from benchmarks.load import Load, run_wrk
from benchmarks.open_loop import OpenLoad, run_open_loop
from benchmarks.request_bodies import Bodies, many_in_json, many_in_npy
from benchmarks.servers import Launch, Server, ServerFailed, check_answers, running

CONNECTIONS = (1, 16, 64)
MANY_CONNECTIONS = 4
"""With 32 images a request: 128 images on their way, of 512 that may wait."""

OPEN_SHARE = 0.7
"""Of the highest rate that wrk reached."""


FINISH_SECONDS, TICK_SECONDS = 10, 0.25
IDLE_CPU = 0.2
"""Cores below which a server is done; LitServe's workers look for work all the time."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A load, when its middle was, and the server's CPU time for it."""

    load: Load
    at: float
    """By time.monotonic()."""

    cpu_seconds: float

    @property
    def cpu_ms(self) -> float:
        """CPU time of an answered request."""
        return 1000 * self.cpu_seconds / max(1, self.load.answered)


@dataclass(frozen=True, kw_only=True)
class ServerCost:
    """All that was measured of a server."""

    name: str
    singles: Mapping[int, Sample]
    """One image a request, by number of connections."""

    many: Mapping[str, Sample]
    """32 images a request, by the body's form; empty for a peer."""

    open_loop: OpenLoad
    ready_seconds: float
    idle_memory_bytes: int
    """Before the first load; each image was asked about once."""

    memory_bytes: int
    """After all loads."""


def measure_server(
    launch: Launch,
    bare: BareModel,
    files: Sequence[bytes],
    *,
    work: Path,
    seconds: float,
    is_ours: bool,
) -> ServerCost:
    """`seconds` for each load; ServerFailed, or NoWrk."""
    bodies = launch.encode(files)
    with running(launch, log=work / "server.log", probe=files[0]) as server:
        check_answers(server, files, bare.best)
        idle_memory_bytes = server.memory_bytes()
        run_wrk(launch.url, bodies, connections=16, seconds=seconds / 4)  # warm
        singles = {
            connections: _sample(server, bodies, connections, seconds)
            for connections in CONNECTIONS
        }
        many = {
            form: _sample(server, encoded, MANY_CONNECTIONS, seconds)
            for form, encoded in (_many(bare, files) if is_ours else {}).items()
        }
        highest = max(sample.load.rate for sample in singles.values())
        if highest == 0:
            raise ServerFailed(f"it answered nothing within {seconds:g} s")
        open_loop = run_open_loop(
            launch.url, bodies, rate=OPEN_SHARE * highest, seconds=seconds
        )
        return ServerCost(
            name=launch.name,
            singles=singles,
            many=many,
            open_loop=open_loop,
            ready_seconds=server.ready_seconds,
            idle_memory_bytes=idle_memory_bytes,
            memory_bytes=server.memory_bytes(),
        )


def start_seconds(
    make: Callable[[], Launch], *, work: Path, probe: bytes, times: int
) -> list[float]:
    """From the start of the process to its readiness, each time anew."""
    seconds = []
    for _ in range(times):
        with running(make(), log=work / "start.log", probe=probe) as server:
            seconds.append(server.ready_seconds)
    return seconds


def _many(bare: BareModel, files: Sequence[bytes]) -> dict[str, Bodies]:
    return {
        "JPEG as base64 in JSON": many_in_json(files),
        "decoded, as .npy": many_in_npy(bare.images),
    }


def _sample(server: Server, bodies: Bodies, connections: int, seconds: float) -> Sample:
    began, cpu_began = time.monotonic(), server.cpu_seconds()
    load = run_wrk(server.launch.url, bodies, connections=connections, seconds=seconds)
    sample = Sample(
        load=load,
        at=(began + time.monotonic()) / 2,
        cpu_seconds=server.cpu_seconds() - cpu_began,
    )
    _let_finish(server)
    return sample


def _let_finish(server: Server) -> None:
    """wrk leaves at once; its last requests would be in the way of the next load."""
    until, cpu_before = time.monotonic() + FINISH_SECONDS, server.cpu_seconds()
    while time.monotonic() < until:
        time.sleep(TICK_SECONDS)
        cpu_now = server.cpu_seconds()
        if cpu_now - cpu_before < IDLE_CPU * TICK_SECONDS:
            return
        cpu_before = cpu_now
