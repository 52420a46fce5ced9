"""`python -m serving`: answer over HTTP until told to stop."""

import gc
import os
import sys

from classifier.console import INTERRUPTED, report_failure
from serving.config import ServingConfig, parse_arguments
from serving.shared_metrics import shared_metrics

_REGISTRY = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""MLflow's own 7 retries of 120 s would let a start wait for minutes where a registry
is down; what asks again is the service itself."""


def main(arguments: list[str]) -> int:
    config = parse_arguments(arguments)
    for name, value in _REGISTRY.items():
        os.environ.setdefault(name, value)
    with shared_metrics(config.workers):
        return _serve(config)


def _serve(config: ServingConfig) -> int:
    # What is imported stays: to look for garbage in it meanwhile took 0.3 s of 1.5.
    gc.disable()
    # Not before: prometheus_client looks for the folder when it is imported.
    from serving.http.request_log import configure_logging
    from serving.server.gunicorn_server import GunicornServer

    gc.enable()

    configure_logging(config.log_format)
    try:
        return GunicornServer(config).serve()
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        return report_failure(error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
