"""The precision a processor is good at, and how it is told."""

from pathlib import Path
from typing import Literal

import pytest
import torch

from training.device import (
    Compute,
    DeviceUnavailable,
    choose_compute,
    cpu_has_bf16,
    explain_compute,
)

ZEN4, OLD = "fma avx512f avx512_bf16 avx512_vnni", "fma avx2"


@pytest.fixture
def cpuinfo(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\nflags\t\t: {request.param}\n")
    return path


@pytest.mark.parametrize(
    ("cpuinfo", "precision", "words"),
    [
        (ZEN4, "bf16", "bf16 by avx512_bf16"),
        (ZEN4, "fp32", "fp32 as asked for"),
        (OLD, "bf16", "bf16 as asked for, though slower here than fp32"),
        (OLD, "fp32", "fp32 for want of fast bf16"),
    ],
    indirect=["cpuinfo"],
)
def test_a_run_says_what_it_uses_and_why(
    cpuinfo: Path, precision: Literal["fp32", "bf16"], words: str
) -> None:
    compute = Compute(torch.device("cpu"), precision)

    assert explain_compute(compute, cpuinfo).startswith("cpu, ")
    assert explain_compute(compute, cpuinfo).endswith(f" cores, {words}")


def test_a_kernel_that_tells_nothing_means_no_bf16(tmp_path: Path) -> None:
    assert not cpu_has_bf16(tmp_path / "absent")


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
