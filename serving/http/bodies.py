"""Request bodies: read within limits, and parsed into image files or an array."""

import io
import math
import socket
import time
import tokenize
import zlib
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import numpy as np
import orjson
from flask import Request, Response, after_this_request
from gunicorn.http.errors import ParseException
from numpy.typing import NDArray
from werkzeug.exceptions import ClientDisconnected
from werkzeug.wsgi import get_content_length

from classifier.images.base64_text import from_base64
from classifier.images.decoding import FORMATS_IN_WORDS, is_image
from serving.config import BODY_SECONDS
from serving.inference.native import run_natively, within
from serving.inference.requests import DeadlinePassed

MAX_BODY_BYTES = 64 * 1024 * 1024

SMALL_BODY_BYTES = 64 * 1024
"""Limit of a body without images."""

MAX_IMAGES = 256

PART_BYTES = 64 * 1024

STALL_SECONDS = 10.0
"""Limit for PART_BYTES of a body, or its last bytes: 7 kB/s at least."""

LINGER_SECONDS = 2.0
"""How long what a client still sends is thrown away after an early answer."""

JSON_HINT = '{"instances": [{"b64": "…"}]}'


class BadRequest(ValueError):
    """The body or the query is not valid for the route."""


class BodyTooLarge(ValueError):
    """The body has more bytes or images than one request may have."""


class UnsupportedMediaType(ValueError):
    """No route takes this type of body."""


class RequestTimeout(TimeoutError):
    """The body stopped arriving, or arrived too slowly."""


@dataclass(frozen=True)
class ImageArray:
    """Decoded images of a request: uint8 [N, H, W, 3]."""

    images: NDArray[np.uint8]


def read_images(request: Request, *, deadline: float) -> list[bytes] | ImageArray:
    """Between 1 and MAX_IMAGES images; image files are not decoded yet.

    Raises BadRequest, BodyTooLarge, UnsupportedMediaType, RequestTimeout or
    DeadlinePassed.
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


def check_size(images: NDArray[np.uint8], *, height: int, width: int) -> None:
    if images.shape[1:3] != (height, width):
        raise BadRequest(
            f"the images are {list(images.shape)}; this version takes UINT8 "
            f"[N, {height}, {width}, 3]"
        )


def _from_form(request: Request, body: bytes) -> list[bytes]:
    """The files of a form, from the decompressed body that `request.files` lacks."""
    parser = request.make_form_data_parser()
    # The default writes to a file, and the body is in memory already.
    parser.stream_factory = lambda *_, **__: io.BytesIO()
    _, fields, parts = parser.parse(
        io.BytesIO(body), request.mimetype, len(body), request.mimetype_params
    )
    files = parts.getlist("image")
    if not files:
        # The name of a part may be None.
        others = ", ".join(sorted(map(str, {*parts, *fields}))) or "none"
        raise BadRequest(
            f"the form has no file field 'image' (fields: {others}); with curl: "
            "-F image=@x.jpg"
        )
    return [file.read() for file in files]


def _from_json(body: bytes) -> list[bytes]:
    document = read_object(body, hint=f"; send {JSON_HINT}")
    instances = document.get("instances")
    if not isinstance(instances, list) or not instances:
        raise BadRequest(
            f"the JSON has no list 'instances' of images; send {JSON_HINT}"
        )
    check_count(len(instances))
    texts = [item.get("b64") if isinstance(item, dict) else None for item in instances]
    return [image_file(text, n, hint=JSON_HINT) for n, text in enumerate(texts)]


def read_object(body: bytes | memoryview, *, hint: str = "") -> dict[str, Any]:
    """The JSON object of a body. Raises BadRequest, with `hint` at its end."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}{hint}") from error
    if not isinstance(document, dict):
        raise BadRequest(f"the body is no JSON object{hint}")
    return document


def image_file(text: object, place: int, *, hint: str) -> bytes:
    """The bytes of the image at `place` from base64. Raises BadRequest."""
    if not isinstance(text, str):
        raise BadRequest(f"image {place} is no text in base64; send {hint}")
    try:
        return from_base64(text)
    except ValueError as error:
        raise BadRequest(f"image {place} is not base64: {error}") from error


_NOT_NPY = (
    *(ValueError, LookupError, TypeError, AttributeError, OverflowError),
    *(SyntaxError, tokenize.TokenError, MemoryError, RecursionError),
)
"""Errors of numpy on damaged headers, which it parses like source text."""


def _from_npy(body: bytes) -> ImageArray:
    """Checks the header before any memory of the claimed size is allocated."""
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
    # The type itself: numpy's headers may have True, which is an int too.
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


def read_body(
    request: Request, *, most: int = MAX_BODY_BYTES, deadline: float = math.inf
) -> bytes:
    """The whole body, decompressed; at most `most` bytes before and after.

    Raises BodyTooLarge, RequestTimeout if it arrives too slowly, DeadlinePassed after
    `deadline` (a time of time.monotonic()), BadRequest or UnsupportedMediaType.
    """
    length = get_content_length(request.environ)
    if length is not None and length > most:
        raise _too_large(f"a body of {length:,} bytes", most)
    if length is None:  # one byte more than may come: werkzeug silently cuts it there
        request.max_content_length = most + 1
    body = _receive(request, length, deadline)
    if len(body) > most:
        raise _too_large("a body that is larger", most)
    if length is not None and len(body) != length:
        _end_connection(request)
        raise BadRequest(
            f"the body ended after {len(body):,} of {length:,} bytes; send all of it"
        )
    encoding = request.environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower()
    return body if encoding in ("", "identity") else _unpack(body, encoding, most)


def _receive(request: Request, length: int | None, deadline: float) -> bytes:
    """The body, part by part, so that each has its time."""
    stream = request.stream if length is None else request.environ["wsgi.input"]
    ends = min(time.monotonic() + BODY_SECONDS, deadline)
    parts: list[bytes] = []
    received = 0
    try:
        while received != length:
            left = min(ends - time.monotonic(), STALL_SECONDS)
            most = PART_BYTES if length is None else min(length - received, PART_BYTES)
            part = within(left, partial(stream.read, most))
            if not part:
                break
            parts.append(part)
            received += len(part)
    except TimeoutError as error:
        _end_connection(request)
        if time.monotonic() >= deadline:
            raise DeadlinePassed(
                "the body had not come when the time for the request was over; ask "
                "again with more time"
            ) from error
        raise RequestTimeout(
            f"{PART_BYTES:,} bytes of the body, or its end, did not come in "
            f"{STALL_SECONDS:.0f} s, or all of it in {BODY_SECONDS:.0f} s; send it "
            f"again"
        ) from error
    except ClientDisconnected as error:  # werkzeug's, without a length
        _end_connection(request)
        raise BadRequest(
            "the body's chunks are wrong, or end before the last; send all of it"
        ) from error
    except OSError:  # a broken connection: what came is too short
        pass
    except ParseException as error:  # gunicorn, for a bad trailer after the last chunk
        _end_connection(request)
        raise BadRequest(
            f"the body's chunks cannot be read: {error!s:.80}; send it with a "
            "Content-Length"
        ) from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _end_connection(request: Request) -> None:
    """Lets the connection end after the answer: of a body that was given up in its
    midst nobody knows the end, and its rest would be taken for the next request."""
    connection = request.environ.get("gunicorn.socket")
    if connection is None:
        return

    def end() -> NoReturn:
        with suppress(OSError, TimeoutError):
            connection.shutdown(socket.SHUT_WR)
            within(LINGER_SECONDS, partial(_drain, connection))
        raise StopIteration  # gunicorn's workers then close the connection

    @after_this_request
    def add(response: Response) -> Response:
        response.call_on_close(end)
        return response


def _drain(connection: socket.socket) -> None:
    """Bytes that nobody reads would make the kernel take back the answer."""
    while connection.recv(PART_BYTES):
        pass


_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""zlib's window bits for each Content-Encoding."""


def _unpack(body: bytes, encoding: str, most: int) -> bytes:
    if encoding not in _WINDOW_BITS:
        raise UnsupportedMediaType(
            f"a body in Content-Encoding {encoding!r}; send it as it is, or as "
            f"{' or '.join(_WINDOW_BITS)}"
        )
    unpacker = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        # One byte above the limit: a small body can decompress to gigabytes.
        unpacked = run_natively(unpacker.decompress, body, most + 1)
    except zlib.error as error:
        raise BadRequest(f"the body is not {encoding}: {error}") from error
    if len(unpacked) > most:
        raise _too_large("a body that unpacks to more", most)
    if not unpacker.eof:
        raise BadRequest(f"the body's {encoding} is cut off; send all of it")
    return unpacked


def _too_large(what: str, most: int) -> BodyTooLarge:
    return BodyTooLarge(f"{what}; the limit is {most:,} bytes, send several requests")
