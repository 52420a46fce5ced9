"""One line for each request, with the id that its answer names; and one metric."""

import logging
import random
import re
import time
from typing import Any

from flask import Flask, Response, g, request
from pythonjsonlogger.orjson import OrjsonFormatter

from classifier.plain_text import PlainFormatter, printable_lines
from serving.config import LogFormat
from serving.log_writer import LogWriter
from serving.metrics import Metrics

logger = logging.getLogger(__name__)

PROBES = ("/livez", "/readyz", "/metrics", "/ping", "/health", "/v2/health/")
"""Asked every few seconds, and logged where the answer is no."""


class JsonFormatter(OrjsonFormatter):
    """JSON escapes few control characters, and has no room for surrogates."""

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        return {
            name: printable_lines(value) if isinstance(value, str) else value
            for name, value in log_data.items()
        }


def configure_logging(kind: LogFormat) -> None:
    """To standard error, for the whole process."""
    handler = LogWriter()
    if kind == "json":
        handler.setFormatter(
            JsonFormatter(
                "{asctime}{levelname}{name}{message}",
                style="{",
                rename_fields={"asctime": "time", "levelname": "level"},
            )
        )
    else:
        handler.setFormatter(
            PlainFormatter("%(asctime)s %(levelname)s %(name)s %(message)s")
        )
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def add_request_log(app: Flask, metrics: Metrics) -> None:
    """Gives each request an id: `g.request_id`, the answer's X-Request-ID."""

    @app.before_request
    def begin() -> None:
        g.started = time.perf_counter()
        given = request.headers.get("X-Request-ID", "")
        ours = re.fullmatch(r"[\w.:-]{1,128}", given, re.ASCII) is None
        g.request_id = f"{random.getrandbits(128):032x}" if ours else given
        g.versions = ()

    @app.after_request
    def end(response: Response) -> Response:
        response.headers["X-Request-ID"] = g.request_id
        seconds = time.perf_counter() - g.started
        route = "none" if request.url_rule is None else request.url_rule.rule
        status = response.status_code
        for version in g.versions or ("",):
            metrics.requests.labels(route, version, status).inc()
        metrics.request_seconds.labels(route).observe(seconds)
        if status < 400 and request.path.startswith(PROBES):
            return response
        logger.info(
            # As a literal: %0A in a path would begin a line of its own.
            "request method=%s path=%r status=%d ms=%.1f id=%s",
            request.method,
            request.path,
            status,
            1000 * seconds,
            g.request_id,
            extra={
                "method": request.method,
                "path": request.path,
                "status": status,
                "ms": round(1000 * seconds, 1),
                "request_id": g.request_id,
                "versions": list(g.versions),
            },
        )
        return response
