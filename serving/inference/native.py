"""Native threads for functions that block, so that the event loop goes on.

The service's processes are patched by gevent: a thread is a greenlet there, and what
blocks without gevent's knowledge (a network, a database, a decoder) stops all others.
In a process that is not patched, as in tests, the same functions use threads.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Generic, ParamSpec, TypeVar, cast

import gevent
from gevent import monkey
from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool

MOST_THREADS = 32
"""Functions that block at once; others wait. A disk or a registry that hangs keeps
one."""

P = ParamSpec("P")
T = TypeVar("T")

thread_ident: Callable[[], int] = monkey.get_original("_thread", "get_ident")
"""Identifies the native thread, also where threads are greenlets."""

new_lock: Callable[[], threading.Lock] = monkey.get_original("_thread", "allocate_lock")
"""A lock of native threads; no greenlet may leave it to another while it holds one."""


_is_patched = False


def is_patched() -> bool:
    """Whether the threads of this process are greenlets of an event loop."""
    global _is_patched
    if not _is_patched:  # asked ten times a request, and once true for good
        _is_patched = bool(monkey.is_module_patched("threading"))
    return _is_patched


class LoopFuture(AsyncResult, Generic[T]):  # type: ignore[type-arg]  # not at run time
    """The part of Future that is needed, on an event loop: a tenth of its cost."""

    done = AsyncResult.ready
    set_result = AsyncResult.set

    def result(self, timeout: float | None = None) -> T:
        """Raises TimeoutError if nothing has been set after `timeout` seconds."""
        try:
            return self.get(timeout=timeout)  # type: ignore[return-value]  # None is no time-out
        except gevent.Timeout as error:
            raise TimeoutError(f"no result after {timeout} s") from error


def new_future() -> "LoopFuture[T] | Future[T]":
    """A value that another greenlet, or thread, sets later."""
    return LoopFuture() if is_patched() else Future()


def start(function: Callable[[], object]) -> None:
    """Runs `function` beside the caller: as a greenlet of the loop, or in a thread."""
    if is_on_loop() and is_patched():
        gevent.spawn(function)
    elif is_patched():
        loop = _loop(os.getpid()).hub.loop
        loop.run_callback_threadsafe(gevent.spawn, function)
    else:
        threading.Thread(target=function, daemon=True).start()


def wait_until_idle(seconds: float) -> None:
    """Lets all greenlets go first that have something to do, for at most `seconds`."""
    if is_patched():
        gevent.with_timeout(seconds, gevent.idle, timeout_value=None)


def within(seconds: float, function: Callable[[], T]) -> T:
    """The result of `function`, which waits for a client. Raises TimeoutError.

    Without an event loop there is no limit: nothing then waits for a client.
    """
    if not is_patched():
        return function()
    timeout = gevent.Timeout.start_new(max(0.0, seconds))
    try:
        return function()
    except gevent.Timeout as error:
        raise TimeoutError(f"it took more than {seconds:.1f} s") from error
    finally:
        timeout.close()


class NativeThreads:
    """A few native threads of one owner, which wait for no other owner's work."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pool: ThreadPool | None = None

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run_natively`, in these threads."""
        if not (is_patched() and is_on_loop()):
            return function(*args, **kwargs)
        if self._pool is None:  # one without tasks is false
            self._pool = ThreadPool(self._most)
        return _run(self._pool, partial(function, *args, **kwargs))

    def close(self) -> None:
        if self._pool is not None:
            self._pool.kill()


def run_natively(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `function`, run in a native thread while other greenlets go on.

    Raises what `function` raises; it must wait for nothing that a greenlet holds or
    sets. In an unpatched process, and in a native thread, it is simply called.
    """
    return _loop(os.getpid()).threads.run(function, *args, **kwargs)


def _run(pool: ThreadPool, function: Callable[[], T]) -> T:
    result, error = pool.apply(_attempt, (function,))
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
    hub: gevent.hub.Hub = field(default_factory=gevent.get_hub)
    threads: NativeThreads = field(default_factory=lambda: NativeThreads(MOST_THREADS))


def is_on_loop() -> bool:
    """Whether this is the native thread of the process's event loop; any thread is,
    where there is no loop."""
    return not is_patched() or _loop(os.getpid()).thread == thread_ident()


@cache
def _loop(process: int) -> _Loop:
    """One for each process, as threads do not survive a fork."""
    return _Loop()
