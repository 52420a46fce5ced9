"""`python -m compare` against a real service: files, exit codes, going on."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from classifier.datasets.dataset import Dataset
from compare.__main__ import main
from compare.collect.answer_store import ANSWERS
from tests.conftest import RunningService, Store, serving

SAME_BYTES = ("summary.json", "per_image.parquet", "per_class.csv")
ALL_FILES = {
    *SAME_BYTES,
    *("report.html", "summary.md", "run.json", "comparison.json"),
    *("answers.jsonl", "images.parquet", "thumbnails.parquet", "differing.json"),
}


@pytest.fixture(autouse=True)
def _use(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)


@pytest.fixture
def few(digits: Dataset, tmp_path: Path) -> Path:
    """A folder with some of the digits, to be spoilt."""
    root = tmp_path / "few"
    for class_id in digits.labels:
        (root / "val" / class_id).mkdir(parents=True)
    positions = range(0, len(digits.val), 20)
    for file, class_id in (
        (digits.val.files[p], digits.val.class_ids[p]) for p in positions
    ):
        shutil.copy(file, root / "val" / class_id)
    return root


def _summary(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def _compare(service: RunningService, out: Path, *more: str) -> int:
    """Without MLflow: the store is shared with other tests."""
    common = ["--a", "v1", "--b", "v2", "--url", service.url, "--out", str(out)]
    return main([*common, "--no-mlflow", *more])


def test_a_comparison_leaves_its_files_and_prints_its_report(
    service: RunningService,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    store: Store,
) -> None:
    code = _compare(service, tmp_path / "out", "--show", "3")

    assert code == 0
    summary = _summary(tmp_path / "out")
    assert summary["model"] == store.model
    assert summary["images"] == 896
    assert summary["notes"] == []
    for side in ("a", "b"):
        version = store.registry.resolve(store.model, summary[side]["version"])
        for k in (1, 5):
            tagged = float(version.tags[f"val_top{k}_accuracy"])
            assert summary[side][f"top{k}_accuracy"] == pytest.approx(tagged)
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["url"] == service.url
    assert run["probe"] == {"images": 100, "differing": 0}
    assert run["latency"]["a"]["requests"] > 1
    assert {file.name for file in (tmp_path / "out").iterdir()} == ALL_FILES
    out = capsys.readouterr().out
    assert "v2 in place of v1, on 896 images of digits" in out
    assert len(out.splitlines()) <= 30 + 1 + 3


def test_an_interrupted_comparison_ends_in_the_same_bytes(
    service: RunningService, tmp_path: Path
) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert _compare(service, whole) == 0
    shutil.copytree(whole, resumed)
    lines = (whole / ANSWERS).read_bytes()
    (resumed / ANSWERS).write_bytes(lines[: len(lines) // 3])
    for name in SAME_BYTES:
        (resumed / name).unlink()

    assert _compare(service, resumed) == 0

    for name in SAME_BYTES:
        assert (resumed / name).read_bytes() == (whole / name).read_bytes(), name


def test_other_batches_give_the_same_answers(
    service: RunningService, tmp_path: Path
) -> None:
    assert _compare(service, tmp_path / "one", "--batch-size", "7") == 0
    assert _compare(service, tmp_path / "two", "--concurrency", "4") == 0

    one, two = (_summary(tmp_path / name) for name in ("one", "two"))
    assert one["top1"] == two["top1"]
    assert one["rank_transitions"] == two["rank_transitions"]


def test_a_version_against_itself_passes_and_shows_nothing(
    service: RunningService, tmp_path: Path
) -> None:
    arguments = ["--a", "v1", "--b", "1", "--non-inferior", "0.05"]

    code = _compare(service, tmp_path / "x", *arguments)

    assert code == 0
    summary = _summary(tmp_path / "x")
    assert summary["disagreement_rate"] == 0
    assert summary["top1"]["mcnemar_mid_p"] == 1


def test_a_tripped_gate_exits_with_1(service: RunningService, tmp_path: Path) -> None:
    assert _compare(service, tmp_path / "x", "--fail-on", "images>10") == 1
    assert _summary(tmp_path / "x")["verdict"] == "fail"
    # drawn again from kept answers, with another gate
    assert _compare(service, tmp_path / "x", "--fail-on", "images<10") == 0


def test_an_image_that_cannot_be_read_is_missing_and_not_broken(
    service: RunningService, few: Path, tmp_path: Path
) -> None:
    victim = next((few / "val" / "3").iterdir())
    victim.write_bytes(b"no image")
    total = len(list(few.rglob("*.png")))
    data = ["--data", str(few)]

    assert _compare(service, tmp_path / "x", *data) == 3
    summary = _summary(tmp_path / "x")
    assert summary["verdict"] == "not_comparable"
    assert victim.name in summary["reasons"][0]
    assert "validated on other data" in summary["notes"][0]
    run = json.loads((tmp_path / "x" / "run.json").read_text())
    assert set(run["missing"]) == {victim.name}
    assert not (tmp_path / "x" / "per_image.parquet").exists()

    assert _compare(service, tmp_path / "x", *data, "--allow-missing", "1") == 0
    summary = _summary(tmp_path / "x")
    assert summary["images"] == total - 1
    assert summary["missing"] == 1
    frame = pq.read_table(tmp_path / "x" / "per_image.parquet").to_pandas()
    assert victim.name not in set(frame["image"])


@pytest.mark.parametrize("labelled", [True, False])
def test_links_that_lead_nowhere_are_missing_and_what_is_left_out_is_noted(
    service: RunningService, few: Path, tmp_path: Path, labelled: bool
) -> None:
    folder = few if labelled else few / "val"
    files = sorted(few.rglob("*.png"))
    for victim in files[:3]:
        victim.unlink()
        victim.symlink_to("/annex/objects/gone")
    (few / "val" / "3" / "photo.heic").write_bytes(b"x")
    data, out = ["--data", str(folder)], tmp_path / "x"

    assert _compare(service, out, *data, "--allow-missing", "2") == 3
    reason = _summary(out)["reasons"][0]
    assert f"3 of {len(files)} images have no answer (2 are allowed)" in reason
    assert "a link to '/annex/objects/gone', which does not exist" in reason

    assert _compare(service, out, *data, "--allow-missing", "3") == 0
    summary = _summary(out)
    assert (summary["images"], summary["missing"]) == (len(files) - 3, 3)
    assert "left out of val/: 1 .heic" in summary["notes"]
    assert main(["--from", str(out)]) == 0
    assert _summary(out) == summary


def test_other_data_is_said_and_compared(
    service: RunningService, few: Path, tmp_path: Path
) -> None:
    assert _compare(service, tmp_path / "x", "--data", str(few)) == 0

    notes = _summary(tmp_path / "x")["notes"]
    assert [note.split(":")[0] for note in notes] == [
        "v1 was validated on other data",
        "v2 was validated on other data",
    ]


def test_a_class_that_the_versions_do_not_know_is_not_comparable(
    service: RunningService, few: Path, tmp_path: Path
) -> None:
    (few / "val" / "3").rename(few / "val" / "eleven")

    assert _compare(service, tmp_path / "x", "--data", str(few)) == 3

    reasons = _summary(tmp_path / "x")["reasons"]
    assert "do not know 1 of the data's classes: eleven" in reasons[0]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--data", "/nowhere"], 2, "no data at /nowhere"),
        (["--b", "v9"], 2, "no version 'v9'"),
        (["--model", "other"], 2, "serves 'digits-tiny', not 'other'"),
        (["--data", "~nobody/x"], 2, "no data at"),
    ],
)
def test_mistakes_are_told(
    service: RunningService,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    code: int,
    message: str,
) -> None:
    assert _compare(service, tmp_path / "x", *more) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_folder_with_another_comparison_is_refused(
    service: RunningService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _compare(service, tmp_path / "x", "--limit", "40") == 0

    assert _compare(service, tmp_path / "x", "--a", "v2", "--b", "v1") == 2
    assert "another baseline: '1', not '2'" in capsys.readouterr().err

    more = ["--a", "v2", "--b", "v1", "--limit", "40", "--fresh"]
    assert _compare(service, tmp_path / "x", *more) == 0
    assert _summary(tmp_path / "x")["a"]["version"] == "2"


def test_a_service_that_never_answers_is_given_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--a", "1", "--b", "2", "--url", "http://127.0.0.1:9"]

    assert main([*arguments, "--patience", "1", "--out", str(tmp_path / "x")]) == 3
    assert "gave no usable answer" in capsys.readouterr().err


@pytest.mark.parametrize("broken", ["weights.safetensors", "model.onnx"])
def test_a_version_that_can_never_load_is_told_at_once(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    """GET /versions/v2 tells of broken weights, the first POST of a broken graph."""
    copy = store.copy(tmp_path / "store")
    copy.registry.set_alias(copy.model, "best", "1")
    (copy.bundle("v2").folder / broken).write_bytes(b"cut off")

    with serving(copy, "--drain-seconds", "0") as service:
        # As long as this test may take, and more.
        code = _compare(service, tmp_path / "x", "--patience", "3600")

    assert code == 3
    error = capsys.readouterr().err
    assert f"version 2 cannot be loaded: {broken}" in error


def test_a_killed_comparison_takes_its_own_service_with_it_and_goes_on(
    store: Store, tmp_path: Path
) -> None:
    """Killed when the first answers are kept; the same command then ends the work."""
    out = tmp_path / "x"
    command = [sys.executable, "-m", "compare", "--a", "v1", "--b", "v2", "--no-mlflow"]
    command += ["--out", str(out), "--batch-size", "1", "--concurrency", "1"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store.uri}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("serving on "):
                break
        url = line.removeprefix("serving on ").strip()
        answers = out / ANSWERS
        while not (answers.exists() and answers.stat().st_size):
            os.sched_yield()
        process.kill()

    kept = answers.read_text().count("\n")
    done = subprocess.run(
        command[:-4], capture_output=True, text=True, env=environment, check=True
    )

    assert 0 < kept < 896
    assert _summary(out)["images"] == 896
    assert url not in done.stderr
