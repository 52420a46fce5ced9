"""compare.load(): a comparison in Python and in a notebook."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import compare


def test_a_comparison_is_loaded_with_its_tables(compared: Path) -> None:
    loaded = compare.load(str(compared))

    assert loaded.verdict == "no_gate"
    assert loaded.summary["images"] == 200
    assert len(loaded.per_image) == 200
    top1 = loaded.summary["top1"]
    assert (loaded.per_image["category"] == "broken").sum() == top1["broken"]
    assert loaded.per_class["images"].sum() == 200
    assert loaded.per_class["id"].tolist()[:2] == ["0", "1"]
    assert loaded.per_class["delta"].dtype == float


def test_it_shows_itself_in_a_notebook_without_trusting_names(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    summary["model"] = "<script>"
    (folder / "summary.json").write_text(json.dumps(summary))

    shown = compare.load(folder)._repr_html_()

    assert "v2 in place of v1" in shown
    assert "<script>" not in shown
    assert "points" in shown
    assert repr(compare.load(folder)) == "<<script>: v2 in place of v1, no_gate>"


def test_an_older_summary_without_gates_has_not_passed(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    summary["verdict"] = "pass"  # as it was written before there was `no_gate`
    (folder / "summary.json").write_text(json.dumps(summary))

    assert compare.load(folder).verdict == "no_gate"
    assert "NO GATE" in compare.load(folder)._repr_html_()

    summary["gates"] = [{"expression": "images<1", "value": 200, "tripped": False}]
    (folder / "summary.json").write_text(json.dumps(summary))
    assert compare.load(folder).verdict == "pass"


def test_a_folder_of_before_2026_11_30_says_no_more_than_it_knew(folder: Path) -> None:
    """Its interval of calibration did not hold what it said; it has no log loss."""
    today = compare.load(folder).per_image
    old = today.drop(columns=["a_right", "b_right"])
    old.to_parquet(folder / "per_image.parquet")
    summary = json.loads((folder / "summary.json").read_text())
    del summary["log_loss_delta"], summary["brier_score_delta"]
    (folder / "summary.json").write_text(json.dumps(summary))

    loaded = compare.load(folder)

    shown = loaded._repr_html_()
    assert "first answer right" in shown
    assert "calibration" not in shown
    assert "log loss" not in shown
    for side in ("a_right", "b_right"):
        assert loaded.per_image[side].dtype == bool
        assert loaded.per_image[side].tolist() == today[side].tolist()


def test_without_labels_the_numbers_that_exist_are_shown(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    summary["data"]["labelled"] = False
    summary |= dict.fromkeys(("top1", "top5", "log_loss_delta"))
    summary["calibration_error_delta"] = None
    (folder / "summary.json").write_text(json.dumps(summary))

    shown = compare.load(folder)._repr_html_()

    assert "The images have no labels" in shown
    assert shown.count("<td>") == 4
    changed = f"{100 * summary['disagreement_rate']:.2f} %"
    assert f">changed first answers</th><td>{changed} (" in shown
    assert "broken" not in shown
    assert "\N{EN DASH}" not in shown


def test_a_refusal_is_shown_with_its_reason(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    for key in ("top1", "top5"):
        summary[key] = dict.fromkeys(summary[key])
    summary |= {"verdict": "not_comparable", "reasons": ["because"], "images": None}
    (folder / "summary.json").write_text(json.dumps(summary))

    loaded = compare.load(folder)

    assert "because" in loaded._repr_html_()
    (folder / "per_image.parquet").unlink()
    with pytest.raises(FileNotFoundError):
        _ = loaded.per_image


def test_a_folder_without_a_comparison_is_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no summary\.json"):
        compare.load(tmp_path)


def test_importing_compare_is_cheap() -> None:
    code = "import compare, sys; print({'pandas', 'numpy', 'mlflow'} & {*sys.modules})"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "set()"
