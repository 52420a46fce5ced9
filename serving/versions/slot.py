"""A slot: one version that is loading, ready or failed, and the errors of loads."""

import ctypes
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from classifier.bundle.files import BrokenBundle, QuantisedBundle
from classifier.bundle.network import NetworkNotAllowed, UnknownNetwork
from classifier.hardware import DeviceUnavailable, usable_cores
from classifier.inference.predict import FailedCheck
from classifier.store.location import StoreUnavailable
from classifier.store.versions import Version
from serving.inference.native import run_natively
from serving.inference.predictor import Predictor
from serving.inference.requests import DeadlinePassed
from serving.versions.load_guard import LoadLimit, LoadStopped

logger = logging.getLogger(__name__)

State = Literal["ready", "loading", "failed", "available"]


class NotReady(RuntimeError):
    """The version is loading, or failed to load."""


class VersionFailed(NotReady):
    """The version failed finally; the message has the reason."""


class Fault(RuntimeError):
    """A load raised a BaseException that is no Exception."""


PUBLIC_FAILURES = (
    BrokenBundle,
    DeviceUnavailable,
    FailedCheck,
    LoadLimit,
    NetworkNotAllowed,
    QuantisedBundle,
    UnknownNetwork,
)
"""Errors whose messages clients may read: they name files, but no folders.

A backend may have no network of the version: of an int8 form, of an imported graph, or
of code that the operator has not named."""


@dataclass(eq=False)
class Slot:
    version: Version
    open_predictor: Callable[[Version], Predictor]
    predictor: Predictor | None = None
    error: Exception | None = None
    is_closed: bool = False
    """Removed for good; LoadedVersions sets it."""

    waiting: int = 0
    """Number of threads that wait for the load."""

    last_used: float = field(default_factory=time.monotonic)
    is_loading: bool = False
    """A thread is loading the version, even if no request waits any more."""

    _changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def state(self) -> State:
        if self.predictor is not None:
            return "ready"
        return "loading" if self.error is None else "failed"

    @property
    def failure(self) -> str | None:
        """The reason for clients."""
        return None if self.error is None else public_reason(self.error)

    def load(
        self,
        *,
        again: bool = False,
        deadline: float = math.inf,
        settle: Callable[[], None] = lambda: None,
    ) -> Predictor | None:
        """The predictor, checked and warm; None if the load failed or the slot is
        closed.

        A thread loads the version. Concurrent callers wait for the same load and share
        its failure. Raises DeadlinePassed after `deadline`, a time of time.monotonic().
        `again` retries after a failure. The thread calls `settle` before the callers go
        on.
        """
        with self._changed:
            is_tried = self.error is not None and not again
            # A predictor that is loaded into a closed slot would never be unloaded.
            is_over = self.predictor is not None or self.is_closed or is_tried
            if not (self.is_loading or is_over):
                self._start(settle)
            self.waiting += 1
            try:
                self._wait(deadline)
            finally:
                self.waiting -= 1
            return self.predictor

    def _start(self, settle: Callable[[], None]) -> None:
        loading = threading.Thread(
            target=self._run, args=(settle,), name="load", daemon=True
        )
        self.is_loading = True
        try:
            loading.start()
        except RuntimeError:  # no more threads
            self.is_loading = False
            raise

    def _wait(self, deadline: float) -> None:
        left = min(deadline - time.monotonic(), threading.TIMEOUT_MAX)
        if not self._changed.wait_for(
            lambda: not self.is_loading or self.is_closed, left
        ):
            raise DeadlinePassed(
                f"version {self.version.name} is still being loaded; ask again with "
                f"more time"
            )

    def _run(self, settle: Callable[[], None]) -> None:
        try:
            self._load()
            settle()
        finally:
            with self._changed:
                self.is_loading = False
                self._changed.notify_all()

    def _load(self) -> None:
        started = time.perf_counter()
        self.error = None
        try:
            predictor = self.open_predictor(self.version)
        # No error may leave the version in the state "loading" for ever.
        except BaseException as raised:
            error = raised if isinstance(raised, Exception) else Fault(repr(raised))
            self.error = error
            known = isinstance(
                error, (*PUBLIC_FAILURES, LoadStopped, StoreUnavailable, OSError)
            )
            logger.error(
                "failed version=%s reason=%s",
                self.version.name,
                error,
                exc_info=None if known else error,
            )
            return
        with self._changed:
            if not self.is_closed:
                self.predictor = predictor
        release_freed_memory()
        logger.info(
            "loaded version=%s device=%s seconds=%.2f",
            self.version.name,
            predictor.backend.device,
            time.perf_counter() - started,
        )
        if self.predictor is not predictor:
            self._close(predictor)  # the slot was closed meanwhile

    def unload(self) -> None:
        """Closes the slot; blocks until pending requests are answered. A load under way
        unloads its result."""
        with self._changed:
            self.is_closed = True
            predictor, self.predictor = self.predictor, None
            self._changed.notify_all()
        if predictor is not None:
            self._close(predictor)

    def _close(self, predictor: Predictor) -> None:
        predictor.close()
        # The last request that holds the predictor frees its memory.
        del predictor
        release_freed_memory()
        logger.info("unloaded version=%s", self.version.name)


def load_side_by_side(slots: Sequence[Slot]) -> list[bool]:
    """Loads all slots, one a core at a time; returns whether each succeeded.

    The threads are daemons, so that a process that stops waits for none of them.
    """
    loaded = [False] * len(slots)
    left = iter(range(len(slots)))  # each thread takes the next

    def load() -> None:
        for place in left:
            loaded[place] = slots[place].load() is not None

    threads = [
        threading.Thread(target=load, name="load", daemon=True)
        for _ in range(min(usable_cores(), len(slots)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return loaded


def cannot_load(number: str, error: Exception, *, is_public: bool = True) -> NotReady:
    """The error for clients (`is_public`) or for the operator."""
    kind = VersionFailed if is_final(error) else NotReady
    reason = public_reason(error) if is_public else error
    return kind(f"version {number} cannot be loaded: {reason}")


def is_final(error: Exception) -> bool:
    """Whether the version itself is the cause, so that another try would fail too."""
    return isinstance(error, PUBLIC_FAILURES) and not isinstance(
        error, DeviceUnavailable
    )


def public_reason(error: Exception) -> str:
    """The reason for clients, without paths of this machine."""
    if isinstance(error, (*PUBLIC_FAILURES, LoadStopped)):
        return str(error)
    return "its files cannot be read now; the service's log says why"


def release_freed_memory() -> None:
    """Returns freed memory to the system: glibc keeps 63 MB of each loaded ResNet-18.

    Does nothing with other C libraries (musl), which keep none.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except AttributeError:
        return
    run_natively(trim, 0)
