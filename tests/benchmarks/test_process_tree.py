"""Which processes are a server's, and what they cost, as /proc tells."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.process_tree import cpu_seconds, descendants, kill, memory_bytes

TICKS = os.sysconf("SC_CLK_TCK")


def add_process(
    proc: Path, pid: int, *, parent: int, session: int, ticks: int = 0, pss_kb: int = 0
) -> None:
    """A process whose name has a space and a parenthesis, as names may have."""
    folder = proc / str(pid)
    folder.mkdir()
    idle = "0 0 0 0 0 0 0"
    line = f"{pid} (a ) b) S {parent} {pid} {session} {idle} {ticks} 0 0 {ticks} 20 0"
    (folder / "stat").write_text(line)
    (folder / "smaps_rollup").write_text(
        f"0-1 ---p 0 00:00 0 [rollup]\nRss: 9999 kB\nPss: {pss_kb} kB\nPss_Anon: 7 kB\n"
    )


def test_workers_count_that_lost_their_parent_or_have_a_session_of_their_own(
    tmp_path: Path,
) -> None:
    add_process(tmp_path, 10, parent=1, session=5)
    add_process(tmp_path, 20, parent=10, session=20)
    add_process(tmp_path, 21, parent=20, session=21)
    add_process(tmp_path, 22, parent=1, session=21)
    add_process(tmp_path, 30, parent=10, session=5)

    assert descendants(20, tmp_path) == [20, 21, 22]


def test_cpu_time_is_that_of_all_with_their_ended_children(tmp_path: Path) -> None:
    add_process(tmp_path, 20, parent=1, session=20, ticks=3 * TICKS)
    add_process(tmp_path, 21, parent=20, session=20, ticks=TICKS)

    assert cpu_seconds([20, 21], tmp_path) == 8.0


def test_memory_is_the_sum_of_proportional_sizes(tmp_path: Path) -> None:
    add_process(tmp_path, 20, parent=1, session=20, pss_kb=1000)
    add_process(tmp_path, 21, parent=20, session=20, pss_kb=24)

    assert memory_bytes([20, 21], tmp_path) == 1024 * 1024


def test_a_process_that_has_gone_costs_nothing(tmp_path: Path) -> None:
    assert cpu_seconds([99], tmp_path) == 0.0
    assert memory_bytes([99], tmp_path) == 0
    assert descendants(99, tmp_path) == []


def test_a_real_process_is_found_with_its_child_and_killed() -> None:
    inner = "import sys; print('up', flush=True); sys.stdin.read()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", outer],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = descendants(process.pid)
        size = memory_bytes(found)
        kill(found)

    assert process.pid in found
    assert len(found) == 2
    assert size > 1024 * 1024
