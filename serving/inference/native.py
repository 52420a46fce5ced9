"""Native threads for functions that block, so that the event loop goes on."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import ParamSpec, TypeVar, cast

from gevent import monkey
from gevent.threadpool import ThreadPool

MOST_THREADS = 32
"""Functions that block at once; others wait. A disk or a registry that hangs keeps
one."""

P = ParamSpec("P")
T = TypeVar("T")

thread_ident: Callable[[], int] = monkey.get_original("_thread", "get_ident")
"""Identifies the native thread, also where threads are greenlets."""


def is_patched() -> bool:
    """Whether the threads of this process are greenlets of an event loop."""
    return bool(monkey.is_module_patched("threading"))


def run_natively(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `function`, run in a native thread while other greenlets go on.

    Raises what `function` raises; it must wait for nothing that a greenlet holds or
    sets. In an unpatched process, and in a native thread, it is simply called.
    """
    if not is_patched():
        return function(*args, **kwargs)
    loop = _loop(os.getpid())
    if loop.thread != thread_ident():
        return function(*args, **kwargs)
    result, error = loop.pool.apply(_attempt, (partial(function, *args, **kwargs),))
    if error is not None:
        raise error
    return cast(T, result)


def _attempt(function: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    """The result, or the error: gevent prints the traceback of one that is raised."""
    try:
        return function(), None
    except BaseException as error:
        return None, error


@dataclass(frozen=True)
class _Loop:
    """The event loop of this process: its thread, and threads for what blocks."""

    thread: int = field(default_factory=thread_ident)
    pool: ThreadPool = field(default_factory=lambda: ThreadPool(MOST_THREADS))


@cache
def _loop(process: int) -> _Loop:
    """One for each process, as threads do not survive a fork."""
    return _Loop()
