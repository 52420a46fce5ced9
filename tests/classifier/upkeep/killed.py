"""Commands of `python -m classifier` in processes that SIGKILL ends at a given step.

A step is something that a command writes: a statement or a commit in the database, a
file or folder made, renamed or removed. Importing takes 3 s and a command a fraction,
so the processes are forked from one that has imported everything.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

SERVER = """
import contextlib, io, json, os, signal, sys
import classifier.store.maintenance.places
import classifier.store.maintenance.removal
import classifier.upkeep.moving
import mlflow.store.tracking.sqlalchemy_store
import mlflow.store.model_registry.sqlalchemy_store
from sqlalchemy import Engine, event
from classifier.__main__ import main

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
STEPS = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link"}

def run(at, uri, arguments):
    os.environ["MLFLOW_TRACKING_URI"] = uri
    steps = 0
    def step(*_):
        nonlocal steps
        steps += 1
        if steps == at:
            os.kill(os.getpid(), signal.SIGKILL)
    def statement(connection, cursor, text, *_):
        if not text.lstrip().upper().startswith(("SELECT", "PRAGMA")):
            step()
    def audit(name, given):
        if name in STEPS or (name == "open" and (given[2] or 0) & WRITES):
            step()
    event.listen(Engine, "before_cursor_execute", statement)
    event.listen(Engine, "commit", step)
    sys.addaudithook(audit)
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        code = main(arguments)
    return {"code": code, "steps": steps, "out": out.getvalue(),
            "error": error.getvalue()}

for line in sys.stdin:
    request = json.loads(line)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, json.dumps(run(**request)).encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as answer:
        text = answer.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    ended = {"code": status, "steps": 0, "out": "", "error": ""}
    print(text or json.dumps(ended), flush=True)
"""


@dataclass(frozen=True)
class Ended:
    code: int
    """-9 for a killed process."""

    steps: int
    out: str
    error: str


class Commands:
    """A process that forks one for each command."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"},
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def run(self, arguments: Sequence[str], *, uri: str, at: int = 0) -> Ended:
        """Run `python -m classifier …`, killed at step `at`, or at none."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request: dict[str, Any] = {"at": at, "uri": uri, "arguments": [*arguments]}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))
