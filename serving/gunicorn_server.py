"""Runs the app under gunicorn, in this process and its workers."""

import gc
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from typing import Any, NoReturn

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from prometheus_client.multiprocess import mark_process_dead

from classifier.bundle import QuantisedBundle
from classifier.registry import StoreUnavailable, UnknownModel
from classifier.versions import UnknownVersion
from serving.app import create_app
from serving.backend import DeviceUnavailable
from serving.config import ServingConfig
from serving.control import Control, service_of_parent
from serving.keys import BadKeys
from serving.loading import open_pool, start_loading
from serving.metrics import Metrics
from serving.shared_metrics import VARIABLE

WRONG_USAGE, NOT_NOW, INTERRUPTED = 2, 3, 130

WORKER_BOOT_ERROR = 3
"""A worker that exits with this stops gunicorn instead of being started again."""


RESTART_SECONDS = 1.0
"""Between tries to start a worker that cannot be started now."""

logger = logging.getLogger(__name__)


class AddressUnavailable(RuntimeError):
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
        context = multiprocessing.get_context("fork")
        self._ready_workers = context.Value("i", 0)
        self._exit_code = context.Value("i", 0)
        self._draining = context.Value("b", 0)
        self._is_loaded = False
        super().__init__()

    def load_config(self) -> None:
        settings: dict[str, Any] = {
            "bind": f"fd://{self._descriptor}",
            "workers": self._config.workers,
            "threads": self._config.threads,
            "worker_class": "serving.worker.ServingWorker",
            "worker_connections": self._config.threads + 1000,
            "child_exit": _forget_worker,
            "loglevel": "warning",
            # Its socket lies in the home directory, which a container may lack.
            "control_socket_disable": True,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """In a worker. What cannot be served ends all workers, with the reason."""
        metrics = Metrics()
        try:
            pool = open_pool(self._config, metrics)
        except (UnknownModel, UnknownVersion, BadKeys) as error:
            self._give_up(error, WRONG_USAGE)
        except (StoreUnavailable, DeviceUnavailable) as error:
            self._give_up(error, NOT_NOW)
        control = Control(pool, service=service_of_parent())
        start_loading(
            pool,
            on_ready=self._announce,
            on_failure=lambda error: self._give_up(
                # Only with --backend torch, and no other day will that work.
                error,
                WRONG_USAGE if isinstance(error, QuantisedBundle) else NOT_NOW,
            ),
        )
        return create_app(
            self._config,
            pool=pool,
            control=control,
            metrics=metrics,
            is_draining=self.is_draining,
        )

    def may_accept(self) -> bool:
        """In a worker. At the start all say that they are not ready yet; later on one
        that cannot answer leaves it to those who can."""
        return self._is_loaded or self._ready_workers.value < self._config.workers

    def is_draining(self) -> bool:
        return bool(self._draining.value)

    def drain(self) -> None:
        """From now on /readyz says no, in all workers; all else goes on."""
        self._draining.value = 1

    def serve(self) -> int:
        """Serves until told to stop; what the process should exit with."""
        # So that the workers share what was imported: a collection would write to it.
        gc.collect()
        gc.freeze()
        arbiter = _Arbiter(self, drain_seconds=self._config.drain_seconds)
        try:
            arbiter.run()
        except SystemExit as stopped:
            if self._exit_code.value == 0 and isinstance(stopped.code, int):
                return INTERRUPTED if arbiter.was_interrupted else stopped.code
        code: int = self._exit_code.value
        return code

    def _announce(self) -> None:
        """In a worker that is ready; the last of them says so."""
        self._is_loaded = True
        with self._ready_workers.get_lock():
            self._ready_workers.value += 1
            is_last = self._ready_workers.value == self._config.workers
        if is_last:
            print(f"serving on http://{self._address}", flush=True)

    def _give_up(self, error: Exception, exit_code: int) -> NoReturn:
        if self._ready_workers.value >= self._config.workers:
            # A worker that takes another's place, as the registry is away: again.
            logger.error("a worker could not start reason=%s", error)
            time.sleep(RESTART_SECONDS)
            os._exit(1)
        self._exit_code.value = exit_code
        print(f"error: {error}", file=sys.stderr, flush=True)
        # Not sys.exit: also from the thread that loads, the whole worker must end.
        os._exit(WORKER_BOOT_ERROR)


class _Arbiter(Arbiter):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's, which remembers Ctrl-C, and drains before it ends.

    gunicorn itself closes the listening socket at once on SIGTERM, while those who
    send requests have not been told yet.
    """

    was_interrupted = False

    def __init__(self, app: GunicornServer, *, drain_seconds: float) -> None:
        self._drain_seconds = drain_seconds
        self._drain: threading.Timer | None = None
        super().__init__(app)

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


def _forget_worker(_arbiter: Arbiter, worker: Any) -> None:
    """Its gauges; what it counted stays."""
    if VARIABLE in os.environ:
        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # theirs


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
