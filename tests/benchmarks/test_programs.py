"""Programs that are stopped in time."""

import time
from pathlib import Path

import pytest

from benchmarks.programs import ProgramStopped, run_program

ENDLESS = ["--data", "digits", "--arch", "tiny", "--epochs", "9999", "--device", "cpu"]


def test_a_program_is_stopped_when_its_time_is_over(tmp_path: Path) -> None:
    """Whatever it does then: it may be importing still."""
    until = time.monotonic() + 2

    with pytest.raises(ProgramStopped, match="9999"):
        run_program("training", ENDLESS, store=tmp_path, until=until)


def test_a_program_that_has_no_time_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(ProgramStopped, match="no time is left"):
        run_program("training", ENDLESS, store=tmp_path, until=time.monotonic())

    assert not [*tmp_path.iterdir()]
