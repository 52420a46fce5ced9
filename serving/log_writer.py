"""Writes the log in a thread of its own, many lines at a time."""

import logging
import os
import sys
import threading
import weakref
from collections import deque
from contextlib import suppress

GATHER_SECONDS = 0.05
"""What is logged meanwhile is written at once. A kill loses as much; a warning is
written, with all that came before it, by who gives it."""

MOST_RECORDS = 10_000
"""Beyond these who logs waits, as for any other log that nobody reads away."""


class LogWriter(logging.Handler):
    """To standard error, without a lock where lines are logged.

    logging's own handler writes within one: under 64 connections two of five threads
    stood before it (docs/decisions.md).
    """

    def __init__(self) -> None:
        self._begin()
        super().__init__()
        # Threads do not survive a fork, locks may be held for ever, and what was to be
        # written is written by the parent.
        this = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _begin(this()))

    def _begin(self) -> None:
        self._records: deque[logging.LogRecord] = deque()
        self._wake = threading.Event()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None

    def createLock(self) -> None:  # noqa: N802 (logging's name)
        self.lock = None  # appending to a deque needs none

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)
        if record.levelno >= logging.WARNING or len(self._records) > MOST_RECORDS:
            self.flush()
        elif not self._wake.is_set():
            self._wake.set()
            if self._thread is None:
                self._start()

    def flush(self) -> None:
        with self._writing:
            lines = []
            while self._records:
                record = self._records.popleft()
                try:
                    lines.append(f"{self.format(record)}\n")
                except Exception:
                    self.handleError(record)
            if lines:
                # A full disk or a reader that is gone must end neither the thread nor
                # the request that logs; logging's own handlers keep silent too.
                with suppress(OSError, ValueError):
                    sys.stderr.write("".join(lines))
                    sys.stderr.flush()

    def _start(self) -> None:
        with self._writing:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="log-writer", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        gathered = threading.Event()  # nobody sets it
        while True:
            self._wake.wait()
            gathered.wait(GATHER_SECONDS)
            self._wake.clear()
            self.flush()


def _begin(writer: LogWriter | None) -> None:
    if writer is not None:
        writer._begin()
