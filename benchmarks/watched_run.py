"""One run of a program, seen from outside: time, cores, memory, milestones."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class WatchedRun:
    """What it took."""

    seconds: float
    cpu_seconds: float
    """User and system, of the process and of all it started and waited for."""

    peak_bytes: int
    """Resident memory of the process itself, at its highest."""

    lines: int
    """In the watched file, at the end."""

    first_line_at: float | None
    """Seconds from the start until the file held a line more than at the start."""

    last_line_at: float | None
    said: str = field(repr=False, default="")
    """On standard error."""


class RunFailed(RuntimeError):
    """It ended with another exit code than 0."""


def watch(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> WatchedRun:
    """`python ARGUMENTS` to its end, and when the lines of `file` came; RunFailed."""
    watched = _Lines(file)
    with tempfile.TemporaryFile("w+") as errors:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, **(environment or {})},
        )
        peak = 0
        while True:
            peak = max(peak, _peak_bytes(process.pid))
            watched.look(time.monotonic() - started)
            done, status, usage = os.wait4(process.pid, os.WNOHANG)
            if done:
                break
            time.sleep(LOOK_SECONDS)
        seconds = time.monotonic() - started
        watched.look(seconds)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        said = errors.read()
    if process.returncode != 0:
        raise RunFailed(f"{arguments} ended with {process.returncode}: {said[-2000:]}")
    return WatchedRun(
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_bytes=peak,
        lines=watched.count,
        first_line_at=watched.first_at,
        last_line_at=watched.last_at,
        said=said,
    )


class _Lines:
    """Of a file that grows, or is not there yet."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._read = 0
        self.count = 0
        self.first_at: float | None = None
        self.last_at: float | None = None

    def look(self, at: float) -> None:
        if self._file is None or not self._file.is_file():
            return
        with self._file.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        self._read += len(new)
        if new.count(b"\n"):
            self.count += new.count(b"\n")
            self.first_at = at if self.first_at is None else self.first_at
            self.last_at = at


def _peak_bytes(pid: int) -> int:
    """0 where the process has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    lines = (line.split() for line in status.splitlines())
    return sum(1024 * int(line[1]) for line in lines if line[0] == "VmHWM:")
