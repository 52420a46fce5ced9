"""Batch size and rate; when steps are compiled, and what is said where they cannot."""

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from classifier.store.registry import Registry
from tests.training.forked import ROOT
from tests.training.outcomes import Outcome, outcome_of
from training.__main__ import main
from training.compute import World
from training.config.commands import ResumeConfig
from training.config.settings import TrainingConfig
from training.run.resume import OtherFlags, SavedRun, read_saved_run, settings_of
from training.run.setup import prepare
from training.run.state import RunState, StateFolder
from training.train import _prepare

HAS_ALL = (
    shutil.which("g++") is not None
    and Path(sysconfig.get_path("include"), "Python.h").is_file()
)


@pytest.mark.parametrize(
    ("variable", "missing"),
    [("CC", "the C compiler no-such-compiler that CC names"), ("PATH", "a C compiler")],
)
def test_compiling_without_a_compiler_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tiny_run: list[str],
    variable: str,
    missing: str,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv(variable, "no-such-compiler")

    assert main([*tiny_run, "--compile", "on"]) == 3

    assert f"torch needs {missing} for it" in capsys.readouterr().err


def test_compiling_without_pythons_headers_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tiny_run: list[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("CC", sys.executable)  # something that is there
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))

    assert main([*tiny_run, "--compile", "on"]) == 3

    assert f"torch needs {tmp_path / 'Python.h'} for it" in capsys.readouterr().err


@pytest.mark.soak
@pytest.mark.skipif(not HAS_ALL, reason="no C++ compiler, or no headers of Python")
def test_compiled_steps_train_as_others_do(
    tiny_run: list[str], undisturbed: Outcome, tmp_path: Path
) -> None:
    """A process of its own: what is compiled stays in it."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"

    done = subprocess.run(
        [sys.executable, "-m", "training", *tiny_run, "--compile", "on"],
        capture_output=True,
        text=True,
        env={**os.environ, "MLFLOW_TRACKING_URI": uri, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
    )

    assert done.returncode == 0, done.stderr
    outcome = outcome_of(uri, "digits-tiny")
    assert outcome.params["compile"] == "True"
    # Fused kernels round otherwise, 1e-7 a step.
    losses = [step_loss[1] for step_loss in outcome.metrics["val/loss"]]
    expected = [step_loss[1] for step_loss in undisturbed.metrics["val/loss"]]
    assert losses == pytest.approx(expected, rel=1e-3)
    assert len(Registry(uri).versions("digits-tiny")) == len(expected)


@pytest.mark.parametrize(
    ("asked", "size", "lr"),
    [
        ({}, 45, 0.2 * 45 / 256),  # 901 images
        ({"batch_size": 128}, 128, 0.1),
        ({"batch_size": 128, "lr": 0.3}, 128, 0.3),
        ({"batch_size": 90_100}, 90_100, 0.2 * 901 / 256),
        ({"recipe": "plain", "per_class": 20, "batch_size": 256}, 256, 0.1),
        ({"recipe": "plain", "per_class": 20}, 10, 0.1 * 10 / 256),
    ],
)
def test_batch_size_and_rate_follow_the_data_unless_they_are_given(
    cache: Path, asked: dict[str, Any], size: int, lr: float
) -> None:
    config = TrainingConfig(
        data="digits", arch="tiny", image_size=16, device="cpu", cache=cache, **asked
    )

    setup = prepare(config, World())

    assert setup.batch_size == size
    assert setup.recipe.lr == pytest.approx(lr)


def test_a_run_goes_on_with_the_batches_and_the_rate_that_it_began_with(
    cache: Path, tmp_path: Path
) -> None:
    begun = TrainingConfig(data="digits", arch="tiny", image_size=16, cache=cache)
    setup = prepare(begun, World())

    saved = _saved_run(tmp_path, settings_of(setup), given={"batch_size": "auto"})

    assert saved.original == replace(begun, cache=None)
    assert saved.config.batch_size == 45
    resumed = prepare(saved.config, World(), original=saved.original)
    assert resumed.recipe == setup.recipe
    assert resumed.compute.precision == setup.compute.precision
    assert resumed.compute.reason == "as the run began"
    with pytest.raises(OtherFlags, match="--batch-size 45 was asked for, but the run"):
        _saved_run(tmp_path, settings_of(setup), given={"batch_size": 45})


def test_a_run_of_before_goes_on_with_the_recipes_own_rate(
    cache: Path, tmp_path: Path
) -> None:
    """Its state has a number for a batch size, and no rate of its own."""
    config = TrainingConfig(data="digits", arch="tiny", image_size=16, batch_size=64)
    content = settings_of(prepare(replace(config, cache=cache), World()))
    del content["batch_size"], content["lr"]

    saved = _saved_run(tmp_path, content, given={})

    assert (saved.config.batch_size, saved.config.lr) == (64, 0.2)


def test_a_run_that_goes_on_is_not_told_what_it_cannot_change(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = TrainingConfig(
        data="digits", arch="tiny", image_size=16, batch_size=901, cache=cache
    )
    setup = _prepare(config, None, World())
    assert "note     an epoch is 1 step" in capsys.readouterr().out

    saved = _saved_run(tmp_path, settings_of(setup), given={})
    _prepare(saved.config, saved, World())

    assert capsys.readouterr().out == ""


def _saved_run(
    folder: Path, settings: dict[str, Any], *, given: dict[str, Any]
) -> SavedRun:
    state = StateFolder(folder, "r")
    content = {**settings, "records": []}
    begun = RunState(0, is_finished=False, started_ms=0, content=content)
    state.write(begun, {})
    saved = read_saved_run(state, ResumeConfig(run="r", given=given))
    assert saved is not None
    return saved
