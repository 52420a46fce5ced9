"""Which device and which precision a run uses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from classifier.cores import usable_cores

CPUINFO = Path("/proc/cpuinfo")


class DeviceUnavailable(RuntimeError):
    """The device that was asked for cannot be used here."""


@dataclass(frozen=True)
class Compute:
    """Where the arithmetic is done, and in what."""

    device: torch.device
    precision: Literal["fp32", "bf16"]

    def autocast(self) -> torch.autocast:
        """For training steps; measuring is fp32 throughout."""
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"
        )


def choose_compute(
    device: str, precision: str = "fp32", *, local_rank: int = 0, local_size: int = 1
) -> Compute:
    """Each of this machine's processes has a GPU of its own.

    DeviceUnavailable where `cuda` is asked for and there is no usable GPU, and where
    there are fewer than processes.
    """
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise DeviceUnavailable(
            "--device cuda was asked for, but torch finds no usable GPU; "
            "use --device auto or cpu"
        )
    chosen = torch.device("cpu")
    if has_cuda and device != "cpu":
        _check_enough_gpus(local_size)
        # By number: in another thread `cuda` alone is the first GPU, not this one's.
        chosen = torch.device("cuda", local_rank)
        torch.cuda.set_device(chosen)
    # fp32 is to mean fp32: cuDNN's default of TF32 keeps 10 bits, and what is published
    # would differ from what was measured by more than the proof of an export allows.
    torch.backends.cudnn.allow_tf32 = False
    has_bf16 = _gpu_has_bf16() if chosen.type == "cuda" else cpu_has_bf16()
    if precision == "bf16" or (precision == "auto" and has_bf16):
        return Compute(chosen, "bf16")
    return Compute(chosen, "fp32")


def _check_enough_gpus(processes: int) -> None:
    gpus = torch.cuda.device_count()
    if processes > gpus:
        raise DeviceUnavailable(
            f"{processes} processes were started on this machine, each for a GPU of "
            f"its own, and torch finds {gpus}; start {gpus} with --nproc-per-node, or "
            f"use --device cpu"
        )


def explain_compute(compute: Compute, cpuinfo: Path = CPUINFO) -> str:
    """What a run uses and why, for people: `cpu, 2 cores, bf16 by avx512_bf16`."""
    if compute.device.type == "cuda":
        where = torch.cuda.get_device_name(compute.device)
        bf16 = "by its tensor cores" if _gpu_has_bf16() else ""
    else:
        where = f"cpu, {usable_cores()} cores"
        flags = cpu_bf16_flags(cpuinfo)
        bf16 = f"by {' and '.join(flags)}" if flags else ""
    if compute.precision == "bf16":
        return f"{where}, bf16 {bf16 or 'as asked for, though slower here than fp32'}"
    return f"{where}, fp32 {'as asked for' if bf16 else 'for want of fast bf16'}"


def cpu_has_bf16(cpuinfo: Path = CPUINFO) -> bool:
    """Whether bf16 is faster than fp32: elsewhere it is emulated, and slower.

    github.com/pytorch/pytorch/issues/86550
    """
    return bool(cpu_bf16_flags(cpuinfo))


def cpu_bf16_flags(cpuinfo: Path = CPUINFO) -> list[str]:
    """The instruction sets for bf16 that the kernel finds in the processor."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return []
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return sorted({"avx512_bf16", "amx_bf16"}.intersection(flags.split()))


def _gpu_has_bf16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))
