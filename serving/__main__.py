"""`python -m serving`: answer over HTTP until it is stopped."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from classifier.console.exits import INTERRUPTED, report_failure
from serving.config import METRICS_FOLDER_VARIABLE, ServingConfig, parse_arguments
from serving.server.supervisor import Supervisor, WorkerLine

# MLflow reads these from the environment alone. With its defaults, 7 retries of 120 s,
# a start would wait for minutes while a registry is down; the service itself retries.
_MLFLOW_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def main(arguments: list[str]) -> int:
    """Serve, and return the exit code."""
    config = parse_arguments(arguments)
    for name, value in _MLFLOW_SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        with _metrics_folder(config.workers):
            return _serve(config)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        return report_failure(error)


@contextmanager
def _metrics_folder(workers: int) -> Iterator[None]:
    """Several processes count in the files of one folder; one counts in its memory.

    prometheus_client reads the folder's name from the environment when it is imported.
    The folder is new, because old files in it would be counted.
    """
    if workers == 1 or METRICS_FOLDER_VARIABLE in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="flipside-metrics-") as folder:
        os.environ[METRICS_FOLDER_VARIABLE] = folder
        yield


def _serve(config: ServingConfig) -> int:
    supervisor = Supervisor(
        host=config.host,
        port=config.port,
        workers=config.workers,
        drain_seconds=config.drain_seconds,
    )
    return supervisor.serve(partial(_gunicorn, config))


def _gunicorn(config: ServingConfig, descriptor: int, line: WorkerLine) -> int:
    """In a process of its own, which gevent patches before it imports anything else;
    after the metrics folder is set."""
    from serving.server import gunicorn_conf  # noqa: F401, I001  # the patch

    from serving.http.request_log import configure_logging
    from serving.server.gunicorn_server import run_gunicorn

    configure_logging(config.log_format)
    return run_gunicorn(config, descriptor, line)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
