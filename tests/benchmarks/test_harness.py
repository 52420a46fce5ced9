"""Processes of a server, their cost in /proc, runs, and tables of results."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.harness import (
    RunFailed,
    cpu_seconds,
    descendants,
    has_table,
    kill,
    memory_bytes,
    watch,
    write_table,
)

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


def test_workers_without_parent_or_with_their_own_session_are_descendants(
    tmp_path: Path,
) -> None:
    add_process(tmp_path, 10, parent=1, session=5)
    add_process(tmp_path, 20, parent=10, session=20)
    add_process(tmp_path, 21, parent=20, session=21)
    add_process(tmp_path, 22, parent=1, session=21)
    add_process(tmp_path, 30, parent=10, session=5)

    assert descendants(20, tmp_path) == [20, 21, 22]


def test_cpu_time_is_the_sum_with_ended_children(tmp_path: Path) -> None:
    add_process(tmp_path, 20, parent=1, session=20, ticks=3 * TICKS)
    add_process(tmp_path, 21, parent=20, session=20, ticks=TICKS)

    assert cpu_seconds([20, 21], tmp_path) == 8.0


def test_memory_is_the_sum_of_proportional_sizes(tmp_path: Path) -> None:
    add_process(tmp_path, 20, parent=1, session=20, pss_kb=1000)
    add_process(tmp_path, 21, parent=20, session=20, pss_kb=24)

    assert memory_bytes([20, 21], tmp_path) == 1024 * 1024


def test_a_process_that_has_ended_costs_nothing(tmp_path: Path) -> None:
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


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    command = ["/opt/x/benchmarks/training.py", "--data", "/home/somebody/tiny/"]
    monkeypatch.setattr(sys, "argv", command)
    return tmp_path / "benchmarks.md"


def test_a_table_replaces_the_last_one_of_its_title(page: Path) -> None:
    write_table("Training", ("", "ratio"), [("old", "1.0")], page=page)
    write_table("Training on a GPU", ("", "ratio"), [("other", "2.0")], page=page)
    write_table("Training", ("", "ratio"), [("new", "3.0")], note="A note.", page=page)

    text = page.read_text()
    assert text.startswith("# Benchmarks\n\n## Training\n")
    assert "old" not in text
    assert text.index("| new | 3.0 |") < text.index("A note.")
    assert text.index("A note.\n\n## Training on a GPU") < text.index("| other | 2.0 |")


def test_writing_the_same_table_twice_changes_nothing(page: Path) -> None:
    for title in ("One", "Two", "One"):
        write_table(title, ("", "ratio"), [("row", "1.0")], page=page)
    once = page.read_text()
    write_table("Two", ("", "ratio"), [("row", "1.0")], page=page)

    assert page.read_text() == once


def test_the_command_has_only_the_last_part_of_each_path(page: Path) -> None:
    write_table("Training", ("",), [("row",)], page=page)

    assert "benchmarks.training --data tiny`" in page.read_text()
    assert "somebody" not in page.read_text()


def test_a_table_is_found_by_its_whole_title(page: Path) -> None:
    assert not has_table("Training", page)

    write_table("Training on a GPU", ("",), [("row",)], page=page)

    assert has_table("Training on a GPU", page)
    assert not has_table("Training", page)


def test_lines_are_timed_as_they_are_written(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    program = (
        f"file = open({str(file)!r}, 'w'); file.write('one\\n'); file.flush();"
        "big = bytearray(100_000_000); sum(range(2_000_000)); file.write('two\\n')"
    )

    run = watch(["-c", program], file=file)

    assert run.lines == 2
    assert run.first_line_at is not None
    assert run.last_line_at is not None
    assert 0 < run.first_line_at <= run.last_line_at <= run.seconds
    assert run.cpu_seconds > 0
    assert 1_000_000 < run.peak_bytes < 1_000_000_000


def test_cpu_time_of_children_counts() -> None:
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', {!r}])"
    work = "import time\nwhile time.process_time() < 0.5: pass"

    run = watch(["-c", child.format(work)])

    assert run.cpu_seconds >= 0.5
    assert run.first_line_at is None


def test_a_failed_run_is_an_error_with_its_output() -> None:
    with pytest.raises(RunFailed, match=r"ended with 3: .*why"):
        watch(["-c", "import sys; print('why', file=sys.stderr); sys.exit(3)"])
