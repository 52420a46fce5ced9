"""`python -m training`: its output, its messages and its exit codes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from classifier.store.registry import Registry
from tests.conftest import Store
from training.__main__ import main
from training.reports.console import print_note


def test_evaluate_prints_the_seed_reports_lines_and_the_tags_numbers(
    store: Store,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
    use: None,
    tmp_path: Path,
) -> None:
    out = tmp_path / "v2.json"
    command = ["--evaluate", "v2", "--data", "digits", "--cache", str(cache)]
    code = main([*command, "--out", str(out)])

    assert code == 0
    lines = capsys.readouterr().out.splitlines()
    version = store.registry.resolve(store.model, "v2")
    top1, top5 = (100 * float(version.tags[f"val_top{k}_accuracy"]) for k in (1, 5))
    assert lines[0].startswith("Test: [0/4]\tTime ")
    assert lines[-1] == f" *   Acc@1 {top1:.3f} Acc@5 {top5:.3f}"
    end = sum(line.startswith("Test: [") for line in lines)
    assert all(line.startswith("Test: [") for line in lines[:end])
    assert lines[end + 1].startswith("macro-F1 ")
    assert lines[end + 2].startswith("balanced accuracy ")
    assert len(lines[end + 5 : -1]) == 10
    found = json.loads(out.read_text())
    assert found["top1_accuracy"] == pytest.approx(top1 / 100)
    assert [row["name"] for row in found["classes"]][:2] == ["zero", "one"]
    assert np.trace(found["confusion_matrix"]) == round(top1 / 100 * found["images"])
    means = store.registry.client.get_metric_history(version.run_id, "val/macro_f1")
    assert found["macro_f1"]["value"] == pytest.approx(means[1].value)


@pytest.fixture
def use(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--data", "/nowhere"], 2, "no data at /nowhere"),
        (["--data", "digits", "--evaluate", "v9"], 2, "no version 'v9'"),
        (["--data", "digits", "--evaluate", "v1", "--model", "x"], 2, "no model 'x'"),
        (["--data", "digits", "--device", "cuda"], 3, "no usable GPU"),
        (["--data", "digits", "--lr", "1e30", "--arch", "tiny"], 3, "lower --lr"),
    ],
)
def test_a_users_mistake_is_told_without_a_traceback(
    use: None,
    store: Store,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    if "--lr" in arguments:  # it gets as far as a store: not the shared one
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")

    assert main([*arguments, "--cache", str(cache)]) == code

    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_store_that_is_no_database_is_told(
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database at all" * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    common = ["--data", "digits", "--cache", str(cache)]

    assert main([*common, "--evaluate", "v1"]) == 3
    assert main([*common, "--arch", "tiny", "--image-size", "16"]) == 3
    assert "Traceback" not in capsys.readouterr().err


def test_weights_that_break_in_the_last_step_are_no_broken_export(
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    arguments = ["--data", "digits", "--arch", "tiny", "--image-size", "16"]
    arguments += ["--lr", "1e30", "--batch-size", "2000", "--recipe", "plain"]

    assert main([*arguments, "--cache", str(cache)]) == 3
    assert "lower --lr" in capsys.readouterr().err


def test_a_store_that_is_missing_is_told(
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["--evaluate", "v1", "--data", "digits", "--cache", str(cache)]) == 3
    assert "no MLflow store at" in capsys.readouterr().err


def test_an_error_and_a_report_have_nothing_for_a_terminal_to_obey(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--data", "/nowhere\x1b[2J"]) == 2
    print_note("class \x9b31m has no image\nall is well")

    said = capsys.readouterr()
    assert r"no data at /nowhere\x1b[2J" in said.err
    assert "\x1b" not in said.err
    assert said.out.startswith(r"note     class \x9b31m has no image")


def test_an_interrupted_run_exits_with_130_and_is_marked(
    cache: Path, tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    # A shell's job in the background ignores SIGINT, and so would its children.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "training"]
    command += ["--data", "digits", "--arch", "tiny", "--image-size", "16"]
    command += ["--epochs", "999", "--cache", str(cache)]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.rstrip().endswith("v2"):
                break
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "Traceback" not in error
    registry = Registry(uri)
    versions = registry.versions("digits-tiny")
    assert len(versions) >= 2
    assert registry.client.get_run(versions[0].run_id).info.status == "KILLED"
