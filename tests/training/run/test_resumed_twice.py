"""What a run keeps of itself to be gone on with: flags, answers, and room for both."""

from pathlib import Path

import numpy as np
import pytest

from tests.training.forked import Accident, Forks
from tests.training.outcomes import Outcome, outcome_of
from training.config.commands import ResumeConfig
from training.run.resume import read_saved_run
from training.run.state import find_state

MODEL = "digits-tiny"
REGISTERED = Accident("after", "classifier.store.registry:Registry.register")
SECOND_SAVE = Accident("before", "training.run.state:StateFolder.write", count=2)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/mlflow.db"


def test_a_run_goes_on_with_the_flags_that_it_was_begun_with_again_and_again(
    forks: Forks, tiny_run: list[str], undisturbed: Outcome, tmp_path: Path, uri: str
) -> None:
    """`auto` stays `auto`, whatever came of it."""
    flags = [*tiny_run, "--device", "auto", "--compile", "auto"]
    resume = ["--resume", "last", *flags]

    assert forks.train(flags, REGISTERED, uri=uri, at=tmp_path).code == -9
    for accident in (REGISTERED, REGISTERED):
        ended = forks.train(resume, accident, uri=uri, at=tmp_path)
        assert ended.code == -9, ended.error
    ended = forks.train(resume, uri=uri, at=tmp_path)

    assert ended.code == 0, ended.error
    assert outcome_of(uri, MODEL) == undisturbed


def test_the_room_taken_before_the_first_epoch_is_enough_for_its_state(
    forks: Forks, tiny_run: list[str], tmp_path: Path, uri: str
) -> None:
    assert forks.train(tiny_run, SECOND_SAVE, uri=uri, at=tmp_path).code == -9
    folder = find_state(uri, "last").folder
    taken = (folder / "reserve").stat().st_size
    resume = ["--resume", "last", *tiny_run[-2:]]
    assert forks.train(resume, REGISTERED, uri=uri, at=tmp_path).code == -9

    needed = (folder / "state-0001.safetensors").stat().st_size

    assert needed <= taken <= 1.05 * needed


def test_a_run_that_is_interrupted_keeps_its_state_and_no_room(
    forks: Forks, tiny_run: list[str], tmp_path: Path, uri: str
) -> None:
    ctrl_c = Accident(
        "before", "training.optimization.trainer:Trainer.run_epoch", 2, "SIGINT"
    )

    assert forks.train(tiny_run, ctrl_c, uri=uri, at=tmp_path).code == 130

    kept = {path.name for path in find_state(uri, "last").folder.iterdir()}
    assert kept == {"lock", "state.json", "state-0001.safetensors"}


def test_the_answers_of_past_epochs_outlive_the_file_they_were_read_from(
    forks: Forks, tiny_run: list[str], tmp_path: Path, uri: str
) -> None:
    """A later state is written into the same blocks."""
    assert forks.train(tiny_run, REGISTERED, uri=uri, at=tmp_path).code == -9
    folder = find_state(uri, "last")
    file = folder.folder / "state-0001.safetensors"
    saved = read_saved_run(folder, ResumeConfig(run="last", given={}))
    assert saved is not None
    expected = saved.tensors["validation/target_probabilities"][0].numpy().copy()

    with open(file, "r+b") as opened:
        opened.write(bytes(file.stat().st_size))

    (probabilities,) = saved.history.target_probabilities
    np.testing.assert_array_equal(probabilities, expected)
    assert probabilities.any()


def test_who_stops_reading_does_not_end_the_run(
    forks: Forks, tiny_run: list[str], undisturbed: Outcome, tmp_path: Path, uri: str
) -> None:
    unread = Accident(
        "after", "classifier.store.registry:Registry.register", 2, "no reader"
    )

    ended = forks.train(tiny_run, unread, uri=uri, at=tmp_path, retry_seconds=0)

    assert ended.code == 0, ended.error
    assert ended.error.startswith("WARNING standard output is gone, the run goes on: ")
    assert ended.error.count("\n") == 1
    assert ended.output.endswith(" v1\n")
    assert outcome_of(uri, MODEL) == undisturbed


def test_resuming_in_a_wrong_folder_makes_no_store_there(
    forks: Forks, tmp_path: Path
) -> None:
    ended = forks.train(["--resume", "last"], uri="sqlite:///mlflow.db", at=tmp_path)

    assert ended.code == 2
    assert "no training state of run 'last'" in ended.error
    assert list(tmp_path.iterdir()) == []


def test_a_store_in_the_way_is_told_before_images_are_decoded(
    forks: Forks, tiny_run: list[str], tmp_path: Path
) -> None:
    stale = tmp_path / "mlruns" / "0" / "meta.yaml"
    stale.parent.mkdir(parents=True)
    stale.touch()
    arguments = [*tiny_run[:-1], str(tmp_path / "cache")]

    ended = forks.train(arguments, uri="sqlite:///mlflow.db", at=tmp_path)

    assert ended.code == 3
    assert str(stale) in ended.error
    assert not (tmp_path / "cache").exists()
