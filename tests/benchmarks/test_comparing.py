"""A folder of made-up answers is one of a finished comparison."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.comparing import write_comparison
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
