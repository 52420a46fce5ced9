"""GET /comparisons: what compare logged about the served models, for the page."""

import logging
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict

import orjson
from flask import Flask, Response

from classifier.store.comparisons import (
    MATRIX,
    PICTURES,
    REPORT,
    LoggedComparison,
    read_comparisons,
)
from classifier.store.location import StoreUnavailable
from classifier.store.registry import Registry
from serving.http.answers import JsonAnswer
from serving.http.errors import NotHere
from serving.http.service import Service
from serving.inference.native import start
from serving.versions.registry_watch import ask_store
from serving.versions.slot import NotReady

FILES: Mapping[str, tuple[str, str]] = {
    "report": (REPORT, "text/html"),
    "matrix": (MATRIX, "text/html"),
    "pictures": (PICTURES, "application/json"),
}
"""Last part of a path, and the artifact and type of what it answers."""

HEADERS = {
    # A report has its script and style in line. It may run them, and reach nothing: in
    # the sandbox it is no page of this service.
    "Content-Security-Policy": (
        "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; "
        "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}

METRICS_SECONDS = 300.0
"""Between two readings of the store for /metrics: it is scraped by every replica."""

logger = logging.getLogger(__name__)


class Comparisons:
    """The logged comparisons, read again after some seconds if somebody asks."""

    def __init__(
        self, registry: Registry, models: tuple[str, ...], *, every_seconds: float
    ) -> None:
        self._registry = registry
        self._models = models
        self._every_seconds = every_seconds
        self._lock = threading.Lock()
        self._next_at = -math.inf
        self._found: list[LoggedComparison] = []

    def latest(self) -> list[LoggedComparison]:
        """The newest first. If the store is away, those of the last reading."""
        with self._lock:
            if time.monotonic() >= self._next_at:
                self._read()
                self._next_at = time.monotonic() + self._every_seconds
            return self._found

    def last(self) -> LoggedComparison | None:
        """The newest of the last reading; matrices are left out. Never waits: where
        that is long ago, another reading begins in the background.
        """
        is_old = time.monotonic() >= self._next_at + METRICS_SECONDS
        if is_old and not self._lock.locked():
            start(self.latest)
        return next((each for each in self._found if each.a and each.b), None)

    def _read(self) -> None:
        try:
            found = ask_store(self._registry, read_comparisons, self._registry)
        except StoreUnavailable as error:
            logger.warning("comparisons not read reason=%s", error)
        else:
            self._found = [each for each in found if each.is_of(self._models)]

    def file(self, run: str, name: str) -> bytes:
        """Raises NotHere, or NotReady if the store is away."""
        if all(run != each.run_id for each in self.latest()):
            raise NotHere(
                f"no comparison {run!r:.80} of the models here; see GET /comparisons"
            )
        try:
            data = ask_store(self._registry, self._read_file, run, name)
        except (StoreUnavailable, OSError) as error:
            logger.warning("comparison run=%s not read reason=%s", run, error)
            raise NotReady(
                "the store of the comparisons cannot be read now; try again soon"
            ) from error
        if data is None:
            raise NotHere(f"comparison {run} has no {name}; see GET /comparisons")
        return data

    def _read_file(self, run: str, name: str) -> bytes | None:
        file = self._registry.file_of_run(run, name)
        return None if file is None else file.read_bytes()


def open_comparisons(service: Service, *, every_seconds: float) -> Comparisons:
    watch = service.pool.watch
    return Comparisons(watch.registry, watch.models, every_seconds=every_seconds)


def compared_images(
    last: LoggedComparison | None,
) -> dict[tuple[str, str, str], dict[str, float | None]]:
    """Images of a comparison by result, for /metrics; empty without one."""
    if last is None or last.a is None or last.b is None:
        return {}
    numbers = last.numbers
    images = {
        "all": numbers["images"],
        "broken": numbers["broken"],
        "fixed": numbers["fixed"],
    }
    return {(last.model or "", last.a.version, last.b.version): images}


def add_comparisons(app: Flask, service: Service, comparisons: Comparisons) -> None:
    @app.get("/comparisons")
    def list_comparisons() -> Response:
        found = [asdict(each) for each in comparisons.latest()]
        body = orjson.dumps({"comparisons": found})
        return JsonAnswer(body)

    @app.get("/comparisons/<run>/<any(report, matrix, pictures):part>")
    def comparison_file(run: str, part: str) -> Response:
        name, kind = FILES[part]
        with service.admission:  # a report has up to 10 MB
            data = comparisons.file(run, name)
        return Response(data, mimetype=kind, headers=HEADERS)
