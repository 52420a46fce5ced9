"""Measure a server: start it, wait until it is ready, load it, stop it."""

import http.client
import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from benchmarks import harness
from benchmarks.bare_model import BareModel
from benchmarks.load import (
    Bodies,
    Encoding,
    Load,
    OpenLoad,
    many_in_json,
    many_in_npy,
    run_open_loop,
    run_wrk,
)
from benchmarks.training_programs import ROOT

START_SECONDS = 120
STOP_SECONDS = 10
PROBE_SECONDS = 0.02
SAME_CLASSES = 0.95
"""Least share of agreement: other decoders and kernels change close calls."""


class ServerFailed(RuntimeError):
    """The server did not start, or its answers are not the model's."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Command, address and answers of a server."""

    name: str
    command: tuple[str, ...]
    port: int
    path: str
    """Path that images are posted to."""

    encode: Encoding
    best: Callable[[Any], int]
    """Reads the likeliest class from an answer's JSON."""

    environment: Mapping[str, str]

    same_classes: float = SAME_CLASSES
    """Least share of images on which it agrees with the bare model."""

    says_ready: bool = False
    """The server prints a line when it is ready; else it is polled."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"


@dataclass(frozen=True)
class Server:
    """A running server."""

    launch: Launch
    pid: int
    ready_seconds: float
    """Seconds from its start until it was ready."""

    def cpu_seconds(self) -> float:
        return harness.cpu_seconds(harness.descendants(self.pid))

    def memory_bytes(self) -> int:
        return harness.memory_bytes(harness.descendants(self.pid))


@contextmanager
def running(launch: Launch, *, log: Path, probe: bytes) -> Iterator[Server]:
    """Raises ServerFailed with the end of its log if it does not start."""
    with log.open("w") as stderr:
        started = time.monotonic()
        process = subprocess.Popen(
            launch.command,
            stdout=subprocess.PIPE if launch.says_ready else stderr,
            stderr=stderr,
            cwd=log.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT), **launch.environment},
            start_new_session=True,
        )
    try:
        if launch.says_ready:
            is_ready = _printed_a_line(process)
        else:
            is_ready = _answers(process, launch, probe)
        if not is_ready:
            words = log.read_text(errors="replace").strip().splitlines()[-3:]
            raise ServerFailed(
                f"it did not come up (exit code {process.poll()}): {' '.join(words)}"
            )
        yield Server(launch, process.pid, time.monotonic() - started)
    finally:
        _stop(process)


def check_answers(server: Server, files: Sequence[bytes], best: Sequence[int]) -> None:
    """Raises ServerFailed if the server disagrees with the bare model on many images.

    Its speed would then be that of other work. `best` are the bare model's classes.
    """
    launch = server.launch
    bodies = launch.encode(files)
    found = [
        launch.best(orjson.loads(_post(launch, content, bodies.content_type)))
        for content in bodies.contents
    ]
    agreed = sum(one == other for one, other in zip(found, best, strict=True))
    if agreed < launch.same_classes * len(files):
        raise ServerFailed(
            f"it agrees with the bare model on {agreed} of {len(files)} images"
        )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


def _printed_a_line(process: subprocess.Popen[bytes]) -> bool:
    """Whether it printed a line before it closed standard output."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    return bool(readable) and process.stdout.readline() != b""


def _answers(process: subprocess.Popen[bytes], launch: Launch, probe: bytes) -> bool:
    """Poll with an image, for START_SECONDS at most."""
    body = launch.encode([probe])
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            _post(launch, body.contents[0], body.content_type)
        except ServerFailed:
            time.sleep(PROBE_SECONDS)
        else:
            return True
    return False


def _post(launch: Launch, content: bytes, content_type: str) -> bytes:
    """The answer. Raises ServerFailed for any status but 200."""
    connection = http.client.HTTPConnection("127.0.0.1", launch.port, timeout=60)
    try:
        headers = {"Content-Type": content_type}
        connection.request("POST", launch.path, content, headers)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise ServerFailed(f"it does not answer: {error!r}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise ServerFailed(f"it answers {answer.status}: {body[:200]!r}")
    return body


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the server and its descendants (LitServe's workers outlive it)."""
    everyone = harness.descendants(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    harness.kill(everyone)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


CONNECTIONS = (1, 16, 64)
MANY_CONNECTIONS = 4
"""With 32 images a request: 128 images on their way, of 512 that may wait."""

OPEN_SHARE = 0.7
"""Of the highest rate that wrk reached."""


FINISH_SECONDS, TICK_SECONDS = 10, 0.25
IDLE_CPU = 0.2
"""A server is idle below this many cores; LitServe's workers poll for work."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A load, when its middle was, and the server's CPU time for it."""

    load: Load
    at: float
    """Middle of the load, by time.monotonic()."""

    cpu_seconds: float

    @property
    def cpu_ms(self) -> float:
        """CPU seconds per answered request."""
        return 1000 * self.cpu_seconds / max(1, self.load.answered)


@dataclass(frozen=True, kw_only=True)
class ServerCost:
    """All measurements of a server."""

    name: str
    singles: Mapping[int, Sample]
    """Loads of one image a request, by number of connections."""

    many: Mapping[str, Sample]
    """Loads of 32 images a request, by the body's form; empty for a peer."""

    open_loop: OpenLoad
    ready_seconds: float
    idle_memory_bytes: int
    """Memory before the first load, after one request for each image."""

    memory_bytes: int
    """Memory after all loads."""


def measure_server(
    launch: Launch,
    bare: BareModel,
    files: Sequence[bytes],
    *,
    work: Path,
    seconds: float,
    is_ours: bool,
) -> ServerCost:
    """Measure for `seconds` a load. Raises ServerFailed or NoWrk."""
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
    """Seconds from the start of a process until it is ready, for several starts."""
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
    """Wait until wrk's last requests are done; they would slow the next load."""
    until, cpu_before = time.monotonic() + FINISH_SECONDS, server.cpu_seconds()
    while time.monotonic() < until:
        time.sleep(TICK_SECONDS)
        cpu_now = server.cpu_seconds()
        if cpu_now - cpu_before < IDLE_CPU * TICK_SECONDS:
            return
        cpu_before = cpu_now
