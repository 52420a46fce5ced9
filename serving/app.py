"""The story of a request: a route takes it in, an answer or an error goes out."""

import logging
import re
import time
import uuid
from typing import Any

import orjson
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from classifier.bundle import BrokenBundle
from classifier.preprocessing import ImageTooLarge, UndecodableImage
from classifier.registry import StoreUnavailable
from classifier.versions import UnknownVersion
from serving.answers import BadTopK, answer
from serving.bodies import (
    MAX_BODY_BYTES,
    BadRequest,
    BodyTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
    read_images,
)
from serving.config import ServingConfig, config_from_environment
from serving.loading import open_pool, start_loading
from serving.predictor_pool import (
    NotReady,
    PredictorPool,
    VersionStatus,
    public_reason,
)

logger = logging.getLogger(__name__)

ERRORS: dict[type[Exception], tuple[int, str]] = {
    BadRequest: (400, "bad_request"),
    BadTopK: (400, "bad_request"),
    UndecodableImage: (400, "undecodable_image"),
    ImageTooLarge: (400, "image_too_large"),
    UnknownVersion: (404, "unknown_version"),
    RequestTimeout: (408, "request_timeout"),
    BodyTooLarge: (413, "body_too_large"),
    UnsupportedMediaType: (415, "unsupported_media_type"),
    NotReady: (503, "not_ready"),
}

HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


def create_app(
    config: ServingConfig | None = None, *, pool: PredictorPool | None = None
) -> Flask:
    """The WSGI app; loads versions in a thread of its own, /readyz tells when done.

    Without `config`, from SERVING_* variables. ValueError for wrong settings,
    StoreUnavailable, UnknownModel or UnknownVersion where the registry lacks what is
    to be served.
    """
    config = config or config_from_environment()
    if pool is None:
        pool = open_pool(config)
        start_loading(pool)
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    _add_routes(app, pool)
    _add_errors(app)
    _add_request_log(app)
    return app


def _add_routes(app: Flask, pool: PredictorPool) -> None:
    @app.post("/predict")
    def predict() -> Response:
        asked, top = _query()
        predictors = [pool.get(version) for version in asked]
        # A version named twice, or by two names, counts once.
        unique = list({p.version.number: p for p in predictors}.values())
        results = answer(read_images(request), unique, top)
        return _json({"model": pool.model, "results": results})

    @app.get("/versions")
    def versions() -> Response:
        entries = [_entry(status) for status in pool.statuses()]
        return _json({"model": pool.model, "versions": entries})

    @app.get("/versions/<asked>")
    def version(asked: str) -> Response:
        status = pool.status(asked)
        labels = pool.bundle(status).labels
        return _json({**_entry(status), "labels": labels.to_json()})

    @app.get("/livez")
    def livez() -> Response:
        return _json({"live": True})

    @app.get("/readyz")
    def readyz() -> Response:
        if pool.start_failure is not None:
            raise NotReady(f"it will not become ready: {pool.start_failure}")
        if not pool.is_ready:
            raise NotReady("the versions to serve are being loaded; try again soon")
        return _json({"ready": True})


def _query() -> tuple[list[str | None], int | None]:
    """The versions asked for ([None] is the default one) and top_k; BadRequest."""
    unknown = set(request.args) - {"version", "top_k"}
    if unknown:
        raise BadRequest(
            f"no such query parameter: {', '.join(sorted(unknown))}; there are "
            "version (repeatable) and top_k"
        )
    text = request.args.get("top_k")
    if text is not None and not re.fullmatch(r"\d{1,6}", text):
        raise BadRequest(f"top_k is {text!r}; it is a whole number from 1")
    asked: list[str | None] = list(request.args.getlist("version"))
    return asked or [None], None if text is None else int(text)


def _entry(status: VersionStatus) -> dict[str, Any]:
    version, predictor = status.version, status.predictor
    tags = version.tags
    dataset = None
    if "dataset_name" in tags:
        dataset = {"name": tags["dataset_name"], "digest": tags.get("dataset_digest")}
    return {
        "version": version.number,
        "state": status.state,
        "reason": status.reason,
        "aliases": list(version.aliases),
        "backend": None if predictor is None else predictor.backend.name,
        "device": None if predictor is None else predictor.backend.device,
        "run_id": version.run_id,
        "epoch": version.epoch,
        "val_top1_accuracy": version.val_top1_accuracy,
        "dataset": dataset,
    }


def _add_errors(app: Flask) -> None:
    def known(error: Exception) -> Response:
        status, code = next(v for kind, v in ERRORS.items() if isinstance(error, kind))
        return _error(status, code, str(error))

    for kind in ERRORS:
        app.register_error_handler(kind, known)

    @app.errorhandler(StoreUnavailable)
    @app.errorhandler(BrokenBundle)
    def unreadable(error: Exception) -> Response:
        logger.error("unreadable version reason=%s", error)
        return _error(503, "not_ready", public_reason(error))

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        status = error.code or 500
        code = HTTP_CODES.get(status, "bad_request" if status < 500 else "internal")
        answer = _error(status, code, _http_message(status))
        for name, value in error.get_headers():
            if name.lower() == "allow":
                answer.headers[name] = value
        return answer

    @app.errorhandler(Exception)
    def internal(_error_: Exception) -> Response:
        logger.exception("internal error id=%s", g.request_id)
        return _error(
            500, "internal", f"a fault of the service, logged as {g.request_id}"
        )


def _http_message(status: int) -> str:
    asked = f"{request.method} {request.path}"
    if status == 404:
        return f"there is no {asked}; there are POST /predict and GET /versions"
    if status == 405:
        return f"{asked} is not allowed; see the Allow header"
    if status == 413:
        return (
            f"the body is over {MAX_BODY_BYTES:,} bytes, or a field of its form that "
            f"is no file is too long; send images as files, in several requests"
        )
    return f"{asked} cannot be understood"


def _add_request_log(app: Flask) -> None:
    @app.before_request
    def begin() -> None:
        g.started = time.perf_counter()
        given = request.headers.get("X-Request-ID", "")
        ours = re.fullmatch(r"[\w.:-]{1,128}", given) is None
        g.request_id = uuid.uuid4().hex if ours else given

    @app.after_request
    def end(response: Response) -> Response:
        response.headers["X-Request-ID"] = g.request_id
        logger.info(
            "request method=%s path=%s status=%d ms=%.1f id=%s",
            request.method,
            request.path,
            response.status_code,
            1000 * (time.perf_counter() - g.started),
            g.request_id,
        )
        return response


def _json(document: object, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, mimetype="application/json")


def _error(status: int, code: str, message: str) -> Response:
    return _json({"error": {"code": code, "message": message}}, status)
