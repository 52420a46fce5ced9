"""`python -m serving`: answer over HTTP until told to stop."""

import logging
import sys

from serving.config import parse_arguments
from serving.gunicorn_server import AddressUnavailable, GunicornServer

NOT_NOW = 3


def main(arguments: list[str]) -> int:
    config = parse_arguments(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    try:
        server = GunicornServer(config)
    except AddressUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return NOT_NOW
    return server.serve()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
