"""The first signal ends a run in order; afterwards signals do what they did before."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest

from classifier.store.registry import Registry
from tests.conftest import encoded, picture
from tests.training.conftest import EPOCHS
from tests.training.forked import Accident, Forks
from tests.training.outcomes import Outcome, outcome_of
from training.run.resume import SIGNALS, ignore_more_signals, signals_interrupt
from training.run.state import find_state, state_folder


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_interrupts_and_the_next_do_not(number: int) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]

    with signals_interrupt():
        # A shell's job in the background ignores SIGINT, and so does the test then.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        ignore_more_signals()
        for each in SIGNALS:
            os.kill(os.getpid(), each)

    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_processes_started_meanwhile_can_be_interrupted() -> None:
    code = "import signal; print(signal.getsignal(signal.SIGINT) != signal.SIG_IGN)"

    with signals_interrupt():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ignore_more_signals()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True)

    assert done.stdout == b"True\n"


MODEL = "digits-tiny"
MOMENTS = (
    Accident("after", "mlflow:MlflowClient.create_run"),
    Accident("before", "training.run.state:StateFolder._write_json"),
    Accident("after", "training.run.state:StateFolder._write_json"),
    # From here on the run is gone on with; its first epoch.
    Accident("after", "training.optimization.trainer:Trainer.run_epoch"),
    Accident("before", "training.run.state:StateFolder._write_json"),
    Accident("after", "training.run.state:StateFolder._write_json"),
    Accident("after", "mlflow:MlflowClient.create_logged_model"),
    Accident("before", "mlflow:MlflowClient.finalize_logged_model"),
    Accident("after", "mlflow:MlflowClient.finalize_logged_model"),
    Accident("after", "training.publishing.tracking:RunTracker.add_output"),
    Accident("after", "training.publishing.tracking:RunTracker.log_running"),
    Accident("after", "training.publishing.tracking:RunTracker.log_epoch"),
    Accident("after", "classifier.store.registry:Registry.register"),
    Accident("after", "classifier.store.registry:Registry.set_alias"),
    # The second, and the end.
    Accident("after", "classifier.store.registry:Registry.register", count=2),
    Accident("before", "training.publishing.tracking:RunTracker.log_text"),
    Accident("before", "mlflow:MlflowClient.set_terminated"),
    Accident("after", "mlflow:MlflowClient.set_terminated"),
    Accident("after", "training.run.state:StateFolder._write_json"),
)
"""Between any two things that a run writes, in an order in which each is reached."""


def _uri(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


def _or_resume(arguments: list[str], folder: Path) -> list[str]:
    """The run's arguments, or, where it left a state, those to go on with it."""
    has_state = any(folder.glob("mlruns/training-state/*/state.json"))
    return ["--resume", "last", *arguments[-2:]] if has_state else arguments


def _run_id(folder: Path) -> str:
    return find_state(_uri(folder), "last").run_id


def test_a_run_that_dies_between_any_two_writes_ends_as_if_it_had_not(
    forks: Forks, tiny_run: list[str], undisturbed: Outcome, tmp_path: Path
) -> None:
    for moment in MOMENTS:
        given = _or_resume(tiny_run, tmp_path)
        ended = forks.train(given, moment, uri=_uri(tmp_path), at=tmp_path)
        assert ended.code == -9, (moment, ended)
    given = _or_resume(tiny_run, tmp_path)
    ended = forks.train(given, uri=_uri(tmp_path), at=tmp_path)

    assert ended.code == 0, ended.error
    assert outcome_of(_uri(tmp_path), MODEL) == undisturbed


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.soak)])
def test_runs_killed_at_random_moments_end_as_if_they_had_not_been(
    kills: int, tiny_run: list[str], undisturbed: Outcome, tmp_path: Path
) -> None:
    """Whole processes, their imports and pictures included, in as many runs as it
    takes."""
    chance = random.Random(kills)
    folders: list[Path] = []
    while kills:
        folders.append(tmp_path / str(len(folders)))
        folders[-1].mkdir()
        while kills and _is_killed(tiny_run, folders[-1], chance):
            kills -= 1
    with _start(tiny_run, folders[-1]) as process:
        process.communicate()

    assert process.returncode == 0
    for folder in folders:
        assert outcome_of(_uri(folder), MODEL) == undisturbed


def _start(arguments: list[str], folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "training", *_or_resume(arguments, folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**environment, "MLFLOW_TRACKING_URI": _uri(folder)},
    )


def _is_killed(arguments: list[str], folder: Path, chance: random.Random) -> bool:
    """Starts or goes on with the run; False where it ended before the moment came.

    A fourth of the moments are while it starts (3 to 10 s); the others follow one of
    the first lines that it prints: 6 of them, and one for each epoch.
    """
    lines = chance.randrange(1, 7 + EPOCHS) if chance.random() < 0.75 else 0
    delay = chance.uniform(0, 0.6 if lines else 8)
    with _start(arguments, folder) as process:
        assert process.stdout is not None
        for _ in range(lines):
            process.stdout.readline()
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.kill()
    print(f"killed {delay:.2f} s after line {lines}: {process.returncode}")
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode != 0


def test_ctrl_c_ends_a_run_in_order_whatever_follows_it(
    forks: Forks, tiny_run: list[str], undisturbed: Outcome, tmp_path: Path
) -> None:
    """In the middle of the second epoch; torchrun sends SIGTERM right after it."""
    ctrl_c = Accident(
        "after", "training.optimization.trainer:Trainer._optimise", 12, "SIGINT"
    )
    more = Accident(
        "before", "training.run.background:Background.__exit__", 1, "SIGTERM"
    )
    uri = _uri(tmp_path)

    ended = forks.train(tiny_run, ctrl_c, more, uri=uri, at=tmp_path)

    assert ended.code == 130
    assert ended.error == (
        f"interrupted; 1 of {EPOCHS} epochs are kept; go on with: python -m training "
        f"--resume {_run_id(tmp_path)}\n"
    )
    assert len(Registry(uri).versions(MODEL)) == 1
    assert Registry(uri).client.get_run(_run_id(tmp_path)).info.status == "KILLED"
    given = ["--resume", _run_id(tmp_path), *tiny_run[-2:]]
    assert forks.train(given, uri=uri, at=tmp_path).code == 0
    assert outcome_of(uri, MODEL) == undisturbed


def test_an_epoch_that_waits_to_be_written_is_not_lost_to_ctrl_c(
    forks: Forks, tiny_run: list[str], tmp_path: Path
) -> None:
    ctrl_c = Accident(  # the first job is the picture of a batch
        "before", "training.run.background:Background._wait_for", 3, "SIGINT"
    )

    ended = forks.train(tiny_run, ctrl_c, uri=_uri(tmp_path), at=tmp_path)

    assert ended.code == 130
    assert "; 2 of 4 epochs are kept; " in ended.error
    assert len(Registry(_uri(tmp_path)).versions(MODEL)) == 2


def test_only_the_same_run_on_the_same_images_is_gone_on_with(
    forks: Forks, tmp_path: Path
) -> None:
    data, uri = tmp_path / "data", _uri(tmp_path)
    for part, class_id, number in product(("train", "val"), "ab", "12"):
        file = data / part / class_id / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(picture(16, 16, seed=ord(class_id)), "PNG"))
    cache = ["--cache", str(tmp_path / "cache")]
    begun = ["--data", str(data), "--arch", "tiny", "--image-size", "16", *cache]
    death = Accident("after", "classifier.store.registry:Registry.register")

    def check_resume(*arguments: str, code: int, says: str) -> None:
        given = ["--resume", *arguments, *cache]
        ended = forks.train(given, uri=uri, at=tmp_path)
        assert ended.code == code
        assert says in ended.output + ended.error

    check_resume("last", code=2, says="start one without --resume")
    assert forks.train(begun, death, uri=uri, at=tmp_path).code == -9
    run_id = _run_id(tmp_path)
    check_resume("0123", code=2, says="no training state of run '0123'")
    check_resume(run_id, "--lr", "1", code=2, says="begun with 0.0015625, its recipe's")
    check_resume(run_id, "--seed", "1", code=2, says="begun with 0; leave")
    with state_folder(uri, run_id).hold():
        check_resume(run_id, code=3, says="by another process")
    file = data / "val" / "a" / "1.png"
    kept = file.read_bytes()
    file.write_bytes(encoded(picture(16, 16, seed=7), "PNG"))
    check_resume(run_id, code=2, says="the val images at")
    file.write_bytes(kept)

    check_resume(run_id, "--arch", "tiny", code=0, says="  16/16")
    check_resume("last", code=0, says=f"run {run_id} is finished")


def test_the_run_started_last_is_the_last(
    forks: Forks, tiny_run: Sequence[str], tmp_path: Path
) -> None:
    """Not the one that was gone on with last; a run that a death left without a state
    is none, and is no longer shown as running."""
    uri = _uri(tmp_path)
    death = Accident("after", "training.run.state:StateFolder._write_json")
    stateless = Accident("after", "mlflow:MlflowClient.create_run")
    ctrl_c = Accident(
        "before", "training.optimization.trainer:Trainer.run_epoch", 1, "SIGINT"
    )
    runs = []
    for accident in (death, death, stateless):
        assert forks.train(tiny_run, accident, uri=uri, at=tmp_path).code == -9
        runs.append(_run_id(tmp_path))

    given = ["--resume", runs[0], *tiny_run[-2:]]
    assert forks.train(given, ctrl_c, uri=uri, at=tmp_path).code == 130

    assert runs[0] != runs[1] == runs[2] == _run_id(tmp_path)
    client = Registry(uri).client
    experiment = client.get_run(runs[0]).info.experiment_id
    statuses = {run.info.status for run in client.search_runs([experiment])}
    assert statuses == {"KILLED"}
