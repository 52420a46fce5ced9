"""MLflow's scoring contract, as the clients of `mlflow models serve` speak it."""

from importlib.metadata import PackageNotFoundError, version

import orjson
from flask import Blueprint, Flask, Request, Response, request

from serving.answers import ask_whole
from serving.bodies import ImageArray
from serving.body_reader import BadRequest, UnsupportedMediaType, read_body
from serving.mlflow_payload import read_payload
from serving.problems import Problem
from serving.service import Service

PATHS = frozenset(("/ping", "/health", "/version", "/invocations"))
"""Their errors are told in MLflow's shape."""

ERROR_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""MLflow's names; all others are BAD_REQUEST."""


def add_mlflow_scoring(app: Flask, service: Service) -> None:
    routes = Blueprint("mlflow_scoring", __name__)
    spoken = _mlflow_version()

    @routes.get("/ping")
    @routes.get("/health")
    def ping() -> Response:
        # 503 where MLflow says 404: its clients take any but 200 as "not yet", and a
        # load balancer takes 404 as "no such route".
        service.check_ready()
        return _answer(b"\n")

    @routes.get("/version")
    def version_() -> Response:
        return _answer(spoken.encode())

    @routes.post("/invocations")
    def invocations() -> Response:
        _check_head(request)
        with service.admission.place():
            deadline = service.deadline(request)
            payload = read_payload(read_body(request, deadline=deadline))
            (predictor,) = service.predictors([payload.version], deadline=deadline)
            # One that cannot be read fails them all, and the message names it: the
            # contract has no place for the error of one image.
            answer = ask_whole(
                payload.images,
                predictor,
                decode=service.decode(request, deadline),
                deadline=deadline,
            )
            if isinstance(payload.images, ImageArray):
                logits = answer.logits.tolist()
                predictions: object = {"logits": logits}  # as MLflow's does
            else:
                predictions = [best for (best,) in predictor.top(answer.logits, 1)]
        return _answer(orjson.dumps({"predictions": predictions}))

    app.register_blueprint(routes)


def render(problem: Problem) -> Response:
    """As MLflow tells an error: `{"error_code": …, "message": …}`."""
    code = ERROR_CODES.get(problem.status, "BAD_REQUEST")
    if problem.code == "version_failed":
        code = "INVALID_STATE"  # nothing that is temporary, which 503 would be
    body = orjson.dumps({"error_code": code, "message": problem.message})
    answer = _answer(body, problem.status)
    answer.headers.update(problem.headers)
    return answer


def _check_head(request: Request) -> None:
    """Before the body is read: BadRequest, UnsupportedMediaType."""
    if request.args:
        raise BadRequest(
            "POST /invocations takes no query; a version is asked for in the body, "
            '"params": {"version": "16"}'
        )
    kind, *parameters = request.headers.get("Content-Type", "").lower().split(";")
    wrong = [p for p in parameters if p.strip().replace('"', "") != "charset=utf-8"]
    if kind.strip() not in ("", "application/json") or wrong:
        raise UnsupportedMediaType(
            "a body that is not sent as application/json in UTF-8; its header is "
            "'Content-Type: application/json', images are base64 in it (POST /predict "
            "takes files)"
        )


def _answer(body: bytes, status: int = 200) -> Response:
    return Response(body, status, mimetype="application/json")


def _mlflow_version() -> str:
    """Of the MLflow whose contract this is; its registry is read with the same."""
    try:
        return version("mlflow-skinny")
    except PackageNotFoundError:
        return version("mlflow")
