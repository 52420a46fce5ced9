"""Which device and which precision a run uses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch


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


def choose_compute(device: str, precision: str = "fp32") -> Compute:
    """DeviceUnavailable where `cuda` is asked for and there is no usable GPU."""
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise DeviceUnavailable(
            "--device cuda was asked for, but torch finds no usable GPU; "
            "use --device auto or cpu"
        )
    chosen = torch.device("cuda" if has_cuda and device != "cpu" else "cpu")
    # fp32 is to mean fp32: cuDNN's default of TF32 keeps 10 bits, and what is published
    # would differ from what was measured by more than the proof of an export allows.
    torch.backends.cudnn.allow_tf32 = False
    has_bf16 = (
        torch.cuda.is_bf16_supported(including_emulation=False)
        if chosen.type == "cuda"
        else cpu_has_bf16()
    )
    if precision == "bf16" or (precision == "auto" and has_bf16):
        return Compute(chosen, "bf16")
    return Compute(chosen, "fp32")


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether bf16 is faster than fp32: elsewhere it is emulated, and slower.

    github.com/pytorch/pytorch/issues/86550
    """
    try:
        text = cpuinfo.read_text()
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags.split())
