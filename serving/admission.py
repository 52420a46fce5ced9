"""How many requests are worked on at once, so that a thread is left for the others."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serving.batcher import overloaded

THREADS_TO_SPARE = 16
"""For probes, for metrics, and for saying no."""


class Admission:
    """A request that finds no place is refused at once.

    gunicorn puts what has no thread in a queue without end, where nothing can be
    refused; so there must be threads left when places are not.
    """

    def __init__(self, threads: int, *, seconds_to_wait: Callable[[], float]) -> None:
        """`seconds_to_wait` is what those who are inside still take."""
        self.places = max(1, threads - THREADS_TO_SPARE)
        self._seconds_to_wait = seconds_to_wait
        self._free = threading.Semaphore(self.places)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Overloaded where there is none."""
        if not self._free.acquire(blocking=False):
            raise overloaded(
                f"{self.places} requests are being worked on, and no more may",
                self._seconds_to_wait(),
            )
        try:
            yield
        finally:
            self._free.release()
