"""What a request's body holds: encoded images, or an array of decoded ones."""

import base64
import io
import math
import socket
import time
import tokenize
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

import numpy as np
import orjson
from flask import Request
from gunicorn.http.errors import ParseException
from numpy.typing import NDArray
from werkzeug.exceptions import ClientDisconnected

from classifier.bundle.preprocessing import FORMATS_IN_WORDS, is_image
from serving.inference.request_queue import DeadlinePassed

MAX_BODY_BYTES = 64 * 1024 * 1024


SMALL_BODY_BYTES = 64 * 1024
"""Of a body that brings no images."""


MAX_IMAGES = 256


STALL_SECONDS = 10.0


BODY_SECONDS = 60.0
"""For all of a body, whatever it takes between its bytes: 64 MiB at 9 Mbit/s."""


JSON_HINT = '{"instances": [{"b64": "…"}]}'


class BadRequest(ValueError):
    """A body or a query that is not what the route takes."""


class BodyTooLarge(ValueError):
    """More bytes or more images than one request may bring."""


class UnsupportedMediaType(ValueError):
    """A body of a kind no route takes."""


class RequestTimeout(TimeoutError):
    """The body stopped coming, or came too slowly."""


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


def check_size(images: NDArray[np.uint8], *, height: int, width: int) -> None:
    if images.shape[1:3] != (height, width):
        raise BadRequest(
            f"the array's images are {images.shape[1]} x {images.shape[2]}; this "
            f"version takes {height} x {width}"
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


_NOT_NPY = (
    *(ValueError, LookupError, TypeError, AttributeError, OverflowError),
    *(SyntaxError, tokenize.TokenError, MemoryError, RecursionError),
)
"""What numpy raises on damaged headers, as it reads them like source text."""


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


def read_body(
    request: Request, *, most: int = MAX_BODY_BYTES, deadline: float = math.inf
) -> bytes:
    """All of it, unpacked, `most` bytes as it comes and unpacked.

    BodyTooLarge, RequestTimeout where it stalls or trickles, DeadlinePassed (`deadline`
    is of time.monotonic()), BadRequest, UnsupportedMediaType.
    """
    if (request.content_length or 0) > most:
        raise _too_large(f"a body of {request.content_length:,} bytes", most)
    # One byte more than may be: werkzeug silently cuts what has no length to what may.
    request.max_content_length = most + 1
    body = _receive(request, deadline)
    if len(body) > most:
        raise _too_large("a body that is larger", most)
    if request.content_length is not None and len(body) != request.content_length:
        raise BadRequest(
            f"the body ended after {len(body):,} of {request.content_length:,} bytes; "
            "send all of it"
        )
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    return body if encoding in ("", "identity") else _unpack(body, encoding, most)


def _receive(request: Request, deadline: float) -> bytes:
    # Under gunicorn only the connection can tell a stall.
    limit = getattr(request.environ["wsgi.input"], "limit_seconds", None)
    if limit is None:
        limit = _limit_of_socket(request.environ.get("gunicorn.socket"))
    left = max(0.001, deadline - time.monotonic())  # 0 would not wait at all
    limit(min(BODY_SECONDS, left), stall_seconds=min(STALL_SECONDS, left))
    try:
        return request.get_data(cache=True)
    except ClientDisconnected as error:
        # werkzeug's word for whatever ends the reading of a body early
        if not isinstance(error.__context__, TimeoutError):
            raise
        if time.monotonic() >= deadline:
            raise DeadlinePassed(
                "the body had not come when the time for the request was over; ask "
                "again with more time"
            ) from error
        raise RequestTimeout(
            f"the body stopped coming for {STALL_SECONDS:.0f} s, or took more than "
            f"{BODY_SECONDS:.0f} s; send it again"
        ) from error
    except ParseException as error:  # gunicorn's, of a trailer behind the last chunk
        raise BadRequest(
            f"the body's chunks cannot be read: {error!s:.80}; send it with a "
            "Content-Length"
        ) from error
    finally:
        limit(None)


def _limit_of_socket(connection: socket.socket | None) -> Callable[..., None]:
    """Under another worker than ours, which sees no single byte come: the stall alone.

    Without a socket, as in tests, nothing can stall.
    """
    if connection is None:
        return lambda seconds, **rest: None
    before = connection.gettimeout()

    def limit(seconds: float | None, *, stall_seconds: float | None = None) -> None:
        connection.settimeout(before if seconds is None else stall_seconds)

    return limit


_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""What zlib calls the two ways to compress a body."""


def _unpack(body: bytes, encoding: str, most: int) -> bytes:
    if encoding not in _WINDOW_BITS:
        raise UnsupportedMediaType(
            f"a body in Content-Encoding {encoding!r}; send it as it is, or as "
            f"{' or '.join(_WINDOW_BITS)}"
        )
    unpacker = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        # One byte more than may be: a small body can hold gigabytes.
        unpacked = unpacker.decompress(body, most + 1)
    except zlib.error as error:
        raise BadRequest(f"the body is not {encoding}: {error}") from error
    if len(unpacked) > most:
        raise _too_large("a body that unpacks to more", most)
    if not unpacker.eof:
        raise BadRequest(f"the body's {encoding} is cut off; send all of it")
    return unpacked


def _too_large(what: str, most: int) -> BodyTooLarge:
    return BodyTooLarge(f"{what}; the limit is {most:,} bytes, send several requests")


TO_STANDARD = str.maketrans("-_", "+/", "\r\n\t")
"""Without the ends of lines. A space stays, and is refused: it was a + that was read as
a URL's."""


def from_base64(text: str) -> bytes:
    """An image's bytes; ValueError says why there are none.

    The plain and the URL-safe alphabet, with or without padding and line breaks, alone
    or as the `data:` URL that a browser makes of a file.
    """
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        text = _of_url(text.strip()).translate(TO_STANDARD).rstrip("=")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _of_url(text: str) -> str:
    if text[:5].lower() != "data:":
        return text
    head, comma, content = text.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise ValueError("a data: URL holds an image as data:image/…;base64,…")
    return unquote(content)
