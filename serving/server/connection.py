"""gunicorn's reading and writing of a connection, with fewer calls into the kernel.

Each lets another thread have the interpreter, and is then waited for: under 64
connections a request of 13 such calls made 20 context switches (docs/decisions.md).
"""

import math
import select
import socket
import time
from typing import Any

from gunicorn.http import wsgi
from gunicorn.http.errors import ParseException
from gunicorn.http.unreader import SocketUnreader

CHUNK_BYTES = 2**15
"""Read at once; gunicorn's 8 KiB are less than many a photo."""

REST_SECONDS = 0.1
"""How long a thread waits for the rest of a body that nobody reads, as of a request
that is refused; gunicorn's own 5 s take the threads from those who say no."""

REST_BYTES = 2**20
"""And how much of it is read away; gunicorn's 64 KiB are less than many a photo."""

UNREAD = ("408", "413")
"""Answers after which there may be more of the body to come."""


class ServingResponse(wsgi.Response):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's, which does not tell what answers, and says so when it closes.

    gunicorn itself says that the connection is kept, then looks for the rest of the
    body and may close it: the client's next request is lost.
    """

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Any:
        if status.startswith(UNREAD) or not self._read_away():
            self.force_close()
        return super().start_response(status, headers, exc_info)

    sock: Any  # gunicorn has no types

    def write(self, data: bytes) -> None:
        """The head goes with the first of the body: each call into the kernel lets
        another thread have the interpreter, and is then waited for."""
        if self.headers_sent:
            super().write(data)
            return
        connection, parts = self.sock, _Parts()
        self.sock = parts
        try:
            super().write(data)
        finally:
            self.sock = connection
        connection.sendall(b"".join(parts))

    def _read_away(self) -> bool:
        """Whether all of the body has come."""
        self.req.unreader.limit_seconds(REST_SECONDS)
        try:
            for _ in range(REST_BYTES // 8192):
                if not self.req.body.read(8192):
                    return True
        except (OSError, ParseException):
            return False
        finally:
            self.req.unreader.limit_seconds(None)
        return False

    def default_headers(self) -> list[str]:
        headers: list[str] = super().default_headers()
        return [line for line in headers if not line.startswith("Server:")]


class _Parts(list[bytes]):
    """Takes what a socket would send."""

    sendall = list.append


class QuietSocket(socket.socket):
    """One that is told to block before each request, and mostly does already."""

    def setblocking(self, flag: bool) -> None:
        if flag != self.getblocking():
            super().setblocking(flag)


class TimedUnreader(SocketUnreader):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's, with a time by which all of a head or a body must have come.

    A socket's own timeout begins anew with each byte: as many clients as there are
    threads, each with a byte now and then, would take the service from all others.
    """

    _until: float | None = None
    _stall_seconds = math.inf
    _is_head = False
    has_come = False
    """Set by who has just seen that something came."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, max_chunk=CHUNK_BYTES)
        # gunicorn sets a timeout before it looks for the rest of each body, and back,
        # where it finds a socket here. `limit_seconds` is what bounds reading.
        self._connection, self.sock = sock, None

    def limit_seconds(
        self,
        seconds: float | None,
        *,
        stall_seconds: float = math.inf,
        is_head: bool = False,
    ) -> None:
        """From now, and between two of its bytes; None lifts both. A head that is late
        has ended, a body raises TimeoutError."""
        self._until = None if seconds is None else time.monotonic() + seconds
        self._stall_seconds = stall_seconds
        self._is_head = is_head

    def chunk(self) -> bytes:
        if self.has_come:
            self.has_come = False
        elif self._until is not None and not self._comes_in_time(self._until):
            if self._is_head:
                return b""
            raise TimeoutError("the rest of a body came too late")
        data: bytes = self._connection.recv(self.mxchunk)
        return data

    def _comes_in_time(self, until: float) -> bool:
        left = until - time.monotonic()
        wait = min(left, self._stall_seconds)
        return left > 0 and is_readable(self._connection, wait)


def is_readable(sock: Any, seconds: float) -> bool:
    poll = select.poll()
    try:
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(1000 * seconds))
    except (OSError, ValueError):
        return False
