"""The bytes of a request's body, whole, within bounds of size and time."""

import zlib

from flask import Request
from werkzeug.exceptions import ClientDisconnected

MAX_BODY_BYTES = 64 * 1024 * 1024
STALL_SECONDS = 10.0

_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""What zlib calls the two ways to compress a body."""


class BadRequest(ValueError):
    """A body or a query that is not what the route takes."""


class BodyTooLarge(ValueError):
    """More bytes or more images than one request may bring."""


class UnsupportedMediaType(ValueError):
    """A body of a kind no route takes."""


class RequestTimeout(TimeoutError):
    """The body stopped coming."""


def read_body(request: Request) -> bytes:
    """All of it, unpacked; BodyTooLarge, RequestTimeout where it stalls, BadRequest."""
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _too_large(f"a body of {request.content_length:,} bytes")
    # One byte more than may be: werkzeug silently cuts what has no length to what may.
    request.max_content_length = MAX_BODY_BYTES + 1
    body = _receive(request)
    if len(body) > MAX_BODY_BYTES:
        raise _too_large("a body that is larger")
    if request.content_length is not None and len(body) != request.content_length:
        raise BadRequest(
            f"the body ended after {len(body):,} of {request.content_length:,} bytes; "
            "send all of it"
        )
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    return body if encoding in ("", "identity") else _unpack(body, encoding)


def _receive(request: Request) -> bytes:
    # Under gunicorn the connection is at hand, and only it can tell a stall.
    connection = request.environ.get("gunicorn.socket")
    if connection is None:
        return request.get_data(cache=True)
    before = connection.gettimeout()
    connection.settimeout(STALL_SECONDS)
    try:
        return request.get_data(cache=True)
    except ClientDisconnected as error:
        # werkzeug's word for whatever ends the reading of a body early
        if not isinstance(error.__context__, TimeoutError):
            raise
        raise RequestTimeout(
            f"the body stopped coming for {STALL_SECONDS:.0f} s; send it again"
        ) from error
    finally:
        connection.settimeout(before)


def _unpack(body: bytes, encoding: str) -> bytes:
    if encoding not in _WINDOW_BITS:
        raise UnsupportedMediaType(
            f"a body in Content-Encoding {encoding!r}; send it as it is, or as "
            f"{' or '.join(_WINDOW_BITS)}"
        )
    unpacker = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        # One byte more than may be: a small body can hold gigabytes.
        unpacked = unpacker.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise BadRequest(f"the body is not {encoding}: {error}") from error
    if len(unpacked) > MAX_BODY_BYTES:
        raise _too_large("a body that unpacks to more")
    if not unpacker.eof:
        raise BadRequest(f"the body's {encoding} is cut off; send all of it")
    return unpacked


def _too_large(what: str) -> BodyTooLarge:
    return BodyTooLarge(
        f"{what}; the limit is {MAX_BODY_BYTES:,} bytes, send several requests"
    )
