"""What a body of MLflow's scoring contract holds: images in four forms, a version."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from serving.base64_images import from_base64
from serving.bodies import ImageArray, check_count
from serving.body_reader import BadRequest

COLUMN = "image"

INPUT = "images"
"""The name of the input in a version's signature."""

HINT = '{"inputs": ["<an image in base64>"]}'


@dataclass(frozen=True)
class Payload:
    images: list[bytes] | ImageArray
    """At least one; encoded ones are not decoded yet."""

    version: str | None
    """None asks for the default one."""


def read_payload(body: bytes) -> Payload:
    """BadRequest, BodyTooLarge for more images than one request may bring."""
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
    return Payload(
        [_encoded(place, item) for place, item in enumerate(images)], version
    )


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = _lenient(body)
    if not isinstance(document, dict):
        raise BadRequest(f"the body is no JSON object; send {HINT}")
    return document


def _lenient(body: bytes) -> object:
    """A gap in a data frame is NaN, which MLflow's client writes and JSON lacks."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON; send {HINT}") from error


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
    if not isinstance(version, str) or not re.fullmatch(r"[\w@.-]+", version):
        raise BadRequest(
            "params.version names no version; send a number, 'latest' or an alias, as "
            '{"version": "16"}'
        )
    return version


def _split(frame: object) -> list[Any]:
    """The column of {"columns": [name, …], "data": [row, …]}; others are not read."""
    columns, rows = (
        (frame.get("columns"), frame.get("data"))
        if isinstance(frame, dict)
        else (None, None)
    )
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
    """A list, or one under a name."""
    if isinstance(value, dict) and len(value) == 1:
        (name,) = value
        value = value[name] if name in (COLUMN, INPUT) else None
    if not isinstance(value, list):
        raise BadRequest(
            f'there is no list of images; send {HINT}, or {{"image": […]}}'
        )
    return value


def _instances(value: object) -> list[Any]:
    """The same; each row may be under the input's name too."""
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


def _encoded(place: int, item: object) -> bytes:
    text = item.get("b64") if isinstance(item, dict) else item
    if not isinstance(text, str):
        raise BadRequest(
            f'image {place} is neither base64 nor {{"b64": "<base64>"}}; send {HINT}'
        )
    try:
        return from_base64(text)
    except ValueError as error:
        raise BadRequest(f"image {place} is not base64: {error}") from error


def _stacked(images: list[Any]) -> ImageArray:
    decoded = [_pixels(place, image) for place, image in enumerate(images)]
    if len({image.shape for image in decoded}) != 1:
        raise BadRequest("the images are of several sizes; send those of the version")
    return ImageArray(np.stack(decoded))


def _pixels(place: int, image: object) -> NDArray[np.uint8]:
    """Of one image, uint8 [H, W, 3]; one by one, as eight bytes a value are a lot."""
    try:
        values = np.asarray(image, np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadRequest(f"image {place} is no array of numbers") from error
    if values.ndim != 3 or values.shape[2] != 3:
        raise BadRequest(f"image {place} is {list(values.shape)}; send [H, W, 3]")
    # NaN, which JSON's null becomes, is within no bounds.
    if not ((values >= 0) & (values <= 255) & (values % 1 == 0)).all():
        raise BadRequest(
            f"image {place} has values that are no whole numbers of 0 to 255; the "
            "version normalises them itself"
        )
    return values.astype(np.uint8)
