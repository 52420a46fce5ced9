"""Connections after their last answer, until the client has closed its end too."""

import selectors
import socket
import threading
import time
from collections import deque
from contextlib import suppress

LINGER_SECONDS = 2.0
LINGER_BYTES = 2**20
"""Of what a client still sends, before it is cut off."""


class Lingering:
    """One thread reads away what still comes, from all of them.

    The kernel resets a connection that is closed with bytes unread, and the reset
    overtakes the answer (RFC 9112, 9.6). gunicorn waits for this in the thread that
    accepts connections: 16 clients that do not close held all others up for 32 s.
    """

    def __init__(self) -> None:
        self._came: deque[socket.socket] = deque()
        self._read: dict[socket.socket, int] = {}
        self._until: deque[tuple[float, socket.socket]] = deque()
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._changed = threading.Condition()
        self._count = 0
        threading.Thread(target=self._run, name="lingering", daemon=True).start()

    def add(self, connection: socket.socket) -> None:
        """Says that no more will come, and closes it in time; at once if it may."""
        try:
            connection.shutdown(socket.SHUT_WR)
            connection.setblocking(False)
        except OSError:
            connection.close()
            return
        if _has_ended(connection):
            connection.close()
            return
        with self._changed:
            self._count += 1
        self._came.append(connection)
        self._wake.send(b"\0")

    def wait(self) -> None:
        """Until all are closed, which takes LINGER_SECONDS at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._count == 0, 2 * LINGER_SECONDS)

    def _run(self) -> None:
        while True:
            wait = self._until[0][0] - time.monotonic() if self._until else None
            for key, _ in self._selector.select(None if wait is None else max(wait, 0)):
                if key.fileobj is self._woken:
                    self._woken.recv(4096)
                elif isinstance(key.fileobj, socket.socket):
                    self._read_away(key.fileobj)
            while self._came:
                self._begin(self._came.popleft())
            while self._until and self._until[0][0] <= time.monotonic():
                self._end(self._until.popleft()[1])

    def _begin(self, connection: socket.socket) -> None:
        self._read[connection] = 0
        self._until.append((time.monotonic() + LINGER_SECONDS, connection))
        try:
            self._selector.register(connection, selectors.EVENT_READ)
        except (OSError, ValueError):  # the kernel watches no more of them
            self._end(connection)

    def _read_away(self, connection: socket.socket) -> None:
        try:
            count = len(connection.recv(65536))
        except BlockingIOError:
            return
        except OSError:
            count = 0
        self._read[connection] += count
        if count == 0 or self._read[connection] > LINGER_BYTES:
            self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        if self._read.pop(connection, None) is None:
            return  # before its time was over
        with suppress(KeyError):  # it was never watched
            self._selector.unregister(connection)
        connection.close()
        with self._changed:
            self._count -= 1
            self._changed.notify_all()


def _has_ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
