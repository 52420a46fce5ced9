"""Starts a server, waits until it is ready, reads what it costs, stops it."""

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

from benchmarks import process_tree
from benchmarks.programs import ROOT
from benchmarks.request_bodies import Encoding

START_SECONDS = 120
STOP_SECONDS = 10
PROBE_SECONDS = 0.02
SAME_CLASSES = 0.95
"""Other decoders and other kernels may tip an image that was on the edge."""


class ServerFailed(RuntimeError):
    """A server did not start, or does not answer as the model does."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How a server is started and asked."""

    name: str
    command: tuple[str, ...]
    port: int
    path: str
    """Where images are posted."""

    encode: Encoding
    best: Callable[[Any], int]
    """The likeliest class of an answer's JSON."""

    environment: Mapping[str, str]

    same_classes: float = SAME_CLASSES
    """The share of images on which it must agree with the bare model, at least."""

    says_ready: bool = False
    """It prints a line when it is ready; else it is asked until it answers."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"


@dataclass(frozen=True)
class Server:
    """A running one."""

    launch: Launch
    pid: int
    ready_seconds: float
    """From its start until it was ready."""

    def cpu_seconds(self) -> float:
        return process_tree.cpu_seconds(process_tree.descendants(self.pid))

    def memory_bytes(self) -> int:
        return process_tree.memory_bytes(process_tree.descendants(self.pid))


@contextmanager
def running(launch: Launch, *, log: Path, probe: bytes) -> Iterator[Server]:
    """ServerFailed with the end of its log where it does not come up."""
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
            is_ready = _was_told(process)
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
    """ServerFailed unless it names nearly the same classes as the bare model.

    Otherwise its speed would be that of other work. `best` has those of `files`.
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


def _was_told(process: subprocess.Popen[bytes]) -> bool:
    """Whether a line came on its standard output, before that was closed."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    return bool(readable) and process.stdout.readline() != b""


def _answers(process: subprocess.Popen[bytes], launch: Launch, probe: bytes) -> bool:
    """Asked about an image again and again; START_SECONDS at most."""
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
    """What it answers; ServerFailed for another status than 200."""
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
    """It, and what it leaves behind (LitServe's workers outlive it)."""
    everyone = process_tree.descendants(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    process_tree.kill(everyone)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
