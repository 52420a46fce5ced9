"""The log: one line and one metric for each request, and the writer of lines."""

import logging
import os
import random
import re
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson
from flask import Flask, Response, g
from pythonjsonlogger.orjson import OrjsonFormatter

from classifier.console.text import PlainFormatter, printable_lines
from serving.config import LogFormat
from serving.http.answers import RequestState, this_request
from serving.inference.native import is_patched, run_natively, start
from serving.metrics import Metrics

GATHER_SECONDS = 0.05
"""Records of this time are written together; a kill loses them. A warning is written
at once, with all earlier records."""

MOST_RECORDS = 10_000
"""If nobody reads the log, the oldest of more records than this are lost."""


class LogWriter(logging.Handler):
    """Writes to standard error, many lines at a time; takes no lock.

    On an event loop a greenlet writes by a native thread; elsewhere whoever logs.
    """

    def __init__(self) -> None:
        self._records: deque[logging.LogRecord] = deque(maxlen=MOST_RECORDS)
        self._is_writing = False
        super().__init__()
        # The process that forks writes the records from before the fork.
        os.register_at_fork(after_in_child=self._records.clear)

    def createLock(self) -> None:  # noqa: N802 (logging's name)
        self.lock = None  # appending to a deque needs none

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)
        if not is_patched():
            self.flush()
        elif not self._is_writing:
            self._is_writing = True
            start(self._write)

    def flush(self) -> None:
        _write_out(self._lines())

    def _lines(self) -> str:
        lines = []
        while self._records:
            with suppress(IndexError):  # another was quicker
                record = self._records.popleft()
                try:
                    lines.append(f"{self.format(record)}\n")
                except Exception:
                    self.handleError(record)
        return "".join(lines)

    def _write(self) -> None:
        try:
            while self._records:
                if self._records[-1].levelno < logging.WARNING:
                    time.sleep(GATHER_SECONDS)
                # A reader of the log that stalls must not hold up the requests.
                run_natively(_write_out, self._lines())
        finally:
            self._is_writing = False


def _write_out(text: str) -> None:
    """A full disk or a closed pipe must end neither the writer nor the request;
    logging's own handlers are silent too."""
    if text:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()


logger = logging.getLogger(__name__)

PROBES = ("/livez", "/readyz", "/metrics", "/ping", "/health", "/v2/health/")
"""Paths that are polled every few seconds; logged only if the answer is an error."""


class JsonFormatter(OrjsonFormatter):
    """Escapes control characters and surrogates, which orjson leaves or refuses."""

    def format(self, record: logging.LogRecord) -> str:
        if not isinstance(record, RequestRecord):
            return super().format(record)
        fields = record.fields
        line = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "name": record.name,
            "message": record.getMessage(),
            **fields,
            "method": printable_lines(fields["method"]),
            "path": printable_lines(fields["path"]),
        }
        return orjson.dumps(line).decode()

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


_SAME = vars(
    logging.LogRecord(__name__, logging.INFO, __file__, 0, "request", None, None)
)
"""Fields that the records of all requests share."""


class RequestRecord(logging.LogRecord):
    """One answered request. logging's own way, which looks for the caller, the thread
    and the process, took a tenth of a request's time."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        now = time.time()
        vars(self).update(_SAME, created=now, msecs=now % 1 * 1000)
        self.fields = fields

    def getMessage(self) -> str:  # noqa: N802 (logging's name)
        # The path as a literal: %0A in it would begin a line of its own.
        return (
            "request method={method} path={path!r} status={status} ms={ms} "
            "id={request_id}".format(**self.fields)
        )


def add_request_log(app: Flask, metrics: Metrics) -> None:
    """Logs each request and gives it an id: `g.state`, header X-Request-ID."""

    @app.before_request
    def begin() -> None:
        given = this_request().environ.get("HTTP_X_REQUEST_ID")
        g.state = RequestState(_request_id(given))

    @app.after_request
    def end(response: Response) -> Response:
        asked, state = this_request(), g.state
        seconds = time.perf_counter() - state.started
        versions = [predictor.version.name for predictor in state.predictors]
        response.headers.add("X-Request-ID", state.id)
        route = "none" if asked.url_rule is None else asked.url_rule.rule
        status = response.status_code
        metrics.count_request(route, versions, status, seconds)
        is_probe = status < 400 and asked.path.startswith(PROBES)
        if not is_probe and logger.isEnabledFor(logging.INFO):
            fields = {
                "method": asked.method,
                "path": asked.path,
                "status": status,
                "ms": round(1000 * seconds, 1),
                "request_id": state.id,
                "versions": versions,
            }
            logger.handle(RequestRecord(fields))
        return response


def _request_id(given: str | None) -> str:
    """The client's, if it is plain, else a new one."""
    if given is not None and re.fullmatch(r"[\w.:-]{1,128}", given, re.ASCII):
        return given
    return f"{random.getrandbits(128):032x}"
