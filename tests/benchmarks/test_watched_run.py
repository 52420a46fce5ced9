"""What a program took, as seen from outside."""

from pathlib import Path

import pytest

from benchmarks.watched_run import RunFailed, watch


def test_lines_are_seen_as_they_come(tmp_path: Path) -> None:
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


def test_the_time_of_its_children_is_its_own() -> None:
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', {!r}])"
    work = "import time\nwhile time.process_time() < 0.5: pass"

    run = watch(["-c", child.format(work)])

    assert run.cpu_seconds >= 0.5
    assert run.first_line_at is None


def test_a_failure_is_told() -> None:
    with pytest.raises(RunFailed, match=r"ended with 3: .*why"):
        watch(["-c", "import sys; print('why', file=sys.stderr); sys.exit(3)"])
