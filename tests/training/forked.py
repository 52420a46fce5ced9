"""Trains in processes forked from one that has imported everything, with accidents.

Importing takes 5 s on two cores and a short run 1 s: 20 runs become bearable. It is a
process of its own, because one that has threads must not fork.
"""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Accident:
    """Befalls a process at a call that it makes."""

    when: Literal["before", "after"]
    call: str
    """`module:Class.method`."""

    count: int = 1
    """At the call of this number."""

    kind: Literal[
        "SIGKILL", "SIGINT", "SIGTERM", "full disk", "free disk", "no reader"
    ] = "SIGKILL"

    def happen(self) -> None:
        if self.kind == "no reader":  # of what the process prints
            reader, writer = os.pipe()
            os.dup2(writer, 1)
            os.close(reader)
            os.close(writer)
        elif self.kind in ("full disk", "free disk"):
            # No file may grow beyond 64 kB: none but what the process prints.
            _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
            size = 1 << 16 if self.kind == "full disk" else most
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
        else:
            os.kill(os.getpid(), signal.Signals[self.kind])


@dataclass(frozen=True)
class Ended:
    code: int
    """As subprocess has it: -9 after SIGKILL."""

    output: str
    error: str


class Forks:
    """The process that forks, seen from a test."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self._folder = folder

    def train(
        self,
        arguments: Sequence[str],
        *accidents: Accident,
        uri: str,
        at: Path,
        retry_seconds: float | None = None,
    ) -> Ended:
        """`python -m training ARGUMENTS` in the folder `at`, without pictures."""
        (ended,) = self.train_together(
            1, arguments, *accidents, uri=uri, at=at, retry_seconds=retry_seconds
        )
        return ended

    def train_together(
        self,
        processes: int,
        arguments: Sequence[str],
        *accidents: Accident,
        uri: str,
        at: Path,
        retry_seconds: float | None = None,
        befallen: Sequence[int] = (0,),
    ) -> list[Ended]:
        """As torchrun starts them; `accidents` are those of the ranks `befallen`."""
        files = [
            (self._folder / f"out{rank}", self._folder / f"err{rank}")
            for rank in range(processes)
        ]
        job = {
            "arguments": list(arguments),
            "uri": uri,
            "at": str(at),
            "accidents": [asdict(accident) for accident in accidents],
            "retry_seconds": retry_seconds,
            "befallen": list(befallen),
            "files": [[str(path) for path in pair] for pair in files],
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        codes = json.loads(self._process.stdout.readline())
        return [
            Ended(code, out.read_text(), err.read_text())
            for code, (out, err) in zip(codes, files, strict=True)
        ]


@contextmanager
def open_forks(folder: Path) -> Iterator[Forks]:
    """`folder` is for what the processes print."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.training.forked"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
    ) as process:
        yield Forks(process, folder)
        assert process.stdin is not None
        process.stdin.close()


def _serve() -> None:
    # A shell's job in the background ignores SIGINT, and so would the children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main = import_module("training.__main__").main
    import_module("training.train")  # and torch, once for all children
    import_module("scipy.optimize")  # as after the first epoch; here once for all
    for line in sys.stdin:
        job = json.loads(line)
        port = free_port()
        children = []
        for rank in range(len(job["files"])):
            child = os.fork()
            if child == 0:
                _train(main, job, rank, port)
            children.append(child)
        statuses = [os.waitpid(child, 0)[1] for child in children]
        print([os.waitstatus_to_exitcode(status) for status in statuses], flush=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _train(
    main: Callable[[list[str]], int], job: dict[str, Any], rank: int, port: int
) -> None:
    for path, number in zip(job["files"][rank], (1, 2), strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(job["at"])
    os.environ["MLFLOW_TRACKING_URI"] = job["uri"]
    os.environ |= {"WORLD_SIZE": str(len(job["files"])), "RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    # They take 3 s, and are drawn in the tests that start whole processes.
    pictures: Any = import_module("training.reports.plots")
    pictures.draw_pictures = lambda *_, **__: None
    pictures.draw_batch = lambda *_, **__: None
    for accident in job["accidents"] if rank in job["befallen"] else ():
        _arm(Accident(**accident))
    if job["retry_seconds"] is not None:
        run: Any = import_module("training.run.run")
        run.RetryPolicy = partial(run.RetryPolicy, seconds=job["retry_seconds"])
    code = main(job["arguments"])
    sys.stdout.flush()
    os._exit(code)


def _arm(accident: Accident) -> None:
    module, _, path = accident.call.partition(":")
    owner: Any = import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    work = getattr(owner, name)
    left = accident.count

    @wraps(work)
    def befallen(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0 and accident.when == "before":
            accident.happen()
        result = work(*args, **kwargs)
        if left == 0 and accident.when == "after":
            accident.happen()
        return result

    setattr(owner, name, befallen)


if __name__ == "__main__":
    _serve()
