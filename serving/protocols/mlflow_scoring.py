"""MLflow's scoring contract, as the clients of `mlflow models serve` speak it."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import orjson
from flask import Blueprint, Flask, Request, Response, request
from numpy.typing import NDArray

from classifier.inference.predict import top_classes
from serving.http.answers import JsonAnswer
from serving.http.bodies import (
    BadRequest,
    ImageArray,
    UnsupportedMediaType,
    check_count,
    image_file,
    read_body,
)
from serving.http.errors import HttpError
from serving.http.service import Service
from serving.protocols.predict import infer_or_fail

PATHS = frozenset(("/ping", "/health", "/version", "/invocations"))
"""Routes whose errors have MLflow's format."""

ERROR_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""MLflow's error codes by HTTP status; any other status is BAD_REQUEST."""

COLUMN = "image"

INPUT = "images"
"""The name of the input in a version's signature."""

HINT = '{"inputs": ["<an image in base64>"]}'


def add_mlflow_scoring(app: Flask, service: Service) -> None:
    routes = Blueprint("mlflow_scoring", __name__)
    spoken = _mlflow_version()

    @routes.get("/ping")
    @routes.get("/health")
    def ping() -> Response:
        # 503, not MLflow's 404: its clients treat any status but 200 as "not yet", and
        # load balancers treat 404 as "no such route".
        service.check_ready()
        return _answer(b"\n")

    @routes.get("/version")
    def version_() -> Response:
        return _answer(spoken.encode())

    @routes.post("/invocations")
    def invocations() -> Response:
        _check_head(request)
        deadline = service.deadline(request)
        body = read_body(request, deadline=deadline)
        with service.admission:
            payload = read_payload(body)
            (predictor,) = service.predictors([payload.version], deadline=deadline)
            # One bad image fails the request, and the message names it: the contract
            # has no field for the error of one image.
            answer = infer_or_fail(
                payload.images,
                predictor,
                decode=service.decode(request, deadline),
                deadline=deadline,
                shadow=service.shadow,
            )
            if isinstance(payload.images, ImageArray):
                logits = answer.logits.tolist()
                predictions: object = {"logits": logits}  # as MLflow's does
            else:
                labels, found = predictor.bundle.labels, answer.likeliest
                tops = top_classes(labels, answer.logits, 1, found=found)
                predictions = [best for (best,) in tops]
        return _answer(orjson.dumps({"predictions": predictions}))

    app.register_blueprint(routes)


def error_document(error: HttpError) -> dict[str, Any]:
    code = ERROR_CODES.get(error.status, "BAD_REQUEST")
    if error.code == "version_failed":
        code = "INVALID_STATE"  # permanent; MLflow's code for 503 means temporary
    return {"error_code": code, "message": error.message}


def _check_head(request: Request) -> None:
    """Checks query and headers. Raises BadRequest or UnsupportedMediaType."""
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


def _answer(body: bytes) -> Response:
    return JsonAnswer(body)


def _mlflow_version() -> str:
    """The version of the installed MLflow, which also reads the registry."""
    try:
        return version("mlflow-skinny")
    except PackageNotFoundError:
        return version("mlflow")


@dataclass(frozen=True)
class Payload:
    images: list[bytes] | ImageArray
    """At least one image; image files are not decoded yet."""

    version: str | None
    """None is the default version."""


def read_payload(body: bytes) -> Payload:
    """Raises BadRequest, or BodyTooLarge for too many images."""
    document = _document(body)
    version = _version(document.get("params"))
    named = [form for form in FORMS if form in document]
    if len(named) != 1:
        raise BadRequest(
            f"the body has {' and '.join(named) or 'none'} of {', '.join(FORMS)}; "
            f"send exactly one, such as {HINT}"
        )
    images = FORMS[named[0]](document[named[0]])
    if not images:
        raise BadRequest(f"{named[0]} holds no image; send {HINT}")
    check_count(len(images))
    if isinstance(images[0], list):
        return Payload(_stacked(images), version)
    texts = [item.get("b64") if isinstance(item, dict) else item for item in images]
    files = [image_file(text, n, hint=HINT) for n, text in enumerate(texts)]
    return Payload(files, version)


def _document(body: bytes) -> dict[str, Any]:
    """Also takes NaN, which is not JSON: MLflow's client writes it for a gap in a data
    frame."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"the body is not JSON; send {HINT}") from error
    if not isinstance(document, dict):
        raise BadRequest(f"the body is no JSON object; send {HINT}")
    return document


def _version(params: object) -> str | None:
    if params is None:
        return None
    if not isinstance(params, dict) or set(params) - {"version"}:
        raise BadRequest(
            'params may have a version and nothing else, {"version": "16"}; every '
            "image gets its best answer, POST /predict gives more"
        )
    version = params.get("version")
    if isinstance(version, int) and not isinstance(version, bool):
        version = str(version)
    if version is None:
        return None
    # MLflow's aliases are of letters of any alphabet.
    if not isinstance(version, str) or not re.fullmatch(r"[\w@.:/-]+", version):
        raise BadRequest(
            "params.version names no version; send a number, 'latest' or an alias, as "
            '{"version": "16"}'
        )
    return version


def _split(frame: object) -> list[Any]:
    """The image column of {"columns": [name, …], "data": [row, …]}."""
    parts = frame if isinstance(frame, dict) else {}
    columns, rows = parts.get("columns"), parts.get("data")
    if not isinstance(columns, list) or columns.count(COLUMN) != 1:
        raise BadRequest(f"dataframe_split has no list 'columns' with one {COLUMN!r}")
    if not isinstance(rows, list):
        raise BadRequest("dataframe_split has no list 'data' of rows")
    for place, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(columns):
            raise BadRequest(
                f"row {place} of dataframe_split is no list of {len(columns)} values, "
                "as many as there are columns"
            )
    column = columns.index(COLUMN)
    return [row[column] for row in rows]


def _records(rows: object) -> list[Any]:
    if not isinstance(rows, list):
        raise BadRequest("dataframe_records is no list of objects")
    for place, row in enumerate(rows):
        if not isinstance(row, dict) or COLUMN not in row:
            raise BadRequest(f"row {place} of dataframe_records has no {COLUMN!r}")
    return [row[COLUMN] for row in rows]


def _listed(value: object) -> list[Any]:
    """A list, or an object with a list under one name."""
    if isinstance(value, dict) and len(value) == 1:
        (name,) = value
        value = value[name] if name in (COLUMN, INPUT) else None
    if not isinstance(value, list):
        raise BadRequest(
            f'there is no list of images; send {HINT}, or {{"image": […]}}'
        )
    return value


def _instances(value: object) -> list[Any]:
    """As `_listed`; each row may be an object with the input's name."""
    return [
        row[INPUT] if isinstance(row, dict) and [*row] == [INPUT] else row
        for row in _listed(value)
    ]


FORMS: dict[str, Callable[[object], list[Any]]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _instances,
    "inputs": _listed,
}


def _stacked(images: list[Any]) -> ImageArray:
    decoded = [_pixels(place, image) for place, image in enumerate(images)]
    if len({image.shape for image in decoded}) != 1:
        raise BadRequest("the images are of several sizes; send those of the version")
    return ImageArray(np.stack(decoded))


def _pixels(place: int, image: object) -> NDArray[np.uint8]:
    """One image, uint8 [H, W, 3]. Images are converted singly: a value has 8 bytes."""
    try:
        values = np.asarray(image, np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadRequest(f"image {place} is no array of numbers") from error
    if values.ndim != 3 or values.shape[2] != 3:
        raise BadRequest(f"image {place} is {list(values.shape)}; send [H, W, 3]")
    # JSON's null is NaN here, which fails every comparison.
    if not ((values >= 0) & (values <= 255) & (values % 1 == 0)).all():
        raise BadRequest(
            f"image {place} has values that are no whole numbers of 0 to 255; the "
            "version normalises them itself"
        )
    return values.astype(np.uint8)
