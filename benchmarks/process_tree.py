"""What a process and all its descendants cost, read from /proc."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True)
class _Stat:
    """Of /proc/PID/stat; proc_pid_stat(5) has the places of its fields."""

    parent: int
    session: int
    ticks: int
    """Of CPU, with those of children that ended and were waited for."""


def descendants(root: int, proc: Path = PROC) -> list[int]:
    """`root` and all below it, also those that outlived their parents.

    Such a process has another parent, but still the session of its ancestors; `root`
    must have been started in a session of its own.
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
    """User and system time so far."""
    stats = (_stat(pid, proc) for pid in pids)
    ticks = sum(stat.ticks for stat in stats if stat is not None)
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_bytes(pids: list[int], proc: Path = PROC) -> int:
    """The proportional set size: what processes share counts once in the sum."""
    return sum(_pss_bytes(pid, proc) for pid in pids)


def kill(pids: list[int]) -> None:
    """At once; one that has gone is no error."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _pids(proc: Path) -> list[int]:
    return [int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()]


def _stat(pid: int, proc: Path) -> _Stat | None:
    """None where the process has gone."""
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
    """0 where the process has gone, or has ended and only waits to be waited for."""
    try:
        text = (proc / str(pid) / "smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    lines = [line.split() for line in text.splitlines()]
    return sum(1024 * int(line[1]) for line in lines if line[0] == "Pss:")
