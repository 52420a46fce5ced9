"""This machine: cores, GPUs, names of devices and backends, running processes."""

import ctypes
import math
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from classifier.console.exits import NotNow


def usable_cores() -> int:
    """The smaller of the CPU affinity and the cgroup's quota; at least 1.

    os.cpu_count() gives the machine's cores even in a container limited to one.
    """
    cores = len(os.sched_getaffinity(0))
    for limit in (_quota_v2(), _quota_v1()):
        if limit is not None:
            cores = min(cores, math.ceil(limit))
    return max(1, cores)


def _quota_v2(path: Path = Path("/sys/fs/cgroup/cpu.max")) -> float | None:
    try:
        quota, period = path.read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(folder: Path = Path("/sys/fs/cgroup/cpu")) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 else None


class DeviceUnavailable(NotNow, RuntimeError):
    """The requested device cannot be used on this machine."""


def has_gpu() -> bool:
    """Whether NVIDIA's driver sees a device. Must not be called before a fork."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    return (
        driver.cuInit(0) == 0
        and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
        and count.value > 0
    )


def processor() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo; empty if there is none."""
    try:
        first, *_ = Path("/proc/cpuinfo").read_text().split("\n\n", 1)
    except OSError:
        return {}
    lines = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def has_bf16() -> bool:
    """Whether the processor multiplies in bf16: AVX-512 BF16 or AMX."""
    flags = processor().get("flags", "").split()
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)


BackendKind = Literal["onnx", "openvino", "torch"]
DeviceKind = Literal["auto", "cpu", "cuda"]
PrecisionKind = Literal["fp32", "bf16", "int8"]


@dataclass(frozen=True)
class Form:
    """Engine and precision of a network."""

    backend: BackendKind = "onnx"
    precision: PrecisionKind = "fp32"

    def __str__(self) -> str:
        return f"{self.backend};{self.precision}"


ONNX_FP32 = Form()


PROCESS_TAG = "process"
"""Tag of an MLflow run: the process that writes it."""


def this_process() -> str:
    """A unique name of this process: machine and boot, process id, start."""
    return f"{_machine()} {os.getpid()} {_started_ticks(os.getpid())}"


def is_dead(process: str) -> bool:
    """Whether the process that `this_process()` named has ended.

    False for a process of another machine, as nothing is known of it.
    """
    machine, _, rest = process.partition(" ")
    number, _, started = rest.partition(" ")
    if machine != _machine() or not number.isdigit():
        return False
    return _started_ticks(int(number)) != started


def process_started_at() -> float:
    """time.time() at this process's start, before the interpreter and imports."""
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    ticks = int(_started_ticks(os.getpid()))
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")


def _machine() -> str:
    """Host name and boot id, as process ids repeat after a boot."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{platform.node()}/{boot.read_text().strip()}"


def _started_ticks(process: int) -> str:
    """Clock ticks from boot to its start; empty if it does not run. See `man proc`."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    # The name, in parentheses, may contain any character.
    state, *fields = text.rpartition(")")[2].split()
    return "" if state == "Z" else fields[18]
