"""The story of a request: a route takes it in, an answer or an error goes out."""

import os
import re
from collections.abc import Callable
from typing import Any

import orjson
from flask import Flask, Response, request

from serving.config import ServingConfig, config_from_environment
from serving.http.auth import Keys, add_access
from serving.http.bodies import MAX_BODY_BYTES, BadRequest, read_images
from serving.http.errors import Problem, problem_of
from serving.http.pages import add_pages
from serving.http.request_log import add_request_log
from serving.http.service import Admission, Service
from serving.inference.decoding import Decoder
from serving.metrics import Metrics
from serving.protocols import mlflow_scoring, open_inference
from serving.protocols.predict import predict
from serving.versions.loaded import VersionStatus
from serving.versions.loading import open_pool, start_loading
from serving.versions.pool import PredictorPool
from serving.worker_sync import Control, service_of_parent


def create_app(
    config: ServingConfig | None = None,
    *,
    pool: PredictorPool | None = None,
    control: Control | None = None,
    metrics: Metrics | None = None,
    decoder: Decoder | None = None,
    is_draining: Callable[[], bool] = lambda: False,
    all_ready: Callable[[], bool] = lambda: True,
) -> Flask:
    """The WSGI app; loads versions in a thread of its own, /readyz tells when done.

    Without `config`, from SERVING_* variables. ValueError for wrong settings,
    StoreUnavailable, UnknownModel or UnknownVersion where the registry lacks what is
    to be served.
    """
    config = config or config_from_environment()
    metrics = metrics or Metrics()
    if pool is None:
        pool = open_pool(config, metrics)
        # Under a gunicorn of the user's own, its workers keep in step.
        is_worker = os.environ.get("SERVER_SOFTWARE", "").startswith("gunicorn")
        control = Control(pool, service=service_of_parent() if is_worker else None)
        start_loading(pool)
    admission = Admission(config.threads, seconds_to_wait=pool.seconds_to_wait)
    service = Service(
        pool=pool,
        control=control or Control(pool),
        admission=admission,
        decoder=decoder
        or Decoder(
            max_megapixels=config.max_megapixels,
            # The other half is left for small images.
            most_waiting=max(1, admission.places // 2),
            observe=metrics.decode_seconds.observe,
        ),
        metrics=metrics,
        timeout_seconds=config.timeout_seconds,
        is_draining=is_draining,
        all_ready=all_ready,
    )
    app = Flask(__name__, static_folder=None, template_folder="http/templates")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    add_request_log(app, metrics)
    keys_up = metrics.keys_up.set
    keys = None if config.keys is None else Keys(config.keys, observe=keys_up)
    add_access(app, keys, own_names=config.own_names)
    _add_query_check(app)
    _add_routes(app, service)
    open_inference.add_open_inference(app, service)
    add_pages(app)
    mlflow_scoring.add_mlflow_scoring(app, service)
    _add_errors(app, metrics)
    return app


def _add_query_check(app: Flask) -> None:
    @app.before_request
    def check() -> None:
        try:
            _ = request.args  # read once, and kept
        except UnicodeDecodeError as error:
            raise BadRequest(
                "the URL's query is not UTF-8; write other bytes as %XX"
            ) from error


def _add_routes(app: Flask, service: Service) -> None:
    pool = service.pool

    @app.post("/predict")
    def predict_() -> Response:
        asked, top = _query()
        with service.admission.place():
            deadline = service.deadline(request)
            images = read_images(request, deadline=deadline)
            # Not before: with `all` this may load a version and put another away.
            predictors = service.predictors(asked, deadline=deadline)
            results = predict(
                images,
                predictors,
                top=top,
                decode=service.decode(request, deadline),
                deadline=deadline,
            )
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

    @app.post("/versions/<asked>")
    def load(asked: str) -> Response:
        return _json(_entry(service.control.add(asked)))

    @app.delete("/versions/<asked>")
    def unload(asked: str) -> Response:
        return _json(_entry(service.control.remove(asked)))

    @app.get("/livez")
    def livez() -> Response:
        return _json({"live": True})

    @app.get("/readyz")
    def readyz() -> Response:
        service.check_ready()
        return _json({"ready": True})

    @app.get("/metrics")
    def metrics() -> Response:
        service.metrics.registry_up.set(pool.watch.is_up)
        text = service.metrics.text([_info(status) for status in pool.loaded()])
        return Response(text, mimetype="text/plain; version=0.0.4")


def _query() -> tuple[list[str | None], int | None]:
    """The versions asked for ([None] is the default one) and top_k; BadRequest."""
    unknown = set(request.args) - {"version", "top_k"}
    if unknown:
        raise BadRequest(
            f"no such query parameter: {', '.join(sorted(unknown))}; there are "
            "version (repeatable) and top_k"
        )
    asked: list[str | None] = list(request.args.getlist("version"))
    return asked or [None], _top_k(request.args.getlist("top_k"))


def _top_k(given: list[str]) -> int | None:
    """None where it is not given; BadRequest."""
    if not given:
        return None
    if len(given) > 1:
        raise BadRequest(f"top_k is given {len(given)} times; give it once")
    (text,) = given
    # 99 digits, as Python reads no more than 4,300 of them.
    if not re.fullmatch(r"\d{1,99}", text, re.ASCII):
        raise BadRequest(f"top_k is {text!r:.40}; it is a whole number from 1")
    return int(text)


def _entry(status: VersionStatus) -> dict[str, Any]:
    version, predictor = status.version, status.predictor
    dataset = None
    if version.dataset_name is not None:
        dataset = {"name": version.dataset_name, "digest": version.dataset_digest}
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


def _info(status: VersionStatus) -> dict[str, str]:
    """Labels of the metric `serving_model_info`."""
    assert status.predictor is not None
    return {
        "model": status.version.model,
        "version": status.version.number,
        "alias": ",".join(status.version.aliases),
        "backend": status.predictor.backend.name,
        "device": status.predictor.backend.device,
        "run_id": status.version.run_id or "",
    }


def _add_errors(app: Flask, metrics: Metrics) -> None:
    @app.errorhandler(Exception)
    def problem(error: Exception) -> Response:
        found = problem_of(error)
        if found.status >= 400:
            metrics.rejected.labels(found.code).inc()
        if request.path.startswith(open_inference.PREFIX):
            return open_inference.render(found)
        if request.path in mlflow_scoring.PATHS:
            return mlflow_scoring.render(found)
        return _error(found)


def _json(document: object, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, mimetype="application/json")


def _error(problem: Problem) -> Response:
    body = {"error": {"code": problem.code, "message": problem.message}}
    answer = _json(body, problem.status)
    answer.headers.update(problem.headers)
    return answer
