"""The training state of an interrupted run of the first wave goes on."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Store
from training.__main__ import main
from training.run.state import STATE


def test_an_interrupted_run_goes_on_to_the_same_version(
    old: Store, answers: Any
) -> None:
    assert main(["--resume", "last"]) == 0

    made = old.registry.resolve(old.model, "latest")
    assert (made.number, made.tags["epoch"]) == ("3", "3")
    for key, value in answers["resumed"].items():
        # A step's sums differ between CPUs, and 20 steps amplify that.
        assert float(made.tags[key]) == pytest.approx(value, rel=0.1)


def test_an_interrupted_run_goes_on_further(old: Store) -> None:
    assert main(["--resume", "last", "--epochs", "4"]) == 0

    numbers = [version.number for version in old.registry.versions(old.model)]
    assert numbers == ["1", "2", "3", "4"]


def test_a_finished_run_kept_no_tensors_and_says_so(
    old: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    _finish(old.folder)

    assert main(["--resume", "last"]) == 0
    assert "finished" in capsys.readouterr().out
    assert main(["--resume", "last", "--epochs", "4"]) == 2
    assert "kept nothing of it to go on from" in capsys.readouterr().err


def _finish(folder: Path) -> None:
    """Leaves of the state what the first wave left of a finished run's."""
    (file,) = folder.glob(f"mlruns/training-state/*/{STATE}")
    state = json.loads(file.read_text())
    file.write_text(json.dumps({**state, "finished": True, "tensors": None}))
    for tensors in file.parent.glob("*.safetensors"):
        tensors.unlink()
