"""`python -m serving`: answer over HTTP until told to stop."""

import sys

from serving.config import ServingConfig, parse_arguments
from serving.shared_metrics import shared_metrics

NOT_NOW = 3


def main(arguments: list[str]) -> int:
    config = parse_arguments(arguments)
    with shared_metrics(config.workers):
        return _serve(config)


def _serve(config: ServingConfig) -> int:
    # Not before: prometheus_client looks for the folder when it is imported.
    from serving.gunicorn_server import AddressUnavailable, GunicornServer
    from serving.request_log import configure_logging

    configure_logging(config.log_format)
    try:
        server = GunicornServer(config)
    except AddressUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return NOT_NOW
    return server.serve()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
