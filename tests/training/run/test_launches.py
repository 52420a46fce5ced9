"""A run over two machines as torchrun starts it: one of them dies, and it goes on.

Two agents with a rendezvous, each with a process of the run, on this machine.
"""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from torch._C._distributed_c10d import TCPStore

from classifier.store.registry import Registry
from tests.conftest import children, until
from tests.training.forked import ROOT
from tests.training.outcomes import outcome_of
from training.__main__ import main
from training.run.state import UnknownRun, find_state

EPOCHS = 20
STEPS = 8
"""Of an epoch: 898 images in batches of 128, the last of them smaller."""

WAIT_SECONDS = 300.0
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
LAST_CALL_SECONDS = 10
"""How long the machines that are there wait for one that is not."""


@dataclass
class Machine:
    """An agent of torchrun and the process that it started."""

    agent: subprocess.Popen[str]

    def die(self) -> None:
        """As a machine without power: neither of them says anything more."""
        for process in (self.agent.pid, *children(self.agent.pid)):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.agent.wait()


@dataclass
class Launch:
    """The machines of a launch; this process has their meeting place."""

    arguments: list[str]
    folder: Path
    place: TCPStore = field(
        default_factory=lambda: TCPStore("127.0.0.1", 0, is_master=True)
    )
    machines: list[Machine] = field(default_factory=list)

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    def has_done(self, epochs: int) -> bool:
        try:
            return find_state(self.uri, "last").read().epochs_done >= epochs
        except UnknownRun:
            return False

    def start(self) -> Machine:
        command = [sys.executable, "-m", "torch.distributed.run"]
        command += ["--nnodes", "1:2", "--nproc-per-node", "1", "--max-restarts", "9"]
        command += ["--rdzv-backend", "c10d", "--rdzv-id", "a-launch"]
        command += ["--rdzv-endpoint", f"127.0.0.1:{self.place.port}"]
        conf = f"is_host=false,last_call_timeout={LAST_CALL_SECONDS}"
        command += ["--rdzv-conf", conf, "--local-addr", "127.0.0.1"]
        with (self.folder / f"said{len(self.machines)}").open("w") as said:
            agent = subprocess.Popen(
                [*command, "-m", "training", *self.arguments],
                stdout=subprocess.DEVNULL,
                stderr=said,
                text=True,
                env={**os.environ, "MLFLOW_TRACKING_URI": self.uri} | ONE_THREAD,
                cwd=ROOT,
            )
        self.machines.append(Machine(agent))
        return self.machines[-1]

    def said(self) -> str:
        return "\n".join(file.read_text() for file in self.folder.glob("said*"))


@contextmanager
def _launched(arguments: list[str], folder: Path) -> Iterator[Launch]:
    launch = Launch(arguments, folder)
    try:
        yield launch
    finally:
        for machine in launch.machines:
            machine.die()


def _check_whole(launch: Launch, epochs: int) -> None:
    """`outcome_of` refuses a second run with versions, and a second point of a step."""
    outcome = outcome_of(launch.uri, "digits-tiny")
    assert outcome.outputs == list(range(1, epochs + 1))
    assert len(outcome.files) == epochs
    steps = _steps(outcome.metrics)
    assert steps["val/loss"] == steps["train/loss"] == outcome.outputs
    assert steps["running/loss"][-1] == epochs * STEPS


def _steps(metrics: Mapping[str, list[tuple[int, float]]]) -> dict[str, list[int]]:
    return {key: [step for step, _ in points] for key, points in metrics.items()}


def test_a_machine_dies_and_the_other_goes_on_with_the_same_run(
    tiny_run: list[str], tmp_path: Path
) -> None:
    with _launched([*tiny_run, "--epochs", str(EPOCHS)], tmp_path) as launch:
        machines = [launch.start(), launch.start()]
        until(partial(launch.has_done, 2))
        machines[0].die()

        assert machines[1].agent.wait(WAIT_SECONDS) == 0, launch.said()
        _check_whole(launch, EPOCHS)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_machines_die_and_come_back_and_no_version_is_lost_or_doubled(
    tiny_run: list[str], tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    epochs = 60
    with _launched([*tiny_run, "--epochs", str(epochs)], tmp_path) as launch:
        running = [launch.start(), launch.start()]
        for kill in range(1, 6):
            until(partial(launch.has_done, 10 * kill))
            running.pop(chance.randrange(len(running))).die()
            running.append(launch.start())

        assert [machine.agent.wait(WAIT_SECONDS) for machine in running] == [0, 0]
        _check_whole(launch, epochs)


def test_a_launch_is_one_run_whose_flags_stay(
    own_store_uri: str, tiny_run: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*tiny_run, "--epochs", "1"]

    assert main(flags) == 0
    assert main(flags) == 0
    assert (
        "is finished; nothing is left to resume; another --rdzv-id begins a new run\n"
    ) in capsys.readouterr().out
    assert main([*flags, "--lr", "0.1"]) == 2
    assert "--lr 0.1 was asked for, but the run was begun with" in (
        capsys.readouterr().err
    )

    assert len(Registry(own_store_uri).versions("digits-tiny")) == 1


def test_processes_that_are_started_again_begin_no_second_run_without_a_name(
    own_store_uri: str,
    tiny_run: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The static rendezvous of several machines has none."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")

    assert main(tiny_run) == 2

    assert "name the launch with --rdzv-id" in capsys.readouterr().err
    with pytest.raises(UnknownRun):
        find_state(own_store_uri, "last")


@pytest.fixture
def own_store_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store for this process, which a launch started."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a-launch")
    return uri
