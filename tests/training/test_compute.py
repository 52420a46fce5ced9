"""Two processes train as one does, and end together."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from classifier.store.registry import Registry
from tests.training.conftest import EPOCHS
from tests.training.forked import ROOT, Accident, Forks
from tests.training.outcomes import Outcome, outcome_of
from training.compute import (
    Compute,
    DeviceUnavailable,
    PeersNotFound,
    World,
    choose_compute,
    explain_compute,
    fast_bf16_by,
    open_world,
)
from training.run.state import find_state

WAIT_SECONDS = 300.0


def test_a_taken_port_ends_a_run_with_3(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        variables = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1"}
        for name, value in {**variables, "MASTER_PORT": port}.items():
            monkeypatch.setenv(name, value)

        with pytest.raises(PeersNotFound, match=f"cannot meet at 127.0.0.1:{port}"):
            open_world().__enter__()


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize(("start", "end"), [(0, 256), (256, 389), (0, 17), (5, 12)])
def test_each_image_is_of_one_process_and_pairs_stay_together(
    size: int, start: int, end: int
) -> None:
    shares = [World(rank, size).share(start, end) for rank in range(size)]

    assert [first for first, _ in shares] == [start, *(last for _, last in shares[:-1])]
    assert shares[-1][1] == end
    assert all((first - start) % 2 == 0 for first, _ in shares)


def test_two_processes_have_the_loss_curve_of_one(
    undisturbed: Outcome, tiny_run: list[str], tmp_path: Path
) -> None:
    """Sums in another order: 1e-7 a step, which training does not blow up here."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "training", *tiny_run]

    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        env={**os.environ, "MLFLOW_TRACKING_URI": uri, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\nrun      ") == 1
    _check_alike(outcome_of(uri, "digits-tiny"), undisturbed)


def test_two_processes_train_a_head_alone_as_one_does(
    forks: Forks, tiny_run: list[str], tmp_path: Path
) -> None:
    outcomes = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        uri = f"sqlite:///{folder}/mlflow.db"
        head = ["--train-only", "head", "--recipe", "finetune"]
        ended = forks.train_together(processes, [*tiny_run, *head], uri=uri, at=folder)
        assert [one.code for one in ended] == [0] * processes, ended
        outcomes.append(outcome_of(uri, "digits-tiny"))

    _check_alike(outcomes[1], outcomes[0])


def _check_alike(outcome: Outcome, expected: Outcome) -> None:
    assert outcome.outputs == expected.outputs
    assert outcome.params == expected.params
    for key in ("train/loss", "val/loss", "train_sample/loss", "running/loss", "lr"):
        np.testing.assert_allclose(
            outcome.metrics[key], expected.metrics[key], rtol=1e-4, err_msg=key
        )


def test_two_processes_go_on_where_they_died(
    forks: Forks, undisturbed: Outcome, tiny_run: list[str], tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    death = Accident("after", "classifier.store.registry:Registry.register", count=2)
    resume = ["--resume", "last", *tiny_run[-2:]]

    died = forks.train_together(2, tiny_run, death, uri=uri, at=tmp_path)
    ended = forks.train_together(2, resume, uri=uri, at=tmp_path)

    assert [one.code for one in died] == [-9, 3]
    assert died[1].output == died[1].error == ""
    assert [one.code for one in ended] == [0, 0]
    _check_alike(outcome_of(uri, "digits-tiny"), undisturbed)


def test_batch_norm_of_half_a_batch_learns_much_the_same(
    forks: Forks, cache: Path, tmp_path: Path
) -> None:
    arguments = ["--data", "digits", "--arch", "resnet18", "--image-size", "32"]
    arguments += ["--batch-size", "64", "--per-class", "40", "--epochs", "1"]
    arguments += ["--precision", "fp32", "--lr", "0.01", "--cache", str(cache)]
    losses = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        uri = f"sqlite:///{folder}/mlflow.db"
        ended = forks.train_together(processes, arguments, uri=uri, at=folder)
        assert [one.code for one in ended] == [0] * processes, ended
        losses.append(outcome_of(uri, "digits-resnet18").metrics["train/loss"])

    ((_, alone),), ((_, together),) = losses
    assert together == pytest.approx(alone, rel=0.1)


def test_what_is_wrong_is_told_by_one_process_and_ends_both(
    forks: Forks, tiny_run: list[str], tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"

    for arguments, code, message in (
        (["--data", "/nowhere"], 2, "error: no data at /nowhere; "),
        (["--resume", "last"], 2, "error: no training state of run 'last' "),
        ([*tiny_run, "--lr", "1e30"], 3, "error: the training loss became "),
    ):
        first, second = forks.train_together(2, arguments, uri=uri, at=tmp_path)
        assert first.error.startswith(message), first
        assert (first.code, second.code) == (code, 3)
        assert second.output == second.error == ""

    client = Registry(uri).client
    (run,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert run.info.status == "FAILED"


def test_who_loses_another_process_says_so_and_how_to_go_on(
    forks: Forks, undisturbed: Outcome, tiny_run: list[str], tmp_path: Path
) -> None:
    """The second one is killed in the second epoch, of 8 steps."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    death = Accident(
        "before", "training.optimization.trainer:Trainer._optimise", count=12
    )

    first, second = forks.train_together(
        2, tiny_run, death, uri=uri, at=tmp_path, befallen=[1]
    )

    assert (first.code, second.code) == (3, -9)
    assert first.error.startswith("error: another process of this run ended, "), first
    run_id = find_state(uri, "last").run_id
    assert first.error.endswith(
        f"; 1 of {EPOCHS} epochs are kept; go on with: torchrun --nproc-per-node 2 "
        f"-m training --resume {run_id}\n"
    )
    resume = ["--resume", "last", *tiny_run[-2:]]
    ended = forks.train_together(2, resume, uri=uri, at=tmp_path)
    assert [one.code for one in ended] == [0, 0]
    _check_alike(outcome_of(uri, "digits-tiny"), undisturbed)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("training.train:train", "interrupted before the run started\n"),
        (
            "training.optimization.trainer:Trainer.run_epoch",
            "interrupted; 0 of 4 epochs are kept; ",
        ),
    ],
)
def test_of_interrupted_processes_one_speaks(
    forks: Forks, tiny_run: list[str], tmp_path: Path, call: str, says: str
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    ctrl_c = Accident("before", call, 1, "SIGINT")

    first, second = forks.train_together(
        2, tiny_run, ctrl_c, uri=uri, at=tmp_path, befallen=[0, 1]
    )

    assert [first.code, second.code] == [130, 130]
    assert first.error.startswith(says)
    assert second.output == second.error == ""


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--batch-size", "3"], 2, "a batch has 3 (--batch-size 3, 901 training"),
        (["--compile", "on"], 3, "2 processes were started, whose steps are not"),
    ],
)
def test_what_two_processes_cannot_do_is_told_before_the_first_step(
    forks: Forks,
    tiny_run: list[str],
    tmp_path: Path,
    flags: list[str],
    code: int,
    message: str,
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"

    first, second = forks.train_together(2, [*tiny_run, *flags], uri=uri, at=tmp_path)

    assert (first.code, second.code) == (code, 3)
    assert message in first.error
    assert "Traceback" not in first.error
    assert second.output == second.error == ""
    assert Registry(uri).client.get_experiment_by_name("digits") is None


AMD, INTEL = "AuthenticAMD", "GenuineIntel"
ZEN4, AMX, OLD = "fma avx512_bf16 avx512_vnni", "avx512_bf16 amx_bf16", "fma avx2"


@pytest.mark.parametrize(
    ("vendor", "flags", "asked", "words"),
    [
        (AMD, ZEN4, "auto", "bf16 by avx512_bf16"),
        (AMD, ZEN4, "bf16", "bf16 by avx512_bf16"),
        (AMD, ZEN4, "fp32", "fp32 as asked for"),
        (INTEL, ZEN4, "auto", "fp32 as bf16 is no faster here"),
        (INTEL, AMX, "auto", "bf16 by amx_bf16"),
        (AMD, OLD, "bf16", "bf16 as asked for, though no faster here than fp32"),
        (AMD, OLD, "auto", "fp32 as bf16 is no faster here"),
    ],
)
def test_a_run_says_what_it_uses_and_why(
    tmp_path: Path, vendor: str, flags: str, asked: str, words: str
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"vendor_id\t: {vendor}\nflags\t\t: {flags}\n")

    compute = choose_compute("cpu", asked, cpuinfo=cpuinfo)

    assert explain_compute(compute).startswith("cpu, ")
    assert explain_compute(compute).endswith(f" cores, {words}")


def test_a_kernel_that_tells_nothing_means_no_bf16(tmp_path: Path) -> None:
    assert not fast_bf16_by(tmp_path / "absent")


@pytest.mark.parametrize(("groups", "precision"), [(1, "bf16"), (2, "fp32")])
def test_grouped_convolutions_are_trained_in_fp32(groups: int, precision: str) -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3, groups=groups))

    compute = Compute(torch.device("cpu"), "bf16").suited_to(network)

    assert compute.precision == precision


def test_more_processes_than_gpus_are_told_with_both_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    with pytest.raises(
        DeviceUnavailable, match=r"3 processes were .* finds 2; start 2 with --nproc"
    ):
        choose_compute("auto", "fp32", local_rank=0, local_size=3)

    assert choose_compute("cpu", local_rank=2, local_size=3).device.type == "cpu"
