"""CPU time and memory of a process tree, runs, and tables of results."""

import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from classifier.hardware import usable_cores

PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True)
class _Stat:
    """Fields of /proc/PID/stat; proc_pid_stat(5) has their positions."""

    parent: int
    session: int
    ticks: int
    """CPU seconds, with those of children that ended and were waited for."""


def descendants(root: int, proc: Path = PROC) -> list[int]:
    """`root` and all its descendants, also those whose parents have ended.

    Such a process has a new parent, but still the session of its ancestors; `root` must
    have been started in a session of its own.
    """
    stats = {pid: stat for pid in _pids(proc) if (stat := _stat(pid, proc)) is not None}
    found, sessions = {root}, {root}
    while more := {
        pid
        for pid, stat in stats.items()
        if pid not in found and (stat.parent in found or stat.session in sessions)
    }:
        found |= more
        # Some start workers in sessions of their own (BentoML's circus).
        sessions |= {stats[pid].session for pid in more}
    return sorted(found & stats.keys())


def cpu_seconds(pids: list[int], proc: Path = PROC) -> float:
    """User and system seconds so far."""
    stats = (_stat(pid, proc) for pid in pids)
    ticks = sum(stat.ticks for stat in stats if stat is not None)
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_bytes(pids: list[int], proc: Path = PROC) -> int:
    """Proportional set size: shared memory counts once in the sum."""
    return sum(_pss_bytes(pid, proc) for pid in pids)


def kill(pids: list[int]) -> None:
    """Kill all of them; a process that has ended is no error."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _pids(proc: Path) -> list[int]:
    return [int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()]


def _stat(pid: int, proc: Path) -> _Stat | None:
    """None if the process has ended."""
    try:
        text = (proc / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is a name in parentheses, which may hold both.
    fields = text.rpartition(")")[2].split()
    return _Stat(
        parent=int(fields[1]),
        session=int(fields[3]),
        ticks=sum(int(field) for field in fields[11:15]),
    )


def _pss_bytes(pid: int, proc: Path) -> int:
    """0 if the process has ended or is a zombie."""
    try:
        text = (proc / str(pid) / "smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    lines = [line.split() for line in text.splitlines()]
    return sum(1024 * int(line[1]) for line in lines if line[0] == "Pss:")


LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class WatchedRun:
    """Cost of a run."""

    seconds: float
    cpu_seconds: float
    """User and system seconds of the process and of its children."""

    peak_bytes: int
    """Highest resident memory of the process itself."""

    lines: int
    """Lines of the watched file at the end."""

    first_line_at: float | None
    """Seconds from the start until the file had one more line."""

    last_line_at: float | None


class RunFailed(RuntimeError):
    """The exit code was not 0."""


def watch(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> WatchedRun:
    """Run `python ARGUMENTS` and time the lines of `file`. Raises RunFailed."""
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
        output = errors.read()
    if process.returncode != 0:
        raise RunFailed(
            f"{arguments} ended with {process.returncode}: {output[-2000:]}"
        )
    return WatchedRun(
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_bytes=peak,
        lines=watched.count,
        first_line_at=watched.first_at,
        last_line_at=watched.last_at,
    )


class _Lines:
    """Lines of a file that grows, or that is not there yet."""

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
    """0 if the process has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    lines = (line.split() for line in status.splitlines())
    return sum(1024 * int(line[1]) for line in lines if line[0] == "VmHWM:")


PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def write_table(
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    note: str = "",
    page: Path = PAGE,
) -> None:
    """Print the table, and replace the last table of this title in the docs.

    `note` is a paragraph below the table: what was measured, and how.
    """
    lines = [
        f"## {title}",
        f"{date.today()} · {machine()} · `{_command()}`",
        "",
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        *([note, ""] if note else []),
    ]
    section = "\n".join(lines)
    print(section)
    text = page.read_text() if page.is_file() else "# Benchmarks\n\n"
    old = _section(title)
    if old.search(text):
        text = old.sub(lambda _: section.rstrip() + "\n", text)
    else:
        text = f"{text.rstrip()}\n\n{section}"
    page.write_text(text)


def has_table(title: str, page: Path = PAGE) -> bool:
    return page.is_file() and bool(_section(title).search(page.read_text()))


def _section(title: str) -> re.Pattern[str]:
    return re.compile(rf"^## {re.escape(title)}\n.*?(?=\n## |\Z)", re.DOTALL | re.M)


def machine() -> str:
    cpuinfo = Path("/proc/cpuinfo").read_text()
    match = re.search(r"model name\s*: (.*)", cpuinfo)
    name = match[1] if match else platform.processor()
    return (
        f"{usable_cores()} cores of {name}{_gpu()}, Python {platform.python_version()}"
    )


def _gpu() -> str:
    import torch  # seconds to import, and every benchmark ends here

    return f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""


def _command() -> str:
    """The command line with only the last part of each path."""
    arguments = [argument.rstrip("/").split("/")[-1] for argument in sys.argv[1:]]
    return " ".join(
        ["python -m", f"{__package__}.{Path(sys.argv[0]).stem}", *arguments]
    )
