"""Runs that end before their last epoch, and runs that are trained further."""

import json
from pathlib import Path

import numpy as np
import pytest

from classifier.store.registry import Registry
from tests.training.forked import Accident, Forks
from training.config.settings import TrainingConfig
from training.evaluation.evaluate import Predictions
from training.reports.curves import epochs_without_improvement
from training.run.ending import Ending
from training.run.state import StateFolder, find_state

MODEL = "digits-tiny"
IMAGES = 100


@pytest.mark.parametrize(
    ("accuracies", "since"),
    [
        ([0.5], 0),
        ([0.5, 0.54], 1),  # the standard error of 100 images is 5 points
        ([0.5, 0.56], 0),
        ([0.5, 0.53, 0.56], 0),  # small gains add up
        ([0.5, 0.53, 0.549, 0.52], 3),
        ([0.0, 0.0, 0.01], 0),
        ([0.9, 0.1, 0.2, 0.3], 3),
    ],
)
def test_an_improvement_is_larger_than_its_noise(
    accuracies: list[float], since: int
) -> None:
    assert epochs_without_improvement(accuracies, images=IMAGES) == since


def _answers(accuracy: float) -> Predictions:
    right = np.arange(IMAGES) < accuracy * IMAGES
    logits = np.stack((~right, right), axis=1).astype(np.float32)
    return Predictions(logits, np.ones(IMAGES, np.int64))


def _ending(before: int = 0, *accuracies: float, **settings: float) -> Ending:
    config = TrainingConfig(data="digits", epochs=6, **settings)  # type: ignore[arg-type]  # tests give some of them
    return Ending(config, accuracies=accuracies, epochs_before=before)


def test_a_run_without_limits_goes_on_to_its_last_epoch() -> None:
    ending = _ending()

    assert [ending.after(_answers(0.5)) for _ in range(6)] == [None] * 6


def test_it_ends_where_nothing_improves_and_says_so() -> None:
    ending = _ending(stop_after=2)

    reasons = [ending.after(_answers(accuracy)) for accuracy in (0.4, 0.6, 0.6, 0.62)]

    assert reasons[:3] == [None] * 3
    assert str(reasons[3]).startswith("ended after epoch 4 of 6: no validation")
    assert "on 100 images (--stop-after 2)" in str(reasons[3])


def test_the_last_epoch_is_no_early_end() -> None:
    assert _ending(0, 0.5, 0.5, 0.5, 0.5, 0.5, stop_after=5).after(_answers(0.5)) is (
        None
    )
    assert _ending(5, minutes=1e-6).after(_answers(0.5)) is None


def test_epochs_before_a_run_went_further_do_not_count() -> None:
    ending = _ending(3, stop_after=1)

    assert ending.stalled(images=IMAGES) is None
    assert ending.after(_answers(0.5)) is None
    assert "after epoch 5 of 6" in str(ending.after(_answers(0.5)))


def test_it_ends_after_the_epoch_in_which_its_time_is_over() -> None:
    assert _ending(minutes=1e9).after(_answers(0.5)) is None
    reason = _ending(minutes=1e-6).after(_answers(0.5))

    assert str(reason).startswith("ended after epoch 1 of 6, as 1e-06 minutes are over")


@pytest.fixture
def still(tiny_run: list[str]) -> list[str]:
    """Arguments of a run that learns nothing, without the number of its epochs."""
    epochs_at = tiny_run.index("--epochs")
    others = [*tiny_run[:epochs_at], *tiny_run[epochs_at + 2 :]]
    return ["--lr", "1e-9", *others]


def _uri(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_run_that_stalls_is_whole_and_finished(
    forks: Forks, still: list[str], tmp_path: Path, is_killed: bool
) -> None:
    uri, begun = _uri(tmp_path), [*still, "--epochs", "9", "--stop-after", "2"]
    end = Accident("after", "classifier.store.registry:Registry.register", count=3)

    ended = forks.train(begun, *[end] * is_killed, uri=uri, at=tmp_path)
    if is_killed:
        assert ended.code == -9
        given = ["--resume", "last", *still[-2:]]
        ended = forks.train(given, uri=uri, at=tmp_path)

    assert ended.code == 0, ended.error
    assert "ended after epoch 3 of 9: no validation accuracy" in ended.output
    versions = Registry(uri).versions(MODEL)
    assert [version.epoch for version in versions] == [1, 2, 3]
    run = Registry(uri).client.get_run(str(versions[0].run_id))
    assert run.info.status == "FINISHED"
    assert run.data.tags["ended_early"].startswith("ended after epoch 3 of 9")


def test_a_finished_run_is_trained_further(
    forks: Forks, tiny_run: list[str], tmp_path: Path
) -> None:
    """The rate follows the course of the new number of epochs."""
    uri, cache = _uri(tmp_path), tiny_run[-2:]
    at = tiny_run.index("--epochs") + 1
    begun = [*tiny_run[:at], "2", *tiny_run[at + 1 :]]
    assert forks.train(begun, uri=uri, at=tmp_path).code == 0

    def resume(epochs: int, *accidents: Accident) -> tuple[int, str]:
        given = ["--resume", "last", "--epochs", str(epochs), *cache]
        ended = forks.train(given, *accidents, uri=uri, at=tmp_path)
        return ended.code, ended.output + ended.error

    code, text = resume(1)
    assert (code, "was begun with 2" in text) == (2, True)
    code, text = resume(2)
    assert (code, "is finished; nothing is left to resume" in text) == (0, True)
    killed = Accident("before", "training.optimization.trainer:Trainer.run_epoch")
    assert resume(4, killed)[0] == -9
    ended = forks.train(["--resume", "last", *cache], uri=uri, at=tmp_path)

    assert ended.code == 0, ended.error
    assert "goes on  after epoch 2" in ended.output
    assert "  4/4 " in ended.output
    versions = Registry(uri).versions(MODEL)
    assert [version.epoch for version in versions] == [1, 2, 3, 4]
    client, run_id = Registry(uri).client, str(versions[0].run_id)
    assert client.get_run(run_id).data.tags["epochs"] == "4"
    rates = [point.value for point in client.get_metric_history(run_id, "lr")]
    assert rates[1] < rates[2] > rates[3]
    assert find_state(uri, "last").read().is_finished


def test_a_finished_run_without_its_tensors_cannot_be_trained_further(
    forks: Forks, tiny_run: list[str], tmp_path: Path
) -> None:
    """Before, a finished run kept none."""
    uri = _uri(tmp_path)
    at = tiny_run.index("--epochs") + 1
    begun = [*tiny_run[:at], "1", *tiny_run[at + 1 :]]
    assert forks.train(begun, uri=uri, at=tmp_path).code == 0
    folder: StateFolder = find_state(uri, "last")
    state = folder.folder / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"tensors": None}))

    given = ["--resume", "last", "--epochs", "2", *tiny_run[-2:]]
    ended = forks.train(given, uri=uri, at=tmp_path)

    assert ended.code == 2
    assert "kept nothing of it to go on from" in ended.error
