"""Runs the app under gunicorn, in this process and its workers."""

import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.sharedctypes import RawArray, RawValue
from typing import Any, NoReturn

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from prometheus_client.multiprocess import mark_process_dead

from classifier.bundle.files import QuantisedBundle
from classifier.console.exits import (
    INTERRUPTED,
    NotNow,
    OurFault,
    WrongUsage,
    exit_code,
)
from classifier.console.text import error_line
from serving.app import create_app
from serving.config import METRICS_FOLDER_VARIABLE, ServingConfig
from serving.http.bodies import STALL_SECONDS
from serving.metrics import Metrics
from serving.versions.loading import open_pool, start_loading
from serving.worker_sync import Control, service_of_parent


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
    if METRICS_FOLDER_VARIABLE in os.environ:
        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # theirs


WORKER_BOOT_ERROR = 3
"""A worker that exits with this stops gunicorn instead of being started again."""


RESTART_SECONDS = 1.0
"""Between tries to start a worker that cannot be started now."""

logger = logging.getLogger(__name__)


class AddressUnavailable(NotNow, RuntimeError):
    """The port is taken, or the address is not this machine's."""


class GunicornServer(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn with our settings; it forks workers, and those load the versions.

    Nothing is loaded before the fork: CUDA and SQLite do not survive one.
    """

    def __init__(self, config: ServingConfig) -> None:
        """AddressUnavailable; bound here, as gunicorn would try for five seconds."""
        self._config = config
        listening = _listen(config.host, config.port)
        self._address = _address(listening)
        self._descriptor = listening.detach()  # gunicorn's from here on
        # Shared by all processes, and without locks: a worker that is killed while it
        # holds one would stop all others for ever.
        self._is_taken = [False] * config.workers  # the arbiter's
        self._is_ready = RawArray("b", config.workers)
        self._has_started = RawValue("b", 0)
        self._exit_code = RawValue("i", 0)
        self._draining = RawValue("b", 0)
        self._arbiter = os.getpid()
        self._place: int | None = None
        self._is_loaded = self._is_ending = False
        self._stop_loads: Callable[[], None] = lambda: None
        super().__init__()

    def load_config(self) -> None:
        settings: dict[str, Any] = {
            "bind": f"fd://{self._descriptor}",
            "workers": self._config.workers,
            "threads": self._config.threads,
            "worker_class": "serving.server.worker.ServingWorker",
            "worker_connections": self._config.threads + 1000,
            "pre_fork": give_place,
            "child_exit": forget_worker,
            # What was taken may be worked on, after its body came as late as it may.
            "graceful_timeout": int(self._config.timeout_seconds + STALL_SECONDS) + 5,
            "loglevel": "warning",
            # Nobody may say which part of a path is not to be looked at: from this
            # machine SCRIPT_NAME was taken, and 500 where the path did not begin so.
            "forwarder_headers": "",
            # Its socket lies in the home directory, which a container may lack.
            "control_socket_disable": True,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """In a worker. What cannot be served ends all workers, with the reason."""
        try:
            return self._app()
        except Exception as error:
            code = exit_code(error)
            if code is None:
                logger.exception("a fault of the service")
            self._give_up(error, code or OurFault.exit_code)

    def _app(self) -> Flask:
        metrics = Metrics()
        pool = open_pool(self._config, metrics)
        self._stop_loads = pool.stop_loads
        control = Control(pool, service=service_of_parent())
        start_loading(pool, on_ready=self._announce, on_failure=self._cannot_load)
        return create_app(
            self._config,
            pool=pool,
            control=control,
            metrics=metrics,
            is_draining=self.is_draining,
            all_ready=self.has_started,
        )

    def may_accept(self) -> bool:
        """In a worker. At the start all say that they are not ready yet; later on one
        that cannot answer leaves it to those who can."""
        return self._is_loaded or not self.has_started()

    def has_started(self) -> bool:
        """Whether all workers have been ready at once; it stays so."""
        return bool(self._has_started.value)

    def is_draining(self) -> bool:
        return bool(self._draining.value)

    def drain(self) -> None:
        """From now on /readyz says no, in all workers; all else goes on."""
        self._draining.value = 1

    def serve(self) -> int:
        """Serves until told to stop; what the process should exit with."""
        _allow_files()
        arbiter = ServingArbiter(self, drain_seconds=self._config.drain_seconds)
        try:
            arbiter.run()
        except SystemExit as stopped:
            if self._exit_code.value == 0 and isinstance(stopped.code, int):
                return INTERRUPTED if arbiter.was_interrupted else stopped.code
        code: int = self._exit_code.value
        return code

    def _announce(self) -> None:
        """In a worker that is ready."""
        self._is_loaded = True
        if self._place is not None:
            self._is_ready[self._place] = 1
        with suppress(OSError):  # the arbiter is gone
            os.kill(self._arbiter, signal.SIGCHLD)  # it then looks after its workers

    def say_if_started(self) -> None:
        """In the arbiter, which alone can say it once."""
        if not self.has_started() and all(self._is_ready):
            self._has_started.value = 1
            print(f"serving on http://{self._address}", flush=True)

    def give_place(self, worker: Any) -> None:
        """In the arbiter, before the fork: where the worker says that it is ready."""
        free = (n for n, is_taken in enumerate(self._is_taken) if not is_taken)
        worker.place = self._place = next(free, None)  # SIGTTIN makes more workers
        if self._place is not None:
            self._is_taken[self._place] = True

    def take_place(self, worker: Any) -> None:
        """In the arbiter, of a worker that has ended."""
        if worker.place is not None:
            self._is_taken[worker.place] = False
            self._is_ready[worker.place] = 0

    def stop_loads(self) -> None:
        """In a worker that ends: who waits for a version is told."""
        self._is_ending = True
        self._stop_loads()

    def _cannot_load(self, error: Exception) -> None:
        if self._is_ending:
            return  # and not for this error
        # Only with --backend torch, and no other day will that work.
        is_wrong = isinstance(error.__cause__, QuantisedBundle)
        kind = WrongUsage if is_wrong else NotNow
        self._give_up(error, kind.exit_code)

    def _give_up(self, error: Exception, exit_code: int) -> NoReturn:
        if self.has_started():
            # A worker that takes another's place, as the registry is away, or somebody
            # is writing the file of keys: again.
            logger.error("a worker could not start reason=%s", error)
            time.sleep(RESTART_SECONDS)
            os._exit(1)
        self._exit_code.value = exit_code
        print(error_line(str(error)), file=sys.stderr, flush=True)
        # Not sys.exit: also from the thread that loads, the whole worker must end.
        os._exit(WORKER_BOOT_ERROR)


def _allow_files() -> None:
    """As many open files as may be: each connection is one, and shells allow 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise AddressUnavailable(
            f"cannot listen on {host} port {port}: {error.strerror or error}; stop "
            f"what does, or choose another with --port (0 takes a free one)"
        ) from error


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
