"""--from: the same reports, with neither service, data nor store."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from compare.__main__ import main
from compare.collect.answer_store import ANSWERS
from compare.results.folder import ANSWERED, HTML, MARKDOWN, REPORTS, RUN


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither store nor proxy would be of use."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////nowhere/mlflow.db")
    monkeypatch.chdir(tmp_path)


def _summary(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def test_all_reports_are_drawn_again_to_the_byte(folder: Path, compared: Path) -> None:
    for name in (*ANSWERED, HTML, MARKDOWN):
        (folder / name).unlink()

    assert main(["--from", str(folder)]) == 0

    for name in REPORTS:
        assert (folder / name).read_bytes() == (compared / name).read_bytes(), name


def test_what_the_images_showed_and_the_probe_found_is_drawn_again(
    folder: Path,
) -> None:
    assert main(["--from", str(folder)]) == 0

    summary = _summary(folder)
    assert summary["probe"] == {"images": 100, "differing": 0}
    assert {entry["name"] for entry in summary["slices"]} >= {"brightness", "colour"}


def test_other_gates_give_another_verdict_and_its_own_stay_for_the_next_time(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = tmp_path / "comment.md"
    tripped = ["--fail-on", "images>10", "--summary-md", str(extra), "--show", "2"]

    assert main(["--from", str(folder), *tripped]) == 1

    assert _summary(folder)["verdict"] == "fail"
    assert extra.read_bytes() == (folder / MARKDOWN).read_bytes()
    assert "FAIL" in extra.read_text()
    assert "FAIL" in capsys.readouterr().out
    assert main(["--from", str(folder)]) == 0
    assert _summary(folder)["gates"] == []


def test_a_folder_that_passed_without_gates_is_drawn_again_as_no_gate(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = _summary(folder) | {"verdict": "pass"}
    (folder / "summary.json").write_text(json.dumps(older))
    record = json.loads((folder / "comparison.json").read_text())
    del record["is_sample"]
    (folder / "comparison.json").write_text(json.dumps(record))

    assert main(["--from", str(folder)]) == 0

    assert _summary(folder)["verdict"] == "no_gate"
    assert "verdict: NO GATE (no gate was given" in capsys.readouterr().out
    assert "NO GATE" in (folder / MARKDOWN).read_text().splitlines()[0]
    assert "NO GATE" in (folder / HTML).read_text()
    assert "only the first 200 of 896" in (folder / MARKDOWN).read_text()


def test_another_run_of_the_same_answers_shows_elsewhere_than_in_the_answers(
    folder: Path, compared: Path
) -> None:
    """README says where: latency in two files, date, service and seconds in one."""
    facts = json.loads((folder / "run.json").read_text())
    facts |= {"started_unix_seconds": 1e9, "seconds": 99.0, "url": "http://x:1"}
    facts["latency"]["a"] |= {
        "p50_ms": 11.0,
        "p95_ms": 12.0,
        "samples_ms": [11.0, 12.0],
    }
    facts["latency"]["median_difference_ms"] = {"value": 5.0, "low": 4.0, "high": 6.0}
    (folder / "run.json").write_text(json.dumps(facts))

    assert main(["--from", str(folder)]) == 0

    for name in ANSWERED:
        assert (folder / name).read_bytes() == (compared / name).read_bytes(), name
    ours, theirs = ((f / MARKDOWN).read_text().splitlines() for f in (folder, compared))
    differing = [
        line for line, other in zip(ours, theirs, strict=True) if line != other
    ]
    assert len(differing) == 1
    assert differing[0].startswith("Median of single requests: v1 11.00 ms")
    pages = [_without_run((f / HTML).read_text()) for f in (folder, compared)]
    assert pages[0] == pages[1]


def _without_run(html: str) -> str:
    for part in (
        r"<time>.*?</time>",
        r'<tr><th scope="row">service</th>.*?</tr>',
        r'<section id="latency">.*?</section>',
    ):
        html, found = re.subn(part, "", html, flags=re.DOTALL)
        assert found == 1, part
    return html


def test_an_unfinished_comparison_is_not_drawn(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (folder / ANSWERS).read_text().splitlines(keepends=True)
    (folder / ANSWERS).write_text("".join(lines[:150]))
    (folder / "summary.json").unlink()

    assert main(["--from", str(folder)]) == 3

    error = capsys.readouterr().err
    assert "150 of 200 images are answered" in error
    assert "with the --model, --data and --limit of its start" in error
    assert f"--a v1 --b v2 --out {folder}" in error
    assert not (folder / "summary.json").exists()


def test_a_comparison_that_was_killed_before_its_probe_is_unfinished(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / RUN).unlink()

    assert main(["--from", str(folder)]) == 3
    assert "not checked by repeated requests" in capsys.readouterr().err


def test_a_probe_that_found_other_answers_is_not_comparable(folder: Path) -> None:
    facts = json.loads((folder / RUN).read_text())
    facts["probe"]["differing"] = 1
    (folder / RUN).write_text(json.dumps(facts))

    assert main(["--from", str(folder)]) == 3

    summary = _summary(folder)
    assert summary["verdict"] == "not_comparable"
    assert "1 of 100 images that were asked twice" in summary["reasons"][0]
    assert not (folder / "per_image.parquet").exists()
    assert "asked twice" in (folder / HTML).read_text()


def test_a_folder_that_holds_no_comparison_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--from", str(tmp_path)]) == 2
    assert "holds no comparison" in capsys.readouterr().err
