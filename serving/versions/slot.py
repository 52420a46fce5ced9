"""A version with a place in memory: being loaded, ready, or failed."""

import ctypes
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from classifier.bundle.files import BrokenBundle, QuantisedBundle
from classifier.hardware import DeviceUnavailable, usable_cores
from classifier.inference.predict import FailedCheck
from classifier.store.location import StoreUnavailable
from classifier.store.versions import Version
from serving.inference.predictor import Predictor
from serving.inference.request_queue import DeadlinePassed
from serving.versions.load_guard import LoadLimit, LoadStopped

logger = logging.getLogger(__name__)


State = Literal["ready", "loading", "failed", "available"]


class NotReady(RuntimeError):
    """The version is being loaded, or could not be."""


class VersionFailed(NotReady):
    """The version can never load as it is; the message has the reason."""


class Fault(RuntimeError):
    """A load ended with something that is no Exception."""


PUBLIC_FAILURES = (
    BrokenBundle,
    DeviceUnavailable,
    FailedCheck,
    LoadLimit,
    QuantisedBundle,
)
"""Their messages name files of a version, and no folder of this machine."""


@dataclass(eq=False)
class Slot:
    version: Version
    open_predictor: Callable[[Version], Predictor]
    predictor: Predictor | None = None
    failure: str | None = None
    """What a client may know of it."""

    error: Exception | None = None
    is_closed: bool = False
    """Taken out of what is loaded, for good; set by LoadedVersions."""

    waiting: int = 0
    """Threads that wait until it is loaded."""

    last_used: float = field(default_factory=time.monotonic)
    is_loading: bool = False
    """A thread loads it, whether or not anybody still waits for that."""

    _changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def state(self) -> State:
        if self.predictor is not None:
            return "ready"
        return "loading" if self.failure is None else "failed"

    def load(
        self,
        *,
        again: bool = False,
        deadline: float = math.inf,
        settle: Callable[[], None] = lambda: None,
    ) -> Predictor | None:
        """Opened, checked and warm; or None, and the slot has failed, with the reason,
        or is closed.

        A thread of its own loads. All that want it wait for that, until `deadline` of
        time.monotonic() (DeadlinePassed), and share a failure; `again` tries what has
        failed once more. `settle` is called there before they go on.
        """
        with self._changed:
            is_tried = self.error is not None and not again
            # Nobody would ever unload what is loaded into a closed one.
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
                f"version {self.version.number} is still being loaded; ask again with "
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
        self.failure = self.error = None
        try:
            predictor = self.open_predictor(self.version)
        # Whatever it is, it must not leave the version loading for good.
        except BaseException as raised:
            error = raised if isinstance(raised, Exception) else Fault(repr(raised))
            self.error, self.failure = error, public_reason(error)
            known = isinstance(
                error, (*PUBLIC_FAILURES, LoadStopped, StoreUnavailable, OSError)
            )
            logger.error(
                "failed version=%s reason=%s",
                self.version.number,
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
            self.version.number,
            predictor.backend.device,
            time.perf_counter() - started,
        )
        if self.predictor is not predictor:
            self._close(predictor)  # it was taken out meanwhile

    def unload(self) -> None:
        """After what it was asked is answered; or when it is loaded, if it is not."""
        with self._changed:
            self.is_closed = True
            predictor, self.predictor = self.predictor, None
            self._changed.notify_all()
        if predictor is not None:
            self._close(predictor)

    def _close(self, predictor: Predictor) -> None:
        predictor.close()
        # Its memory goes with the last request that still holds it.
        del predictor
        release_freed_memory()
        logger.info("unloaded version=%s", self.version.number)


def load_side_by_side(slots: Sequence[Slot]) -> list[bool]:
    """Whether each is loaded; as many at a time as there are cores.

    By daemons: a process that is told to stop meanwhile waits for none of them.
    """
    loaded = [False] * len(slots)
    left = iter(range(len(slots)))  # of which each thread takes the next

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
    """For who asks for a version that could not be loaded, or who runs the service."""
    kind = VersionFailed if is_final(error) else NotReady
    reason = public_reason(error) if is_public else error
    return kind(f"version {number} cannot be loaded: {reason}")


def is_final(error: Exception) -> bool:
    """Whether the version itself is to blame: another try would end alike."""
    return isinstance(error, PUBLIC_FAILURES) and not isinstance(
        error, DeviceUnavailable
    )


def public_reason(error: Exception) -> str:
    """What a client may know of a failure: no path of ours."""
    if isinstance(error, (*PUBLIC_FAILURES, LoadStopped)):
        return str(error)
    return "its files cannot be read now; the service's log says why"


def release_freed_memory() -> None:
    """glibc keeps what large allocations leave: 63 MB of each ResNet-18 that is loaded.

    Elsewhere (musl) nothing is kept, and there is nothing to do.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except AttributeError:
        return
    trim(0)
