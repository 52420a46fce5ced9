"""The processes of a data-parallel run, as torchrun starts them; one by default."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


class FirstProcessFailed(RuntimeError):
    """This process stops because the first one did, which says why."""


PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: the first one decodes, exports and
publishes while they wait."""


@dataclass(frozen=True)
class World:
    """Which process this is, of how many; the first one tells, logs and publishes."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """The rank on this machine: which of its GPUs to use."""

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

    def tell(self, work: Callable[[], T]) -> T:
        """What `work` gives in the first process, in every process.

        FirstProcessFailed in the others, where it raises there.
        """
        if self.size == 1:
            return work()
        told: list[tuple[T] | None] = [None]
        if self.is_first:
            try:
                told = [(work(),)]
            finally:
                dist.broadcast_object_list(told, src=0)
        else:
            dist.broadcast_object_list(told, src=0)
        (result,) = told
        if result is None:
            raise FirstProcessFailed("the first process stopped, and says why")
        return result[0]

    def after_first(self, work: Callable[[], T]) -> T:
        """`work()` of each process, begun when it is done in the first one: what that
        leaves in a cache the others find, and what is wrong is told once."""
        results: list[T] = []
        self.tell(lambda: results.append(work()))
        return results[0] if self.is_first else work()


@contextmanager
def following(*same: type[Exception]) -> Iterator[None]:
    """FirstProcessFailed in place of what comes of the first process's end, and of
    errors that it tells as well: the `same` in all."""
    try:
        yield
    except same as error:
        raise FirstProcessFailed("the first process says why") from error
    except RuntimeError as error:
        # gloo has no class for it: "Connection closed by peer", "reset by peer".
        if isinstance(error, dist.DistError) or "by peer" in str(error):
            raise FirstProcessFailed("the connection to the others ended") from error
        raise


@contextmanager
def open_world(*, device: str) -> Iterator[World]:
    """Joins the processes that torchrun's variables tell of; alone without them."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    world = World(
        rank=int(os.environ["RANK"]),
        size=size,
        local_rank=int(os.environ.get("LOCAL_RANK", "0")),
    )
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(world.local_rank)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)
    try:
        yield world
    finally:
        dist.destroy_process_group()
