"""What a request's body holds: encoded images, or an array of decoded ones."""

import io
import math
import tokenize
from dataclasses import dataclass

import numpy as np
import orjson
from flask import Request
from numpy.typing import NDArray

from classifier.preprocessing import FORMATS_IN_WORDS, is_image
from serving.base64_images import from_base64
from serving.body_reader import (
    BadRequest,
    BodyTooLarge,
    UnsupportedMediaType,
    read_body,
)

MAX_IMAGES = 256

_NOT_NPY = (
    *(ValueError, LookupError, TypeError, AttributeError, OverflowError),
    *(SyntaxError, tokenize.TokenError, MemoryError, RecursionError),
)
"""What numpy raises on damaged headers, as it reads them like source text."""

JSON_HINT = '{"instances": [{"b64": "…"}]}'


@dataclass(frozen=True)
class ImageArray:
    """Images that came decoded: uint8 [N, H, W, 3], of one version's size."""

    images: NDArray[np.uint8]


def read_images(request: Request, *, deadline: float) -> list[bytes] | ImageArray:
    """At least one image, at most MAX_IMAGES; encoded ones are not decoded yet.

    BadRequest, BodyTooLarge, UnsupportedMediaType, RequestTimeout or DeadlinePassed.
    """
    body = read_body(request, deadline=deadline)
    if not body:
        raise BadRequest(f"the body is empty; send an image, or {JSON_HINT}")
    if is_image(body):
        return [body]
    kind = request.mimetype
    if kind == "multipart/form-data":
        images: list[bytes] | ImageArray = _from_form(request, body)
    elif kind == "application/json":
        images = _from_json(body)
    elif kind == "application/x-npy":
        images = _from_npy(body)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        images = [body]
    else:
        raise UnsupportedMediaType(
            f"a body of type {kind or 'unknown'!r} that is no image; send a "
            f"{FORMATS_IN_WORDS} file, a form with fields 'image', {JSON_HINT} as "
            "application/json, or an array as application/x-npy"
        )
    check_count(len(images.images) if isinstance(images, ImageArray) else len(images))
    return images


def check_count(images: int) -> None:
    if images > MAX_IMAGES:
        raise BodyTooLarge(
            f"{images} images in one request; the limit is {MAX_IMAGES}, send several"
        )


def _from_form(request: Request, body: bytes) -> list[bytes]:
    """Of the body as it was unpacked, which `request.files` does not know."""
    parser = request.make_form_data_parser()
    # Its own writes to a file what is in memory already.
    parser.stream_factory = lambda *_, **__: io.BytesIO()
    _, fields, parts = parser.parse(
        io.BytesIO(body), request.mimetype, len(body), request.mimetype_params
    )
    files = parts.getlist("image")
    if not files:
        # A part without a name has None.
        others = ", ".join(sorted(map(str, {*parts, *fields}))) or "none"
        raise BadRequest(
            f"the form has no file field 'image' (fields: {others}); with curl: "
            "-F image=@x.jpg"
        )
    return [file.read() for file in files]


def _from_json(body: bytes) -> list[bytes]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}; send {JSON_HINT}") from error
    instances = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(instances, list) or not instances:
        raise BadRequest(
            f"the JSON has no list 'instances' of images; send {JSON_HINT}"
        )
    check_count(len(instances))
    return [_from_base64(place, item) for place, item in enumerate(instances)]


def _from_base64(place: int, item: object) -> bytes:
    text = item.get("b64") if isinstance(item, dict) else None
    if not isinstance(text, str):
        raise BadRequest(f'instance {place} is not {{"b64": "…"}}; send {JSON_HINT}')
    try:
        return from_base64(text)
    except ValueError as error:
        raise BadRequest(f"instance {place} is not base64: {error}") from error


def _from_npy(body: bytes) -> ImageArray:
    """By its header, before anything as large as that says is made room for."""
    stream = io.BytesIO(body)
    try:
        major, _ = np.lib.format.read_magic(stream)
        read_header = {
            1: np.lib.format.read_array_header_1_0,
            2: np.lib.format.read_array_header_2_0,
        }[major]
        shape, is_fortran, dtype = read_header(stream)
    except _NOT_NPY as error:
        raise BadRequest(
            "the body is not a .npy file; write it with numpy.save"
        ) from error
    if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or is_fortran:
        raise BadRequest(
            f"the array is {dtype!s:.40} {list(shape)!r:.80}"
            f"{' in Fortran order' * is_fortran}; "
            f"send uint8 [N, H, W, 3] in C order"
        )
    # A type's own test: numpy's headers may say True, which is a whole number too.
    if {*map(type, shape)} != {int} or min(shape) < 1:
        raise BadRequest(
            f"the array {list(shape)!r:.80} holds no image; send uint8 [N, H, W, 3], "
            f"each from 1"
        )
    rest = len(body) - stream.tell()
    if math.prod(shape) != rest:
        raise BadRequest(
            f"the array is {list(shape)!r:.80}, but {rest:,} bytes of it came"
        )
    images = np.frombuffer(body, np.uint8, offset=stream.tell()).reshape(shape)
    return ImageArray(images)


def check_size(images: NDArray[np.uint8], *, height: int, width: int) -> None:
    if images.shape[1:3] != (height, width):
        raise BadRequest(
            f"the array's images are {images.shape[1]} x {images.shape[2]}; this "
            f"version takes {height} x {width}"
        )
