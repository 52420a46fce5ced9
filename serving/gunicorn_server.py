"""Runs the app under gunicorn, in this process and its workers."""

import multiprocessing
import os
import socket
import sys
from typing import Any, NoReturn

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from classifier.bundle import QuantisedBundle
from classifier.registry import StoreUnavailable, UnknownModel
from classifier.versions import UnknownVersion
from serving.app import create_app
from serving.backend import DeviceUnavailable
from serving.config import ServingConfig
from serving.loading import open_pool, start_loading

WRONG_USAGE, NOT_NOW, INTERRUPTED = 2, 3, 130

WORKER_BOOT_ERROR = 3
"""A worker that exits with this stops gunicorn instead of being started again."""


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
        super().__init__()

    def load_config(self) -> None:
        settings: dict[str, Any] = {
            "bind": f"fd://{self._descriptor}",
            "workers": self._config.workers,
            "threads": self._config.threads,
            "worker_class": "gthread",
            "loglevel": "warning",
            # Its socket lies in the home directory, which a container may lack.
            "control_socket_disable": True,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """In a worker. What cannot be served ends all workers, with the reason."""
        try:
            pool = open_pool(self._config)
        except (UnknownModel, UnknownVersion) as error:
            self._give_up(error, WRONG_USAGE)
        except (StoreUnavailable, DeviceUnavailable) as error:
            self._give_up(error, NOT_NOW)
        start_loading(
            pool,
            on_ready=self._announce,
            on_failure=lambda error: self._give_up(
                # Only with --backend torch, and no other day will that work.
                error,
                WRONG_USAGE if isinstance(error, QuantisedBundle) else NOT_NOW,
            ),
        )
        return create_app(self._config, pool=pool)

    def serve(self) -> int:
        """Serves until told to stop; what the process should exit with."""
        arbiter = _Arbiter(self)
        try:
            arbiter.run()
        except SystemExit as stopped:
            if self._exit_code.value == 0 and isinstance(stopped.code, int):
                return INTERRUPTED if arbiter.was_interrupted else stopped.code
        code: int = self._exit_code.value
        return code

    def _announce(self) -> None:
        """In a worker that is ready; the last of them says so."""
        with self._ready_workers.get_lock():
            self._ready_workers.value += 1
            is_last = self._ready_workers.value == self._config.workers
        if is_last:
            print(f"serving on http://{self._address}", flush=True)

    def _give_up(self, error: Exception, exit_code: int) -> NoReturn:
        self._exit_code.value = exit_code
        print(f"error: {error}", file=sys.stderr, flush=True)
        # Not sys.exit: also from the thread that loads, the whole worker must end.
        os._exit(WORKER_BOOT_ERROR)


class _Arbiter(Arbiter):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's, which forgets whether Ctrl-C ended it."""

    was_interrupted = False

    def handle_int(self) -> None:
        self.was_interrupted = True
        super().handle_int()


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
