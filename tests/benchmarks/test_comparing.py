"""A folder of made-up answers is one of a finished comparison."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.compare import RAY, engine_rows
from benchmarks.comparing import Spread, core_seconds, write_comparison
from compare.__main__ import main

ROOT = Path(__file__).parents[2]


def test_its_reports_can_be_drawn(tmp_path: Path) -> None:
    write_comparison(tmp_path / "x", 300)

    assert main(["--from", str(tmp_path / "x")]) == 0

    summary = json.loads((tmp_path / "x" / "summary.json").read_text())
    assert summary["images"] == 300
    assert 0.25 < summary["a"]["top1_accuracy"] < 0.5
    assert summary["disagreement_rate"] > 0.5


def test_the_benchmark_starts_as_a_script_too(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "compare.py"), "--help"]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "--rounds" in done.stdout


def test_the_start_of_a_command_is_no_part_of_its_rate() -> None:
    """20 core-seconds to start, and 8 ms an image, of which the networks take 6."""
    spent = Spread(few=1_000, more=5_000, few_seconds=28.0, more_seconds=60.0)

    alone, ray = engine_rows(0.006, {RAY: spent})

    assert alone[:3] == ("the networks alone", "167", "1.00")
    assert ray == (RAY, "125", "0.75", "20", "at least 0.85")


def test_the_work_of_children_counts() -> None:
    work = "import time\nwhile time.process_time() < 0.3: pass"
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}])"

    assert core_seconds(["-c", start], {}) > 0.2
