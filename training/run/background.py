"""One thread that does in order, and never more than one job behind."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar

from classifier.store.location import StoreUnavailable


class Background:
    """Work beside the training; a context manager that waits for it at the end.

    At most one job is under way and one waits, with who brought it: so memory holds two
    checkpoints at most, and no error is lost. What was brought is done, even if who
    brought it is interrupted.
    """

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._last: Future[None] | None = None
        self.seconds_busy = 0.0
        """Of the thread, in all jobs."""

        self.seconds_waited = 0.0
        """That who brought a job stood still for the one before."""

    def submit(self, job: Callable[[], None]) -> None:
        """Returns when the job before is done; raises what it raised, and then this
        one is not begun."""
        before = self._last
        self._last = self._thread.submit(self._run, job, before)
        self._wait_for(before)

    def wait(self) -> None:
        """Until nothing is under way; raises what the last job raised."""
        self._wait_for(self._last)

    def _wait_for(self, job: Future[None] | None) -> None:
        if job is None:
            return
        started = time.perf_counter()
        try:
            job.result()
        finally:
            self.seconds_waited += time.perf_counter() - started

    def _run(self, job: Callable[[], None], before: Future[None] | None) -> None:
        if before is not None and before.exception() is not None:
            return
        started = time.perf_counter()
        try:
            job()
        finally:
            self.seconds_busy += time.perf_counter() - started

    def __enter__(self) -> "Background":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What ends the run is told; what is under way is finished all the same.
        self._thread.shutdown()
        if kind is None:
            self.wait()


T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long, and how often."""

    seconds: float = 600.0
    """From the first failure on: a server that restarts, someone who frees a disk."""

    longest_pause_seconds: float = 20.0
    given_up: threading.Event = field(default_factory=threading.Event)
    """Set, nothing is tried again."""

    def insist(self, work: Callable[[bool], T], *, what: str) -> T:
        """What `work(again)` gives, once it is done.

        The last StoreUnavailable or OSError when patience is over.

        `again` is True from the second time on: parts may be done already.
        """
        again, pause, until = False, 1.0, time.monotonic() + self.seconds
        while True:
            try:
                return work(again)
            except (StoreUnavailable, OSError) as error:
                if again is False:
                    until = time.monotonic() + self.seconds
                left = until - time.monotonic()
                if left <= 0 or self.given_up.is_set():
                    raise
                logger.warning(
                    "cannot %s yet: %s; trying again for %.0f s", what, error, left
                )
            again = True
            self.given_up.wait(min(pause, left))
            pause = min(2 * pause, self.longest_pause_seconds)
