"""Which device and which precision a run uses."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from classifier.console import NotNow
from classifier.hardware import usable_cores
from training.config import processes_here

CPUINFO = Path("/proc/cpuinfo")


class DeviceUnavailable(NotNow, RuntimeError):
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


T = TypeVar("T")


class FirstProcessFailed(NotNow, RuntimeError):
    """This process stops because the first one did, which says why."""


class PeerLost(NotNow, RuntimeError):
    """Another process of the run is gone, and what was begun together with it."""


PEER_TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others: the first one decodes, exports and
publishes while they wait."""

_GONE = ("by peer", "Broken pipe", "pair closure", "Timed out")
"""How gloo says it, which has no class for it."""


@dataclass(frozen=True)
class World:
    """Which process this is, of how many; the first one tells, logs and publishes."""

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
        """This process's part of the positions start..end, one after the other."""
        first, last = (
            self._cut(end - start, rank) for rank in (self.rank, self.rank + 1)
        )
        return start + first, start + last

    def _cut(self, count: int, rank: int) -> int:
        """Even, as images are mixed in pairs (mixing.py)."""
        return count if rank == self.size else rank * count // self.size // 2 * 2

    def sum_up(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """What the first process has, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def broadcast_from_first(self, work: Callable[[], T]) -> T:
        """What `work` gives in the first process, in every process.

        FirstProcessFailed in the others, where it raises there.
        """
        if self.size == 1:
            return work()
        told: list[tuple[T] | None] = [None]
        if self.is_first:
            try:
                told = [(work(),)]
            except BaseException:
                # What was wrong here says more than who is gone meanwhile.
                with suppress(PeerLost):
                    self._send_round(told)
                raise
        self._send_round(told)
        (result,) = told
        if result is None:
            raise FirstProcessFailed("the first process stopped, and says why")
        return result[0]

    def after_first(self, work: Callable[[], T]) -> T:
        """`work()` of each process, begun when it is done in the first one: what that
        leaves in a cache the others find, and what is wrong is told once."""
        results: list[T] = []
        self.broadcast_from_first(lambda: results.append(work()))
        return results[0] if self.is_first else work()

    @contextmanager
    def together(self, *told: type[Exception]) -> Iterator[None]:
        """Around what all do at the same time: PeerLost where another one is gone.

        FirstProcessFailed in all but the first, whoever is gone, and in place of errors
        that the first one tells as well: those `told`.
        """
        errors: tuple[type[Exception], ...] = (PeerLost, *told)
        try:
            with _needing_all():
                yield
        except errors as error:
            if self.is_first:
                raise
            raise FirstProcessFailed("the first process says why") from error

    def _send_round(self, told: list[tuple[T] | None]) -> None:
        """What the first process has in it, to all."""
        with self.together():
            dist.broadcast_object_list(told, src=0)


@contextmanager
def open_world() -> Iterator[World]:
    """Joins the processes that torchrun's variables tell of; alone without them."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    world = World(
        rank=int(os.environ["RANK"]),
        size=size,
        local_rank=int(os.environ.get("LOCAL_RANK", "0")),
        local_size=processes_here(),
    )
    # Both, where there are both: the device of a resumed run is in its state.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=PEER_TIMEOUT)
    try:
        yield world
    except BaseException:
        # NCCL would wait for those who are gone.
        assert dist.group.WORLD is not None
        dist.group.WORLD.abort()
        raise
    finally:
        dist.destroy_process_group()


@contextmanager
def _needing_all() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        is_gone = any(words in str(error) for words in _GONE)
        if not (is_gone or isinstance(error, dist.DistError)):
            raise
        raise PeerLost(
            "another process of this run ended, and its part of the training with it; "
            "see what it said, and start all of them again"
        ) from error
