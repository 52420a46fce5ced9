"""Work beside the training: one thread, jobs in order, and retries of the store."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from classifier.console.exits import error_text
from classifier.store.location import StoreUnavailable

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Background:
    """Runs jobs in one thread; as a context manager it waits for them at its end.

    One job runs, and `submit` blocks while another one waits. So memory holds at most
    two checkpoints. The next call of `submit` or `wait` raises a job's error. A job
    that was submitted is run even if its submitter is interrupted.
    """

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._last: Future[None] | None = None
        self.seconds_busy = 0.0
        """The thread's time in all jobs."""

        self.seconds_waited = 0.0
        """The submitter's time in waiting for earlier jobs."""

    def submit(self, job: Callable[[], None]) -> None:
        """Blocks until the previous job has ended.

        Raises the previous job's error; then `job` is not run.
        """
        previous = self._last
        self._last = self._thread.submit(self._run, job, previous)
        self._wait_for(previous)

    def wait(self) -> None:
        """Blocks until the last job has ended. Raises its error."""
        self._wait_for(self._last)

    def _wait_for(self, job: Future[None] | None) -> None:
        if job is None:
            return
        started = time.perf_counter()
        try:
            job.result()
        finally:
            self.seconds_waited += time.perf_counter() - started

    def _run(self, job: Callable[[], None], previous: Future[None] | None) -> None:
        if previous is not None and previous.exception() is not None:
            return
        started = time.perf_counter()
        try:
            job()
        finally:
            self.seconds_busy += time.perf_counter() - started

    def __enter__(self) -> "Background":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._thread.shutdown()
        # An error of the block is raised, and not that of a job.
        if kind is None:
            self.wait()


@dataclass(frozen=True)
class RetryPolicy:
    """Retries on StoreUnavailable and OSError, with growing pauses."""

    seconds: float = 600.0
    """Counted from the first failure. A server may restart, or a disk be cleared."""

    longest_pause_seconds: float = 20.0
    stop: threading.Event = field(default_factory=threading.Event)
    """Once it is set, nothing is retried and the current pause ends."""

    def call(self, work: Callable[[bool], T], *, action: str) -> T:
        """Returns the result of `work(is_retry)`.

        A retry may find parts done already. Raises the last error when the time is up.
        """
        pause = 1.0
        deadline: float | None = None
        while True:
            try:
                return work(deadline is not None)
            except (StoreUnavailable, OSError) as error:
                deadline = deadline or time.monotonic() + self.seconds
                left = deadline - time.monotonic()
                if left <= 0 or self.stop.is_set():
                    raise
                logger.warning(
                    "cannot %s yet: %s; trying again for %.0f s",
                    action,
                    error_text(error),
                    left,
                )
            self.stop.wait(min(pause, left))
            pause = min(2 * pause, self.longest_pause_seconds)
