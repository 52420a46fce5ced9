"""The log: one line and one metric for each request, and the writer of lines."""

import logging
import os
import random
import re
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any

from flask import Flask, Response, g, request
from pythonjsonlogger.orjson import OrjsonFormatter

from classifier.console.text import PlainFormatter, printable_lines
from serving.config import LogFormat
from serving.metrics import Metrics

GATHER_SECONDS = 0.05
"""Records of this time are written together; a kill loses them. A warning is written
at once by the thread that logs it, with all earlier records."""

MOST_RECORDS = 10_000
"""With more records than this, the logging thread writes them itself."""


class LogWriter(logging.Handler):
    """Writes to standard error in a thread; a request takes no lock to log.

    logging's own handler holds a lock while it writes: with 64 connections two of five
    threads waited for it (docs/decisions.md).
    """

    def __init__(self) -> None:
        self._begin()
        super().__init__()
        # After a fork the thread is gone and a lock may stay held; the parent writes
        # the records from before the fork.
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._records: deque[logging.LogRecord] = deque()
        self._wake = threading.Event()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None

    def createLock(self) -> None:  # noqa: N802 (logging's name)
        self.lock = None  # appending to a deque needs none

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)
        if record.levelno >= logging.WARNING or len(self._records) > MOST_RECORDS:
            self.flush()
        elif not self._wake.is_set():
            self._wake.set()
            if self._thread is None:
                self._start()

    def flush(self) -> None:
        with self._writing:
            lines = []
            while self._records:
                record = self._records.popleft()
                try:
                    lines.append(f"{self.format(record)}\n")
                except Exception:
                    self.handleError(record)
            if lines:
                # A full disk or a closed pipe must end neither the thread nor the
                # request; logging's own handlers are silent too.
                with suppress(OSError, ValueError):
                    sys.stderr.write("".join(lines))
                    sys.stderr.flush()

    def _start(self) -> None:
        with self._writing:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="log-writer", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        gathered = threading.Event()  # never set
        while True:
            self._wake.wait()
            gathered.wait(GATHER_SECONDS)
            self._wake.clear()
            self.flush()


logger = logging.getLogger(__name__)

PROBES = ("/livez", "/readyz", "/metrics", "/ping", "/health", "/v2/health/")
"""Paths that are polled every few seconds; logged only if the answer is an error."""


class JsonFormatter(OrjsonFormatter):
    """Escapes control characters and surrogates, which orjson leaves or refuses."""

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        return {
            name: printable_lines(value) if isinstance(value, str) else value
            for name, value in log_data.items()
        }


def configure_logging(kind: LogFormat) -> None:
    """Logs the whole process to standard error."""
    formatter: logging.Formatter = PlainFormatter(
        "%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    if kind == "json":
        formatter = JsonFormatter(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level"},
        )
    handler = LogWriter()
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def add_request_log(app: Flask, metrics: Metrics) -> None:
    """Logs each request and gives it an id: `g.request_id`, header X-Request-ID."""

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
