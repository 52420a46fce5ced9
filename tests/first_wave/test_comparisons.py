"""Comparison folders of the first wave are drawn again, gone on with and repeated."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from compare.__main__ import main
from tests.conftest import Store

ADDED = {"left_out", "a.model", "b.model"}
"""Keys of summary.json that came later."""


def _summary(folder: Path) -> dict[str, Any]:
    return dict(_leaves(json.loads((folder / "summary.json").read_text())))


def _expected(folder: Path) -> dict[str, Any]:
    """CPUs and releases of scipy differ in a float's last digits."""
    return {
        key: pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
        for key, value in _summary(folder).items()
    }


def _leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Path and value of all that has no parts, in the file's order."""
    if not isinstance(value, dict | list) or not value:
        return [(path, value)]
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    return [
        leaf
        for key, part in parts
        for leaf in _leaves(part, f"{path}.{key}" if path else str(key))
    ]


def test_a_finished_comparison_is_drawn_again_with_the_same_numbers(
    old: Store,
) -> None:
    folder = old.folder / "compare-v1-v2"
    before = _expected(folder)
    per_class = (folder / "per_class.csv").read_bytes()
    per_image = pq.read_table(folder / "per_image.parquet")

    assert main(["--from", str(folder)]) == 0

    after = _summary(folder)
    assert [key for key in after if key not in ADDED] == [*before]
    assert {key: after[key] for key in before} == before
    assert (folder / "per_class.csv").read_bytes() == per_class
    assert pq.read_table(folder / "per_image.parquet").equals(per_image)
    assert "<html" in (folder / "report.html").read_text()


def test_an_interrupted_comparison_goes_on(old: Store) -> None:
    folder = old.folder / "compare-v2-v1.int8"
    kept = (folder / "answers.jsonl").read_text()
    assert len(kept.splitlines()) == 24

    code = main(["--a", "v2", "--b", "v1.int8", "--no-mlflow", "--batch-size", "8"])

    assert code == 0
    answers = (folder / "answers.jsonl").read_text()
    assert answers.startswith(kept)
    assert len(answers.splitlines()) == 60
    assert json.loads((folder / "summary.json").read_text())["images"] == 60


def test_the_versions_compare_as_they_did(old: Store) -> None:
    """The probabilities are another CPU's, so the rates alone are the same."""
    before = _expected(old.folder / "compare-v1-v2")

    assert main(["--a", "v1", "--b", "v2", "--out", "again"]) == 0

    after = _summary(old.folder / "again")
    rates = [key for key in before if key.startswith(("top1.", "top5.", "rank_"))]
    assert len(rates) > 50
    assert {key: after[key] for key in rates} == {key: before[key] for key in rates}


def test_the_same_comparison_asks_nothing_again(
    old: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = old.folder / "compare-v1-v2" / "answers.jsonl"
    before = answers.read_bytes()

    assert main(["--a", "v1", "--b", "v2", "--no-mlflow"]) == 0

    assert answers.read_bytes() == before
    assert "v2 in place of v1, on 60 images" in capsys.readouterr().out
