"""gunicorn's first process, which starts the workers and ends the service."""

import os
import signal
import threading
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from prometheus_client.multiprocess import mark_process_dead

from serving.shared_metrics import VARIABLE


class ServingArbiter(Arbiter):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's, which remembers Ctrl-C, and drains before it ends.

    gunicorn itself closes the listening socket at once on SIGTERM, while those who
    send requests have not been told yet.
    """

    was_interrupted = False
    _is_halting = False

    def __init__(self, app: Any, *, drain_seconds: float) -> None:
        self._drain_seconds = drain_seconds
        self._drain: threading.Timer | None = None
        super().__init__(app)

    def handle_chld(self) -> None:
        super().handle_chld()
        self.app.say_if_started()

    handle_cld = handle_chld  # as in gunicorn: it takes whichever name it finds first

    def halt(self, *args: Any, **kwargs: Any) -> None:
        self._is_halting = True
        super().halt(*args, **kwargs)

    def reap_workers(self) -> None:
        """Also of several workers that could not start; gunicorn ends at the second
        with a traceback."""
        while True:
            try:
                return super().reap_workers()  # type: ignore[no-any-return]
            except HaltServer:
                if not self._is_halting:
                    raise

    def handle_int(self) -> None:
        self.was_interrupted = True
        super().handle_int()

    def handle_term(self) -> None:
        """The first begins to drain; the second, or the end of that time, ends."""
        self.app.drain()
        if self._drain_seconds == 0 or self._drain is not None:
            super().handle_term()
        self._drain = threading.Timer(
            self._drain_seconds, os.kill, (os.getpid(), signal.SIGTERM)
        )
        self._drain.daemon = True
        self._drain.start()


def give_place(arbiter: Arbiter, worker: Any) -> None:
    arbiter.app.give_place(worker)


def forget_worker(arbiter: Arbiter, worker: Any) -> None:
    """Its place and its gauges; what it counted stays."""
    arbiter.app.take_place(worker)
    if VARIABLE in os.environ:
        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # theirs
