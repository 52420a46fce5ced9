"""The bytes of a request's body, whole, within bounds of size and time."""

import math
import socket
import time
import zlib
from collections.abc import Callable

from flask import Request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected

from serving.request_queue import DeadlinePassed

MAX_BODY_BYTES = 64 * 1024 * 1024
SMALL_BODY_BYTES = 64 * 1024
"""Of a body that brings no images."""

STALL_SECONDS = 10.0
BODY_SECONDS = 60.0
"""For all of a body, whatever it takes between its bytes: 64 MiB at 9 Mbit/s."""

_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""What zlib calls the two ways to compress a body."""


class BadRequest(ValueError):
    """A body or a query that is not what the route takes."""


class BodyTooLarge(ValueError):
    """More bytes or more images than one request may bring."""


class UnsupportedMediaType(ValueError):
    """A body of a kind no route takes."""


class RequestTimeout(TimeoutError):
    """The body stopped coming, or came too slowly."""


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
