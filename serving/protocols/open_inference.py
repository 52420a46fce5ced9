"""Routes of the Open Inference Protocol, version 2, under /v2."""

from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, Flask, Response, request

from classifier.hardware import BackendKind
from serving.http.answers import JsonAnswer
from serving.http.bodies import (
    MAX_IMAGES,
    SMALL_BODY_BYTES,
    BadRequest,
    read_body,
    read_object,
)
from serving.http.errors import HttpError
from serving.http.service import Service
from serving.inference.predictor import Predictor
from serving.protocols.inference_messages import (
    DECLARED,
    HEADER,
    INPUT,
    read_inference,
    write_inference,
)
from serving.protocols.predict import infer_or_fail
from serving.versions.loaded import VersionStatus
from serving.versions.slot import NotReady, State, VersionFailed

PREFIX = "/v2"

EXTENSIONS = (
    *("binary_tensor_data", "classification", "model_configuration"),
    "model_repository",
)

PLATFORMS: Mapping[BackendKind, str] = {
    "onnx": "onnx_onnxv1",
    "openvino": "onnx_onnxv1",
    "torch": "pytorch_safetensors",
}
"""Platform names `<project>_<format>`; the protocol defines the first."""

STATES: Mapping[State, str] = {
    "ready": "READY",
    "loading": "LOADING",
    "failed": "UNAVAILABLE",
    "available": "UNAVAILABLE",
}

PARAMETERS = frozenset(("version", "unload_dependents"))
"""Accepted parameters; clients always send the second, which has no effect here."""


def add_open_inference(app: Flask, service: Service) -> None:
    routes = Blueprint("open_inference", __name__, url_prefix=PREFIX)

    @routes.before_request
    def check_model() -> None:
        model = (request.view_args or {}).get("model")
        if model is not None:
            service.check_model(model)

    _add_server(routes, service)
    _add_model(routes, service)
    _add_inference(routes, service)
    _add_model_repository(routes, service)
    app.register_blueprint(routes)


def error_document(error: HttpError) -> dict[str, Any]:
    return {"error": error.message}


def _add_server(routes: Blueprint, service: Service) -> None:
    @routes.get("", strict_slashes=False)
    def server() -> dict[str, Any]:
        # The protocol's version; our own is not published.
        return {"name": "flipside", "version": "2", "extensions": EXTENSIONS}

    @routes.get("/health/live")
    def live() -> dict[str, Any]:
        return {"live": True}

    @routes.get("/health/ready")
    def ready() -> dict[str, Any]:
        service.check_ready()
        # The specification has `live` here; its clients read `ready`.
        return {"ready": True, "live": True}

    @routes.get("/models")
    def models() -> dict[str, Any]:
        return {"models": list(service.pool.watch.models)}


def _add_model(routes: Blueprint, service: Service) -> None:
    """Routes about one version; without a name it is the model's default one."""
    pool = service.pool

    def get(model: str, version: str | None) -> Predictor:
        name = asked(service, model, version)
        return pool.get(name, deadline=service.deadline(request))

    @routes.get("/models/<model>")
    @routes.get("/models/<model>/versions/<version>")
    def model_metadata(model: str, version: str | None = None) -> dict[str, Any]:
        served = [s.version for s in pool.statuses() if s.is_served]
        numbers = [v.number for v in served if v.model == model]
        return metadata(get(model, version), numbers)

    @routes.get("/models/<model>/ready")
    @routes.get("/models/<model>/versions/<version>/ready")
    def model_ready(model: str, version: str | None = None) -> dict[str, Any]:
        status = pool.served_status(asked(service, model, version))
        if status.state != "ready":
            why = f": {status.reason}" if status.reason else ""
            kind = VersionFailed if status.is_final else NotReady
            raise kind(f"version {status.version.name} is {status.state}{why}")
        return {"name": model, "ready": True}

    @routes.get("/models/<model>/config")
    @routes.get("/models/<model>/versions/<version>/config")
    def model_config(model: str, version: str | None = None) -> dict[str, Any]:
        return configuration(get(model, version))


def asked(service: Service, model: str, version: str | None) -> str | None:
    """The name of a model's version, or of its default one. Raises UnknownVersion."""
    names = service.pool.names
    return (
        names.default_of(model) if version is None else names.of_model(model, version)
    )


def metadata(predictor: Predictor, versions: Sequence[str]) -> dict[str, Any]:
    """The declared tensors. Also accepted: input BYTES [-1]; also available: output
    `logits`."""
    height, width = predictor.size
    classes = len(predictor.bundle.labels)
    return {
        "name": predictor.version.model,
        "versions": versions,
        "platform": PLATFORMS[predictor.backend.name],
        "inputs": [
            {"name": INPUT, "datatype": "UINT8", "shape": [-1, height, width, 3]}
        ],
        "outputs": [
            {"name": name, "datatype": "FP32", "shape": [-1, classes]}
            for name in DECLARED
        ],
    }


def configuration(predictor: Predictor) -> dict[str, Any]:
    """The configuration in Triton's format, whose shapes have no batch dimension."""
    classes = len(predictor.bundle.labels)
    return {
        "name": predictor.version.model,
        "platform": PLATFORMS[predictor.backend.name],
        # Limit of a request; the batches of the network are cut from the queue.
        "max_batch_size": MAX_IMAGES,
        "input": [
            {
                "name": INPUT,
                "data_type": "TYPE_UINT8",
                "format": "FORMAT_NHWC",
                "dims": [*predictor.size, 3],
            }
        ],
        "output": [
            {"name": name, "data_type": "TYPE_FP32", "dims": [classes]}
            for name in DECLARED
        ],
        "dynamic_batching": {},
    }


def _add_inference(routes: Blueprint, service: Service) -> None:
    @routes.post("/models/<model>/infer")
    @routes.post("/models/<model>/versions/<version>/infer")
    def infer(model: str, version: str | None = None) -> Response:
        deadline = service.deadline(request)
        body = read_body(request, deadline=deadline)
        with service.admission:
            inference = read_inference(body, request.headers.get(HEADER))
            # The version is resolved, and maybe loaded, after the body has arrived.
            name = asked(service, model, version)
            (predictor,) = service.predictors([name], deadline=deadline)
            if inference.timeout_seconds is not None:
                deadline = service.deadline(request, most=inference.timeout_seconds)
            answer = infer_or_fail(
                inference.images_at(*predictor.size),
                predictor,
                decode=service.decode(request, deadline),
                deadline=deadline,
                shadow=service.shadow,
            )
            body, json_length = write_inference(inference, predictor, answer)
        if json_length is None:
            return JsonAnswer(body)
        return Response(
            body,
            headers={HEADER: str(json_length)},
            mimetype="application/octet-stream",
        )


def _add_model_repository(routes: Blueprint, service: Service) -> None:
    pool, control = service.pool, service.control

    @routes.post("/repository/index")
    def index() -> list[dict[str, Any]]:
        wants_ready = _document().get("ready") is True
        statuses = pool.loaded() if wants_ready else pool.statuses()
        return [_entry(status) for status in statuses]

    @routes.post("/repository/models/<model>/load")
    def load(model: str) -> dict[str, Any]:
        """Without a version: all of the model that were served at the start."""
        version, names = _version(), pool.names
        wanted = names.wanted(model)
        for name in wanted if version is None else [names.of_model(model, version)]:
            control.add(name)
        return {}

    @routes.post("/repository/models/<model>/unload")
    def unload(model: str) -> dict[str, Any]:
        """Without a version: all of the model that are in memory."""
        version = _version()
        loaded = [s.version.name for s in pool.loaded() if s.version.model == model]
        for name in (
            loaded if version is None else [pool.names.of_model(model, version)]
        ):
            control.remove(name)
        return {}


def _entry(status: VersionStatus) -> dict[str, Any]:
    reason = status.reason or ""
    if status.state == "available":
        how = "loaded when it is first asked for" if status.is_served else "not served"
        reason = f"in the registry, {how}"
    return {
        "name": status.version.model,
        "version": status.version.number,
        "state": STATES[status.state],
        "reason": reason,
    }


def _version() -> str | None:
    """The version in the body's parameters, else in the query."""
    parameters = _document().get("parameters", {})
    if not isinstance(parameters, dict):
        raise BadRequest("the parameters are no object; they may have a version")
    unknown = set(parameters) - PARAMETERS
    if unknown:
        raise BadRequest(
            f"the parameters have {', '.join(sorted(unknown))!r:.80}; versions come "
            f"from the registry as they are, and only a version may be named"
        )
    version = parameters.get("version", request.args.get("version"))
    if version is not None and type(version) not in (str, int):
        raise BadRequest(f"the version is {version!r:.40}; name it as 'v8' or '8'")
    return None if version is None else str(version)


def _document() -> Mapping[str, Any]:
    """The JSON object of the body; an empty body is an empty object."""
    # This needs no place of `Admission`: it is small and makes no prediction.
    return read_object(read_body(request, most=SMALL_BODY_BYTES) or b"{}")
