"""`python -m serving`: answer over HTTP until it is stopped."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from classifier.console.exits import INTERRUPTED, report_failure
from serving.config import METRICS_FOLDER_VARIABLE, ServingConfig, parse_arguments

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
    # Imported here: after the metrics folder is set, and not for --help.
    from serving.http.request_log import configure_logging
    from serving.server.gunicorn_server import GunicornServer

    configure_logging(config.log_format)
    return GunicornServer(config).serve()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
