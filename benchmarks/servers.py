"""Measure a server: start it, wait until it is ready, load it, stop it."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import urllib3
from urllib3 import BaseHTTPResponse

from benchmarks import harness
from benchmarks.bare_model import BareModel
from benchmarks.load import (
    IMAGES,
    Bodies,
    Encoding,
    Load,
    many_in_json,
    many_in_npy,
    run_wrk,
)
from benchmarks.training_programs import ROOT

START_SECONDS = 120
STOP_SECONDS = 10
PROOF_SECONDS = 90
PROBE_SECONDS = 0.02
MB = 1e6
BUSY = 64
"""Number of connections of the load that compares servers."""

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

    connections: Sequence[int] = (1, 16, BUSY)
    """A load for each."""

    takes_many: bool = False
    """It also answers 32 images a request."""

    proves: bool = False
    """It serves another form than fp32 when it has proved it; its answers say which."""

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
    with log.open("w") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            launch.command,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT), **launch.environment},
            start_new_session=True,
        )
    try:
        if not _answers(process, launch, probe):
            words = " ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
            raise ServerFailed(f"no start, exit code {process.poll()}: {words}")
        yield Server(launch, process.pid, time.monotonic() - started)
    finally:
        _stop(process)


def check_answers(server: Server, files: Sequence[bytes], best: Sequence[int]) -> float:
    """The share of images of which the server names the bare model's class, `best`.

    Raises ServerFailed if it is small: its speed would then be that of other work.
    """
    launch = server.launch
    bodies = launch.encode(files)
    found = [
        launch.best(orjson.loads(post(launch, content, bodies.content_type).data))
        for content in bodies.contents
    ]
    agreed = sum(one == other for one, other in zip(found, best, strict=True))
    if agreed < launch.same_classes * len(files):
        raise ServerFailed(f"it agrees with the bare model on {agreed} of {len(files)}")
    return agreed / len(files)


def served_as(server: Server, probe: bytes) -> str:
    """The form that it answers with, once another than fp32 is proved or time is up.

    Raises ServerFailed if its answers do not say.
    """
    body, until = server.launch.encode([probe]), time.monotonic() + PROOF_SECONDS
    while True:
        answer = post(server.launch, body.contents[0], body.content_type)
        form = answer.headers.get("X-Served-As")
        if form is None:
            raise ServerFailed("its answers do not say what they are served as")
        if "fp32" not in form or time.monotonic() > until:
            return form
        time.sleep(1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


def _answers(process: subprocess.Popen[bytes], launch: Launch, probe: bytes) -> bool:
    """Poll with an image, for START_SECONDS at most."""
    body = launch.encode([probe])
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            post(launch, body.contents[0], body.content_type)
        except ServerFailed:
            time.sleep(PROBE_SECONDS)
        else:
            return True
    return False


def post(launch: Launch, content: bytes, content_type: str) -> BaseHTTPResponse:
    """The answer. Raises ServerFailed for any status but 200."""
    headers = {"Content-Type": content_type, "Connection": "close"}
    try:
        answer = urllib3.request(
            "POST", launch.url, body=content, headers=headers, timeout=60, retries=False
        )
    except urllib3.exceptions.HTTPError as error:
        raise ServerFailed(f"it does not answer: {error!r}") from error
    if answer.status != 200:
        raise ServerFailed(f"it answers {answer.status}: {answer.data[:200]!r}")
    return answer


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the server and its descendants, and wait until all are gone.

    LitServe's workers outlive it, and would take a core from the next server.
    """
    everyone = {*harness.descendants(process.pid)}
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    everyone |= {*harness.descendants(process.pid)}
    while left := [pid for pid in everyone if harness.memory_bytes([pid])]:
        harness.kill(left)
        time.sleep(PROBE_SECONDS)
    process.wait()


MANY_CONNECTIONS = 4
"""With 32 images a request: 128 images on their way, of 512 that may wait."""

FINISH_SECONDS = 0.5
"""Pause for wrk's last requests; they would slow the next load."""


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
    """All measurements of a server that was started once."""

    name: str
    singles: Mapping[int, Sample]
    """Loads of one image a request, by number of connections."""

    many: Mapping[str, Sample]
    """Loads of 32 images a request, by the body's form; empty for a peer."""

    ready_seconds: float
    memory_bytes: int
    """Memory after all loads."""

    agreement: float
    """Share of images of which it named the bare model's class."""

    form: str = ""
    """What a launch that proves a form ended with."""


def measure_server(
    launch: Launch, bare: BareModel, files: Sequence[bytes], work: Path, seconds: float
) -> ServerCost:
    """Measure for `seconds` a load; a proved form's answers are compared on all files.

    Raises ServerFailed or NoWrk.
    """
    loaded = files[:IMAGES]
    bodies = launch.encode(loaded)
    many = many_bodies(bare, loaded) if launch.takes_many else {}
    with running(launch, log=work / "server.log", probe=files[0]) as server:
        form = served_as(server, files[0]) if launch.proves else ""
        checked = files if launch.proves else loaded
        agreement = check_answers(server, checked, bare.best[: len(checked)])
        run_wrk(launch.url, bodies, connections=16, seconds=seconds / 4)  # warm
        singles = {
            connections: _sample(server, bodies, connections, seconds)
            for connections in launch.connections
        }
        many_samples = {
            name: _sample(server, encoded, MANY_CONNECTIONS, seconds)
            for name, encoded in many.items()
        }
        if not all(sample.load.answered for sample in singles.values()):
            raise ServerFailed(f"it answered nothing within {seconds:g} s")
        return ServerCost(
            name=launch.name,
            singles=singles,
            many=many_samples,
            ready_seconds=server.ready_seconds,
            memory_bytes=server.memory_bytes(),
            agreement=agreement,
            form=form,
        )


def many_bodies(bare: BareModel, files: Sequence[bytes]) -> dict[str, Bodies]:
    return {
        "JPEG as base64 in JSON": many_in_json(files),
        "decoded, as .npy": many_in_npy(bare.images[: len(files)]),
    }


def _sample(server: Server, bodies: Bodies, connections: int, seconds: float) -> Sample:
    began, cpu_began = time.monotonic(), server.cpu_seconds()
    load = run_wrk(server.launch.url, bodies, connections=connections, seconds=seconds)
    sample = Sample(
        load=load,
        at=(began + time.monotonic()) / 2,
        cpu_seconds=server.cpu_seconds() - cpu_began,
    )
    time.sleep(FINISH_SECONDS)
    return sample
