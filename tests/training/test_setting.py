"""When steps are compiled, and what is said where they cannot be."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from classifier.registry import Registry
from tests.training.forked import ROOT
from tests.training.outcomes import Outcome, outcome_of
from training.command import main

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
