"""gunicorn's threaded worker, quicker between requests and without loss at the end."""

import contextlib
import ctypes
import errno
import functools
import logging
import os
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gunicorn.http import parser, wsgi
from gunicorn.workers import gthread
from gunicorn.workers.gthread import ThreadWorker

from serving.http.bodies import STALL_SECONDS
from serving.server.connection import (
    QuietSocket,
    ServingResponse,
    TimedUnreader,
    is_readable,
)

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


SO_ATTACH_FILTER = 26
"""Linux's (socket(7)); Python has no name for it."""

SYN_DROPPED = (
    (0x30, 0, 0, 13),  # load byte 13 of the TCP header, its flags
    (0x45, 0, 1, 0x02),  # where SYN is not set, skip one
    (0x06, 0, 0, 0),  # keep nothing
    (0x06, 0, 0, 2**32 - 1),  # keep all
)
"""For the classic packet filter: operation, two jumps, operand (linux/filter.h)."""


def refuse(listener: socket.socket, accept_waiting: Callable[[], None]) -> None:
    """From now on, in all processes that share the socket.

    The kernel takes connections as long as one process has the socket open, and resets
    what nobody accepted when it is closed. So it is first made deaf to new ones, then
    what waits is accepted, and then it is closed for all; a client that asked between
    asks again after a second, as TCP does, and is refused.
    """
    lines = b"".join(struct.pack("HBBI", *line) for line in SYN_DROPPED)
    program = ctypes.create_string_buffer(lines, len(lines))
    pointer = struct.pack("HL", len(SYN_DROPPED), ctypes.addressof(program))
    with contextlib.suppress(OSError):  # a kernel without filters
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, pointer)
    accept_waiting()
    with contextlib.suppress(OSError):  # another process has done it
        listener.shutdown(socket.SHUT_RDWR)


NEXT_REQUEST_SECONDS = 0.02
"""How long a thread waits for the next request of its connection: a client on the same
machine sends it in 1 ms. Handing the connection back costs 0.1 ms of a core."""

FIRST_SECONDS = 0.05
"""How long a thread waits for a connection's first byte before the poller does; of
gunicorn's 5 s, 128 connections that say nothing would make all others wait."""

LAST_FIRST_SECONDS = 0.5
"""And at the end, when no poller waits any more."""

ACCEPT_SECONDS = 1.0
"""Until the next try where a connection needs an open file more than there may be."""

logger = logging.getLogger(__name__)


class ServingWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """A process that serves; `is_draining` of its app is asked before each request."""

    _accept_again = 0.0

    def handle(self, conn: Any) -> Any:
        """In a thread: a request, and those that follow it at once."""
        self._close_when_draining()
        keep = super().handle(conn)
        # Also where the worker ends meanwhile: who was told that the connection is
        # kept may have sent the next request, and its answer then closes it.
        while keep is True and self._has_next(conn):
            self._close_when_draining()
            keep = super().handle(conn)
        return keep

    def handle_request(self, req: Any, conn: Any) -> Any:
        req.unreader.limit_seconds(None)  # the head has come
        req.body.limit_seconds = req.unreader.limit_seconds  # for serving.http.bodies
        req.body.began = conn.began  # for serving.http.service
        return super().handle_request(req, conn)

    def is_parent_alive(self) -> bool:
        """Where it is not, the port is given up at once, for who starts it again."""
        if super().is_parent_alive():
            return True
        self.alive = False
        self.app.drain()
        return False

    def init_process(self) -> None:
        self._lingering = lingering = Lingering()
        kept_seconds = self.cfg.keepalive
        worker = self

        class Connection(gthread.TConn):  # type: ignore[misc]  # gunicorn has no types
            def __init__(self, cfg: Any, sock: Any, client: Any, server: Any) -> None:
                quiet = QuietSocket(sock.family, sock.type, sock.proto, sock.detach())
                super().__init__(cfg, quiet, client, server)
                self.began = time.monotonic()
                """When the first byte of its request was there."""

            def close(self, graceful: bool = False) -> None:
                if graceful:
                    lingering.add(self.sock)
                else:
                    super().close()

            def init(self) -> None:
                # Before each head.
                super().init()
                self.parser.unreader.limit_seconds(STALL_SECONDS, is_head=True)

            def wait_for_data(self, timeout: float) -> bool:
                # gunicorn's own opens a file for it, and there may be none left.
                seconds = FIRST_SECONDS if worker.alive else LAST_FIRST_SECONDS
                if not self.data_ready:
                    # There already, it came when the connection did, or soon after.
                    self.data_ready: bool = _is_readable(self, 0.0)
                if not self.data_ready:
                    self.data_ready = _is_readable(self, seconds)
                    self.began = time.monotonic()
                return self.data_ready

            def set_timeout(self) -> None:
                # Also where draining has begun since the answer said that it is kept.
                self.timeout = time.monotonic() + kept_seconds

        # gunicorn makes them by these names, and has no settings for them.
        wsgi.Response = ServingResponse
        parser.SocketUnreader = TimedUnreader
        gthread.TConn = Connection
        super().init_process()

    def run(self) -> None:
        super().run()
        self._lingering.wait()
        # All are answered. The interpreter would wait 5 s for threads that wait for the
        # first byte of a connection, and take everything apart.
        logging.shutdown()
        os._exit(0)

    def murder_keepalived(self) -> None:
        """At the end, at once: gunicorn waits as long as they may be kept."""
        if not self.alive:
            for conn in list(self.keepalived_conns):
                if _is_readable(conn, seconds=0.0):
                    self.on_client_socket_readable(conn, conn.sock)
                else:
                    conn.timeout = time.monotonic()
        super().murder_keepalived()

    def murder_pending(self) -> None:
        """At the end a thread waits for each: it may be about to ask."""
        if not self.alive:
            for conn in list(self.pending_conns):
                self.poller.unregister(conn.sock)
                self.pending_conns.remove(conn)
                self.enqueue_req(conn)
        super().murder_pending()

    def finish_request(self, conn: Any, fs: Any) -> None:
        super().finish_request(conn, fs)
        if self.pending_conns and self.pending_conns[-1] is conn:
            # gunicorn's is that of connections that are kept, and 0 while draining.
            conn.timeout = time.monotonic() + STALL_SECONDS

    def on_client_socket_readable(self, conn: Any, client: Any) -> None:
        conn.began = time.monotonic()
        super().on_client_socket_readable(conn, client)

    def on_pending_socket_readable(self, conn: Any, client: Any) -> None:
        conn.began = time.monotonic()
        super().on_pending_socket_readable(conn, client)

    def set_accept_enabled(self, enabled: bool) -> None:
        """What waits to be accepted when the worker ends is accepted first.

        A worker that takes another's place accepts when it has loaded what is served;
        gunicorn asks once a second.
        """
        enabled = enabled and self.app.may_accept() and self._has_files()
        if not enabled and not self.alive:
            self.app.stop_loads()
            for listener in self.sockets:
                accept = functools.partial(self._accept_waiting, listener)
                if self.app.is_draining():
                    refuse(listener.sock, accept)
                else:
                    accept()
        super().set_accept_enabled(enabled)

    def accept(self, listener: Any) -> None:
        try:
            super().accept(listener)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                # It would end the worker, and all its connections with it.
                logger.error("no connection taken reason=%s", error)
                self._accept_again = time.monotonic() + ACCEPT_SECONDS
                super().set_accept_enabled(False)
            elif not self.app.is_draining():
                raise
            # Another worker has ended it for all.

    def _has_files(self) -> bool:
        return time.monotonic() >= self._accept_again

    def _close_when_draining(self) -> None:
        if self.app.is_draining():
            self.cfg.set("keepalive", 0)  # each answer closes its connection

    def _accept_waiting(self, listener: Any) -> None:
        while is_readable(listener, 0.0):
            count = self.nr_conns
            self.accept(listener)
            if self.nr_conns == count:
                return  # none came: it is ended, or another worker was quicker

    def _has_next(self, conn: Any) -> bool:
        """The next request is there already, or comes while a thread can wait for it.

        What was read beyond a request lies in the parser, and nothing in the socket
        would tell gunicorn of it: it is answered here.
        """
        if conn.parser.unreader.buf.getbuffer().nbytes:
            conn.began = time.monotonic()
            return True
        may_wait = self._may_wait() or not self.alive
        conn.parser.unreader.has_come = may_wait and _is_readable(conn)
        conn.began = time.monotonic()
        return bool(conn.parser.unreader.has_come)

    def _may_wait(self) -> bool:
        """Whether a thread is free for who comes meanwhile."""
        # The pool starts a thread only where none is idle; its queue then is empty.
        return bool(self.tpool._work_queue.empty())


def _is_readable(conn: Any, seconds: float = NEXT_REQUEST_SECONDS) -> bool:
    return is_readable(conn.sock, seconds)
