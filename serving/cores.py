"""How many batches a process runs at once, and whether one has all cores to itself."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Cores:
    """Shared by all versions of a process."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._changed = threading.Lock()
        self._running = 0

    @contextmanager
    def batch(self) -> Iterator[bool]:
        """While a batch runs; whether it was alone when it began."""
        with self._changed:
            self._running += 1
            is_alone = self._running == 1
        try:
            yield is_alone
        finally:
            with self._changed:
                self._running -= 1
