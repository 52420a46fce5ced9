"""The app: routes of its own protocol, other protocols, pages, and errors."""

import os
import re
from collections.abc import Callable
from typing import Any

from flask import Flask, Request, Response, g, request

from classifier.console.exits import WrongUsage
from classifier.store.comparisons import iso_date
from serving.config import ServingConfig, config_from_environment
from serving.http.answers import json_answer, this_request
from serving.http.auth import Keys, add_access
from serving.http.bodies import MAX_BODY_BYTES, BadRequest, read_images
from serving.http.errors import http_error_of
from serving.http.pages import add_pages
from serving.http.request_log import add_request_log
from serving.http.service import Admission, Service
from serving.inference.decoding import Decoder
from serving.inference.native import is_patched, run_natively
from serving.inference.predictor import Proof
from serving.metrics import Metrics, Now
from serving.protocols import mlflow_scoring, open_inference
from serving.protocols.comparisons import (
    Comparisons,
    add_comparisons,
    compared_images,
    open_comparisons,
)
from serving.protocols.flagged import add_flagged
from serving.protocols.predict import named, predict
from serving.shadow.kept import KeptImages, NothingKept
from serving.shadow.shadow import Shadow, open_shadow
from serving.versions.loaded import VersionStatus
from serving.versions.loading import open_pool, start_loading
from serving.versions.pool import PredictorPool
from serving.worker_sync import Control, service_of_parent

WRONG_WORKER = """\
the service runs on an event loop, and this gunicorn worker has none; start it with
    python -m serving
or gunicorn -c python:serving.server.gunicorn_conf "serving.app:create_app()"
or gunicorn -k gevent "serving.app:create_app()\""""


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
    """The WSGI app. A thread loads the versions; /readyz answers 200 when it is done.

    Without `config` the settings are SERVING_* variables. Raises ValueError for wrong
    settings, StoreUnavailable, UnknownModel or UnknownVersion; WrongUsage in a gunicorn
    worker without gevent.
    """
    config = config or config_from_environment()
    metrics = metrics or Metrics()
    if pool is None:
        # The workers of a gunicorn that the user started must serve the same versions.
        is_worker = os.environ.get("SERVER_SOFTWARE", "").startswith("gunicorn")
        if is_worker and not is_patched():
            raise WrongUsage(WRONG_WORKER)
        pool = open_pool(config, metrics)
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
            # The other half of the places stays free for small images.
            most_waiting=max(1, admission.places // 2),
            observe=metrics.decode_seconds.observe,
        ),
        metrics=metrics,
        timeout_seconds=config.timeout_seconds,
        is_draining=is_draining,
        all_ready=all_ready,
        shadow=open_shadow(config, pool, metrics),
    )
    app = _Flask(__name__, static_folder=None, template_folder="http/templates")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    add_request_log(app, metrics)
    keys_up = metrics.keys_up.set
    keys = None if config.keys is None else Keys(config.keys, observe=keys_up)
    add_access(app, keys, own_names=config.own_names)
    _add_query_check(app)
    _add_served_as(app)
    _add_routes(app, service)
    comparisons = open_comparisons(service, every_seconds=config.follow_seconds)
    _add_metrics(app, service, comparisons)
    _add_shadow(app, service.shadow)
    open_inference.add_open_inference(app, service)
    add_comparisons(app, service, comparisons)
    add_flagged(app, service, config.flagged)
    add_pages(app, keeps=config.flagged is not None)
    mlflow_scoring.add_mlflow_scoring(app, service)
    _add_errors(app, metrics)
    return app


class _Flask(Flask):
    """Without coroutines: looking whether a function is one took 4 % of a request."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


def _add_query_check(app: Flask) -> None:
    @app.before_request
    def check() -> None:
        try:
            if request.query_string:
                _ = request.args  # parsed here, and cached by werkzeug
        except UnicodeDecodeError as error:
            raise BadRequest(
                "the URL's query is not UTF-8; write other bytes as %XX"
            ) from error


def _add_served_as(app: Flask) -> None:
    """Answers say what computed them: once, or for each of their versions."""

    @app.after_request
    def say(response: Response) -> Response:
        predictors = g.state.predictors
        if predictors and response.status_code < 400:
            forms = [str(predictor.form) for predictor in predictors]
            is_one = len(set(forms)) == 1
            text = forms[0] if is_one else ", ".join(forms)
            response.headers.add("X-Served-As", text)
        return response


def _add_routes(app: Flask, service: Service) -> None:
    pool = service.pool

    @app.post("/predict")
    def predict_() -> Response:
        asked = this_request()
        names, top = _query(asked)
        deadline = service.deadline(asked)
        images = read_images(asked, deadline=deadline)
        with service.admission:
            # After the body: with `all` this may load one version and unload another.
            predictors = service.predictors(names, deadline=deadline)
            results = predict(
                images,
                predictors,
                top=top,
                decode=service.decode(asked, deadline),
                deadline=deadline,
                shadow=service.shadow,
            )
        model = predictors[0].version.model
        return json_answer({"model": model, "results": results})

    @app.get("/versions")
    def versions() -> Response:
        entries = [_entry(status) for status in pool.statuses()]
        return json_answer({"model": pool.model, "versions": entries})

    @app.get("/versions/<asked>")
    @app.get("/versions/<path:asked>")
    def version(asked: str) -> Response:
        status = pool.status(asked)
        labels = pool.bundle(status).labels
        return json_answer({**_entry(status), "labels": labels.to_json()})

    @app.post("/versions/<asked>")
    @app.post("/versions/<path:asked>")
    def load(asked: str) -> Response:
        return json_answer(_entry(service.control.add(asked)))

    @app.delete("/versions/<asked>")
    @app.delete("/versions/<path:asked>")
    def unload(asked: str) -> Response:
        return json_answer(_entry(service.control.remove(asked)))

    @app.get("/livez")
    def livez() -> Response:
        return json_answer({"live": True})

    @app.get("/readyz")
    def readyz() -> Response:
        service.check_ready()
        return json_answer({"ready": True})


def _add_metrics(app: Flask, service: Service, comparisons: Comparisons) -> None:
    pool = service.pool

    @app.get("/metrics")
    def metrics() -> Response:
        service.metrics.registry_up.set(pool.watch.is_up)
        loaded = pool.loaded()
        rates = {} if service.shadow is None else service.shadow.rates()
        now = Now(
            is_ready=service.is_ready,
            served=[_info(status) for status in loaded],
            flips={s.version.name: proof.flips for s in loaded if (proof := _proof(s))},
            rates={pair: vars(rate) for pair, rate in rates.items()},
            compared=compared_images(comparisons.last()),
        )
        text = service.metrics.text(now)
        return Response(text, mimetype="text/plain; version=0.0.4")


def _add_shadow(app: Flask, shadow: Shadow | None) -> None:
    def kept() -> KeptImages:
        if shadow is None or shadow.kept is None:
            raise NothingKept(
                "this service keeps no images; start it with --shadow VERSION "
                "--shadow-keep FOLDER"
            )
        return shadow.kept

    @app.get("/shadow")
    def shadow_() -> Response:
        return json_answer({"version": None} if shadow is None else shadow.to_json())

    @app.get("/shadow/images")
    def kept_images() -> Response:
        return json_answer({"images": run_natively(kept().entries)})

    @app.get("/shadow/images/<name>")
    def kept_image(name: str) -> Response:
        image = run_natively(kept().image, name)
        # Bytes that a user sent: no browser shall guess what they are, or show them.
        headers = {
            "X-Content-Type-Options": "nosniff",
            "Content-Disposition": "attachment",
        }
        return Response(image, headers=headers, mimetype="application/octet-stream")


def _query(request: Request) -> tuple[list[str | None], int | None]:
    """Requested versions ([None] is the default) and top_k. Raises BadRequest."""
    if not request.query_string:
        return [None], None
    unknown = set(request.args) - {"version", "top_k"}
    if unknown:
        raise BadRequest(
            f"no such query parameter: {', '.join(sorted(unknown))}; there are "
            "version (repeatable) and top_k"
        )
    names: list[str | None] = list(request.args.getlist("version"))
    return names or [None], _top_k(request.args.getlist("top_k"))


def _top_k(given: list[str]) -> int | None:
    """None if it is not given. Raises BadRequest."""
    if not given:
        return None
    if len(given) > 1:
        raise BadRequest(f"top_k is given {len(given)} times; give it once")
    (text,) = given
    # At most 99 digits: int() raises on more than 4,300.
    if not re.fullmatch(r"\d{1,99}", text, re.ASCII):
        raise BadRequest(f"top_k is {text!r:.40}; it is a whole number from 1")
    return int(text)


def _entry(status: VersionStatus) -> dict[str, Any]:
    version, predictor, proof = status.version, status.predictor, _proof(status)
    dataset = None
    if version.dataset_name is not None:
        dataset = {"name": version.dataset_name, "digest": version.dataset_digest}
    return {
        **named(version),
        "state": status.state,
        "reason": status.reason,
        "aliases": list(version.aliases),
        "backend": None if predictor is None else predictor.backend.name,
        "device": None if predictor is None else predictor.backend.device,
        "precision": None if predictor is None else predictor.form.precision,
        "flips": None if proof is None else proof.flips,
        "precision_reason": None if proof is None else proof.reason,
        "run_id": version.run_id,
        "epoch": version.epoch,
        "registered": version.created_ms and iso_date(version.created_ms),
        "val_top1_accuracy": version.val_top1_accuracy,
        "dataset": dataset,
    }


def _proof(status: VersionStatus) -> Proof | None:
    return None if status.predictor is None else status.predictor.proof


def _info(status: VersionStatus) -> dict[str, str]:
    """Labels of the metric `serving_model_info`."""
    assert status.predictor is not None
    return {
        "model": status.version.model,
        "version": status.version.name,
        "alias": ",".join(status.version.aliases),
        "backend": status.predictor.backend.name,
        "device": status.predictor.backend.device,
        "precision": status.predictor.form.precision,
        "run_id": status.version.run_id or "",
    }


def _add_errors(app: Flask, metrics: Metrics) -> None:
    @app.errorhandler(Exception)
    def render(error: Exception) -> Response:
        found = http_error_of(error)
        if found.status >= 400:
            metrics.rejected.labels(found.code).inc()
        if request.path.startswith(open_inference.PREFIX):
            document = open_inference.error_document(found)
        elif request.path in mlflow_scoring.PATHS:
            document = mlflow_scoring.error_document(found)
        else:
            document = {"error": {"code": found.code, "message": found.message}}
        response = json_answer(document, found.status)
        response.headers.update(found.headers)
        return response
