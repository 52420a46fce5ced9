"""Folders of made-up answers are those of a finished comparison."""

import json
from pathlib import Path

from benchmarks.comparing import write_comparison
from compare.__main__ import main


def test_its_reports_can_be_drawn(tmp_path: Path) -> None:
    write_comparison(tmp_path / "x", 300)

    assert main(["--from", str(tmp_path / "x")]) == 0

    summary = json.loads((tmp_path / "x" / "summary.json").read_text())
    assert summary["images"] == 300
    assert 0.25 < summary["a"]["top1_accuracy"] < 0.5
    assert summary["disagreement_rate"] > 0.5
