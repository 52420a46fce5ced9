"""Where a run computes: device, precision, and the processes that share it."""

import ctypes
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from classifier.console.exits import NotNow
from classifier.hardware import usable_cores
from training.config.launch import process_number, processes_here

CPUINFO = Path("/proc/cpuinfo")

KEPT_BLOCK = 1 << 30
"""Bytes. Larger blocks are given back when they are freed."""

KEPT_AT_END = (1 << 31) - 1
"""Bytes of free memory that are kept, the most that mallopt takes."""


class DeviceUnavailable(NotNow, RuntimeError):
    """The device that was asked for cannot be used here."""


Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Compute:
    """Device and precision of the training steps."""

    device: torch.device
    precision: Precision
    reason: str = ""
    """Why this precision, for people: `by avx512_bf16`."""

    def autocast(self) -> torch.autocast:
        """For training steps. Evaluation is always fp32."""
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"
        )

    def suited_to(self, network: nn.Module) -> "Compute":
        """Takes fp32 on a CPU for a network that bf16 slows down."""
        is_slow = self.device.type == "cpu" and has_grouped_convolutions(network)
        if self.precision == "fp32" or not is_slow:
            return self
        return replace(
            self,
            precision="fp32",
            reason="as bf16 is slow here in grouped convolutions",
        )


def choose_compute(
    device: str,
    precision: str = "fp32",
    *,
    local_rank: int = 0,
    local_size: int = 1,
    cpuinfo: Path = CPUINFO,
) -> Compute:
    """Chooses this process's own device and its precision.

    Sets what torch and the C library need for it. Raises DeviceUnavailable if `cuda` is
    asked for and no GPU is usable, or if this machine has fewer GPUs than processes.
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
        # With a number: in another thread plain `cuda` is the first GPU.
        chosen = torch.device("cuda", local_rank)
        torch.cuda.set_device(chosen)
    # fp32 must be fp32. cuDNN's default of TF32 keeps 10 bits, and a published version
    # would differ from the measured network by more than the export check allows.
    torch.backends.cudnn.allow_tf32 = False
    if chosen.type == "cuda":
        fast_by = "its tensor cores" if _gpu_has_bf16() else ""
    else:
        keep_freed_memory()
        fast_by = fast_bf16_by(cpuinfo)
    if precision == "bf16" or (precision == "auto" and fast_by):
        slow = "as asked for, though no faster here than fp32"
        return Compute(chosen, "bf16", f"by {fast_by}" if fast_by else slow)
    reason = "as asked for" if precision == "fp32" else "as bf16 is no faster here"
    return Compute(chosen, "fp32", reason)


def keep_freed_memory() -> None:
    """Makes glibc keep the memory of freed tensors for the next ones.

    By default it gives each block over 32 MB back at once, and the kernel clears the
    pages of the next one: a third of the time of steps at 224 px (docs/decisions.md,
    "Memory that is kept"). Another C library may lack mallopt, and is left as it is.
    """
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, KEPT_BLOCK)
        libc.mallopt(trim_threshold, KEPT_AT_END)


def has_grouped_convolutions(network: nn.Module) -> bool:
    """Whether the network has depthwise or other grouped convolutions."""
    return any(
        isinstance(layer, nn.Conv2d) and layer.groups > 1 for layer in network.modules()
    )


def _check_enough_gpus(processes: int) -> None:
    gpus = torch.cuda.device_count()
    if processes > gpus:
        raise DeviceUnavailable(
            f"{processes} processes were started on this machine, each for a GPU of "
            f"its own, and torch finds {gpus}; start {gpus} with --nproc-per-node, or "
            f"use --device cpu"
        )


def explain_compute(compute: Compute) -> str:
    """Device, precision and reason, for people: `cpu, 2 cores, bf16 by avx512_bf16`."""
    if compute.device.type == "cuda":
        where = torch.cuda.get_device_name(compute.device)
    else:
        where = f"cpu, {usable_cores()} cores"
    return f"{where}, {compute.precision} {compute.reason}"


def fast_bf16_by(cpuinfo: Path = CPUINFO) -> str:
    """The instruction set by which bf16 is faster than fp32 here; empty without one.

    The kernel lists them. Without one, bf16 is emulated
    (github.com/pytorch/pytorch/issues/86550); with AVX-512's alone it is faster on AMD
    and not on Intel (docs/decisions.md, "bf16 where it is faster").
    """
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return ""
    flags = _first_value(lines, "flags").split()
    if "amx_bf16" in flags:
        return "amx_bf16"
    is_amd = _first_value(lines, "vendor_id") == "AuthenticAMD"
    return "avx512_bf16" if is_amd and "avx512_bf16" in flags else ""


def _first_value(lines: Sequence[str], key: str) -> str:
    line = next((line for line in lines if line.startswith(key)), "")
    return line.partition(":")[2].strip()


def _gpu_has_bf16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


T = TypeVar("T")


class FirstProcessFailed(NotNow, RuntimeError):
    """This process stops because the first one failed. The first one prints why."""


class PeersNotFound(NotNow, RuntimeError):
    """The processes of the run cannot connect to each other."""


class PeerLost(NotNow, RuntimeError):
    """Another process of the run ended, so collective operations fail."""


PEER_TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others. They wait while the first one decodes,
exports and publishes."""

_GONE = ("by peer", "Broken pipe", "pair closure", "Timed out")
"""Parts of gloo's messages about a lost peer; gloo has no error class for it."""


@dataclass(frozen=True)
class World:
    """This process's rank and the number of processes.

    Only the first process prints, logs and publishes.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """The rank on this machine: which of its GPUs to use."""

    local_size: int = 1
    """Processes on this machine."""

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, start: int, end: int) -> tuple[int, int]:
        """This process's contiguous part of the positions start..end."""
        first, last = (
            self._cut(end - start, rank) for rank in (self.rank, self.rank + 1)
        )
        return start + first, start + last

    def _cut(self, count: int, rank: int) -> int:
        """Even, as augmentations mix images in pairs."""
        return count if rank == self.size else rank * count // self.size // 2 * 2

    def sum_up(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrites the tensors with those of the first process."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def broadcast_from_first(self, work: Callable[[], T]) -> T:
        """Runs `work` in the first process and returns its result in every process.

        If `work` raises, the other processes raise FirstProcessFailed.
        """
        if self.size == 1:
            return work()
        message: list[tuple[T] | None] = [None]
        if self.is_first:
            try:
                message = [(work(),)]
            except BaseException:
                # This error matters more than a peer that is gone.
                with suppress(PeerLost):
                    self._broadcast(message)
                raise
        self._broadcast(message)
        (result,) = message
        if result is None:
            raise FirstProcessFailed("the first process failed and prints why")
        return result[0]

    def after_first(self, work: Callable[[], T]) -> T:
        """Runs `work` in the first process, then in the others.

        The others find what the first one left in a cache. An error is printed once.
        """
        results: list[T] = []
        self.broadcast_from_first(lambda: results.append(work()))
        return results[0] if self.is_first else work()

    @contextmanager
    def together(self, *shared: type[Exception]) -> Iterator[None]:
        """Wraps collective operations. Raises PeerLost if another process ended.

        `shared` errors occur in all processes. They and PeerLost stay as they are in
        the first process, and become FirstProcessFailed in the others.
        """
        errors: tuple[type[Exception], ...] = (PeerLost, *shared)
        try:
            with _peer_lost_on_failure():
                yield
        except errors as error:
            if self.is_first:
                raise
            raise FirstProcessFailed("the first process prints why") from error

    def _broadcast(self, message: list[tuple[T] | None]) -> None:
        with self.together():
            dist.broadcast_object_list(message, src=0)


@contextmanager
def open_world() -> Iterator[World]:
    """Joins the processes named by torchrun's variables; without them, a single one."""
    size = process_number("WORLD_SIZE", 1)
    if size == 1:
        yield World()
        return
    world = World(
        rank=process_number("RANK", 0),
        size=size,
        local_rank=process_number("LOCAL_RANK", 0),
        local_size=processes_here(),
    )
    # Both backends: the device of a resumed run is in its state, not yet known.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=PEER_TIMEOUT)
    except dist.DistError as error:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise PeersNotFound(
            f"the processes of this run cannot meet at {place}, which MASTER_ADDR and "
            f"MASTER_PORT name: {str(error).splitlines()[0]}"
        ) from error
    try:
        yield world
    except BaseException:
        # Otherwise NCCL would wait for processes that have ended.
        assert dist.group.WORLD is not None
        dist.group.WORLD.abort()
        raise
    finally:
        dist.destroy_process_group()


@contextmanager
def _peer_lost_on_failure() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        is_gone = any(words in str(error) for words in _GONE)
        if not (is_gone or isinstance(error, dist.DistError)):
            raise
        raise PeerLost(
            "another process of this run ended, and its part of the training with it; "
            "see its output, and start all of them again"
        ) from error
