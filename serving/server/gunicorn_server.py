"""gunicorn with our settings: its workers load the versions and serve the app."""

import ctypes
import gc
import logging
import os
import time
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from gevent.socket import wait_read
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.config import KNOWN_SETTINGS
from prometheus_client.multiprocess import mark_process_dead

from classifier.bundle.files import QuantisedBundle
from classifier.console.exits import NotNow, OurFault, WrongUsage, exit_code
from classifier.hardware import usable_cores
from serving.config import METRICS_FOLDER_VARIABLE, ServingConfig
from serving.inference.batcher import RunningBatches
from serving.inference.native import start
from serving.server.supervisor import MOST_WORKERS, WorkerLine

if TYPE_CHECKING:
    from flask import Flask

    from serving.versions.pool import PredictorPool

RESTART_SECONDS = 1.0
"""Between tries to start a worker that cannot be started now."""

NOTIFY_SECONDS = 5.0
"""Between two signs of life of a worker that loads; gunicorn ends it after 30 s."""

logger = logging.getLogger(__name__)


def run_gunicorn(config: ServingConfig, descriptor: int, line: WorkerLine) -> int:
    """Serves on a listening socket until told to stop; returns the exit code."""
    try:
        arbiter = Arbiter(GunicornServer(config, descriptor, line))
        _log_as_we_do()
        arbiter.run()
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else 0
    finally:
        logging.shutdown()
    return 0


def _log_as_we_do() -> None:
    """Lets gunicorn's lines go where ours go: its own handler writes on the event loop,
    and a reader of the log that stalls held up all requests after 590 bad ones."""
    log = logging.getLogger("gunicorn.error")
    log.handlers.clear()
    log.propagate = True


class GunicornServer(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's application. Nothing is loaded before its workers are forked: CUDA and
    SQLite do not survive a fork."""

    def __init__(
        self, config: ServingConfig, descriptor: int, line: WorkerLine
    ) -> None:
        self._config = config
        self._descriptor = descriptor
        self._line = line
        self._worker: Any = None  # gunicorn's, in its process
        self._is_ending = False
        super().__init__()

    def load_config(self) -> None:
        from serving.server import gunicorn_conf  # it patches the process

        settings = {
            **_settings(gunicorn_conf),
            "bind": f"fd://{self._descriptor}",
            "workers": self._config.workers,
            "post_fork": self._note_worker,
            "child_exit": self._forget_worker,
            "graceful_timeout": self._config.graceful_seconds,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> "Flask":
        """In a worker. What cannot be served ends the service, with the reason."""
        try:
            app = self._app()
        except Exception as error:
            code = exit_code(error)
            if code is None:
                logger.exception("a fault of the service")
            self._give_up(error, code or OurFault.exit_code)
        # At the start the workers answer that they are not ready; later on one that
        # cannot answer yet leaves it to those who can.
        while self._line.has_started() and self._loading.is_alive():
            self._worker.notify()
            self._loading.join(NOTIFY_SECONDS)
        return app

    def _app(self) -> "Flask":
        """Imported here: what gunicorn's first process has in memory, each worker has
        again as soon as Python counts references to it."""
        from serving.app import create_app
        from serving.metrics import Metrics
        from serving.versions.loading import open_pool, start_loading
        from serving.worker_sync import Control, service_of_parent

        _bound_freed_memory()
        metrics = Metrics()
        running = RunningBatches(
            usable_cores(),
            processes=self._config.workers,
            counts=self._line.running,
            own=_place(self._worker),
        )
        pool = open_pool(self._config, metrics, running=running)
        control = Control(pool, service=service_of_parent())
        start(partial(self._stop_loads_at_end, pool))
        app = create_app(
            self._config,
            pool=pool,
            control=control,
            metrics=metrics,
            is_draining=self._line.is_draining,
            all_ready=self._line.has_started,
        )
        self._loading = start_loading(
            pool, on_ready=self._announce, on_failure=self._cannot_load
        )
        return app

    def _note_worker(self, arbiter: Any, worker: Any) -> None:
        self._worker = worker

    def _forget_worker(self, arbiter: Any, worker: Any) -> None:
        """Its gauges and its batches; what it counted stays."""
        self._line.running[_place(worker)] = 0
        if METRICS_FOLDER_VARIABLE in os.environ:
            mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # theirs

    def _stop_loads_at_end(self, pool: "PredictorPool") -> None:
        """Tells those who wait for a version that is loading."""
        wait_read(self._line.end)
        self._is_ending = True
        pool.stop_loads()

    def _announce(self) -> None:
        gc.collect()
        gc.freeze()
        self._line.say_ready()

    def _cannot_load(self, error: Exception) -> None:
        if self._is_ending:
            return  # and not for this error
        # Only with --backend torch, and no other day will that work.
        is_wrong = isinstance(error.__cause__, QuantisedBundle)
        kind = WrongUsage if is_wrong else NotNow
        self._give_up(error, kind.exit_code)

    def _give_up(self, error: Exception, exit_code: int) -> NoReturn:
        if self._line.has_started():
            # A worker that takes another's place, as the registry is away, or somebody
            # is writing the file of keys: again.
            logger.error("a worker could not start reason=%s", error)
            time.sleep(RESTART_SECONDS)
            os._exit(1)
        self._line.say_failed(str(error), exit_code)
        while True:  # until the first process has ended all
            time.sleep(NOTIFY_SECONDS)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # mallopt(3)


def _bound_freed_memory() -> None:
    """Lets glibc give back what images took: with its defaults a service that decoded
    18 images of 25 megapixels kept 740 MB. Does nothing with other C libraries."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)
        mallopt(_M_MMAP_THRESHOLD, 4 * 2**20)  # a batch of small images is below
        mallopt(_M_TRIM_THRESHOLD, 16 * 2**20)


def _place(worker: Any) -> int:
    """The worker's place in what all processes share."""
    return int(worker.age) % MOST_WORKERS


def _settings(module: ModuleType) -> dict[str, Any]:
    names = {setting.name for setting in KNOWN_SETTINGS} & vars(module).keys()
    return {name: getattr(module, name) for name in names}
