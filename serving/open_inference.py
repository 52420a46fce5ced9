"""The Open Inference Protocol, version 2: its routes, below /v2."""

from functools import cache
from typing import Any

import orjson
from flask import Blueprint, Flask, Response, request

from serving.answers import ask_whole
from serving.body_reader import read_body
from serving.inference_request import HEADER, read_inference
from serving.inference_response import write_inference
from serving.model_metadata import configuration, metadata
from serving.model_repository import add_model_repository
from serving.model_statistics import statistics
from serving.predictor import Predictor
from serving.problems import Problem
from serving.service import Service
from serving.slot import NotReady, VersionFailed

PREFIX = "/v2"

EXTENSIONS = (
    *("binary_tensor_data", "classification", "model_configuration"),
    *("model_repository", "statistics"),
)


def add_open_inference(app: Flask, service: Service) -> None:
    routes = Blueprint("open_inference", __name__, url_prefix=PREFIX)

    @routes.before_request
    def check_model() -> None:
        asked = (request.view_args or {}).get("model")
        if asked is not None:
            service.check_model(asked)

    _add_server(routes, service)
    _add_model(routes, service)
    _add_inference(routes, service)
    add_model_repository(routes, service)
    app.register_blueprint(routes)


def render(problem: Problem) -> Response:
    """The protocol's shape of an error."""
    body = orjson.dumps({"error": problem.message})
    answer = Response(body, problem.status, mimetype="application/json")
    answer.headers.update(problem.headers)
    return answer


def _add_server(routes: Blueprint, service: Service) -> None:
    @routes.get("", strict_slashes=False)
    def server() -> dict[str, Any]:
        # The version is the protocol's: what we are made of is nobody's business.
        return {"name": "flipside", "version": "2", "extensions": EXTENSIONS}

    @routes.get("/health/live")
    def live() -> dict[str, Any]:
        return {"live": True}

    @routes.get("/health/ready")
    def ready() -> dict[str, Any]:
        service.check_ready()
        # The protocol's text has `live` where its clients read `ready`.
        return {"ready": True, "live": True}

    @routes.get("/models")
    def models() -> dict[str, Any]:
        return {"models": [service.pool.model]}


def _add_model(routes: Blueprint, service: Service) -> None:
    """What there is to know of one version, the default one where none is named."""
    pool = service.pool

    def get(version: str | None) -> Predictor:
        return pool.get(version, deadline=service.deadline(request))

    @routes.get("/models/<model>")
    @routes.get("/models/<model>/versions/<version>")
    def model_metadata(model: str, version: str | None = None) -> dict[str, Any]:
        served = [s.version.number for s in pool.statuses() if s.is_served]
        return metadata(get(version), served)

    @routes.get("/models/<model>/ready")
    @routes.get("/models/<model>/versions/<version>/ready")
    def model_ready(model: str, version: str | None = None) -> dict[str, Any]:
        status = pool.served_status(version)
        if status.state != "ready":
            why = f": {status.reason}" if status.reason else ""
            kind = VersionFailed if status.is_final else NotReady
            raise kind(f"version {status.version.number} is {status.state}{why}")
        return {"name": model, "ready": True}

    @routes.get("/models/<model>/config")
    @routes.get("/models/<model>/versions/<version>/config")
    def model_config(model: str, version: str | None = None) -> dict[str, Any]:
        return configuration(get(version))

    @routes.get("/models/stats")
    @routes.get("/models/<model>/stats")
    @routes.get("/models/<model>/versions/<version>/stats")
    def stats(model: str = "", version: str | None = None) -> dict[str, Any]:
        asked = pool.loaded() if version is None else [pool.served_status(version)]
        samples = service.metrics.samples()
        return {
            "model_stats": [
                statistics(samples, model=pool.model, version=status.version.number)
                for status in asked
            ]
        }


def _add_inference(routes: Blueprint, service: Service) -> None:
    @routes.post("/models/<model>/infer")
    @routes.post("/models/<model>/versions/<version>/infer")
    def infer(model: str, version: str | None = None) -> Response:
        @cache
        def predictor_() -> Predictor:
            (found,) = service.predictors([version], deadline=deadline)
            return found

        with service.admission.place():
            deadline = service.deadline(request)
            # The version is looked for, and maybe loaded, when the body is there.
            asked = read_inference(
                read_body(request, deadline=deadline),
                request.headers.get(HEADER),
                size=lambda: predictor_().size,
            )
            predictor = predictor_()
            if asked.timeout_seconds is not None:
                deadline = service.deadline(request, most=asked.timeout_seconds)
            answer = ask_whole(
                asked.images,
                predictor,
                decode=service.decode(request, deadline),
                deadline=deadline,
            )
            body, json_length = write_inference(asked, predictor, answer)
        if json_length is None:
            return Response(body, mimetype="application/json")
        return Response(
            body,
            headers={HEADER: str(json_length)},
            mimetype="application/octet-stream",
        )
