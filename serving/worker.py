"""gunicorn's threaded worker, quicker between requests and without loss at the end."""

import errno
import functools
import logging
import os
import select
import time
from typing import Any

from gunicorn.http import parser, wsgi
from gunicorn.http.errors import ParseException
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers import gthread
from gunicorn.workers.gthread import ThreadWorker

from serving.body_reader import STALL_SECONDS
from serving.lingering import Lingering
from serving.refusing import refuse

NEXT_REQUEST_SECONDS = 0.02
"""How long a thread waits for the next request of its connection: a client on the same
machine sends it in 1 ms. Handing the connection back costs 0.1 ms of a core."""

REST_SECONDS = 0.1
"""How long a thread waits for the rest of a body that nobody reads, as of a request
that is refused; gunicorn's own 5 s take the threads from those who say no."""

REST_BYTES = 2**20
"""And how much of it is read away; gunicorn's 64 KiB are less than many a photo."""

FIRST_SECONDS = 0.05
"""How long a thread waits for a connection's first byte before the poller does; of
gunicorn's 5 s, 128 connections that say nothing would make all others wait."""

LAST_FIRST_SECONDS = 0.5
"""And at the end, when no poller waits any more."""

ACCEPT_SECONDS = 1.0
"""Until the next try where a connection needs an open file more than there may be."""

logger = logging.getLogger(__name__)

UNREAD = ("408", "413")
"""Answers after which there may be more of the body to come."""


class _Response(wsgi.Response):  # type: ignore[misc]  # gunicorn has no types
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


class _Unreader(SocketUnreader):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's, with a time by which all of a head or a body must have come.

    A socket's own timeout begins anew with each byte: as many clients as there are
    threads, each with a byte now and then, would take the service from all others.
    """

    _until: float | None = None
    _is_head = False

    def limit_seconds(self, seconds: float | None, *, is_head: bool = False) -> None:
        """From now; None lifts it. A head that is late has ended, a body raises
        TimeoutError."""
        self._until = None if seconds is None else time.monotonic() + seconds
        self._is_head = is_head

    def chunk(self) -> bytes:
        if self._until is not None and not self._comes_in_time(self._until):
            if self._is_head:
                return b""
            raise TimeoutError("the rest of a body came too late")
        data: bytes = super().chunk()
        return data

    def _comes_in_time(self, until: float) -> bool:
        left = until - time.monotonic()
        stall = self.sock.gettimeout()
        wait = left if stall is None else min(left, stall)
        return left > 0 and _is_readable_socket(self.sock, wait)


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
        req.body.limit_seconds = req.unreader.limit_seconds  # for serving.body_reader
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
                    self.data_ready: bool = _is_readable(self, seconds)
                return self.data_ready

            def set_timeout(self) -> None:
                # Also where draining has begun since the answer said that it is kept.
                self.timeout = time.monotonic() + kept_seconds

        # gunicorn makes them by these names, and has no settings for them.
        wsgi.Response = _Response
        parser.SocketUnreader = _Unreader
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

    def set_accept_enabled(self, enabled: bool) -> None:
        """What waits to be accepted when the worker ends is accepted first.

        A worker that takes another's place accepts when it has loaded what is served;
        gunicorn asks once a second.
        """
        enabled = enabled and self.app.may_accept() and self._has_files()
        if not enabled and not self.alive:
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
        while _is_readable_socket(listener, 0.0):
            count = self.nr_conns
            self.accept(listener)
            if self.nr_conns == count:
                return  # none came: it is ended, or another worker was quicker

    def _has_next(self, conn: Any) -> bool:
        """The next request is there already, or comes while a thread can wait for it.

        What was read beyond a request lies in the parser, and nothing in the socket
        would tell gunicorn of it: it is answered here.
        """
        is_read = bool(conn.parser.unreader.buf.getbuffer().nbytes)
        may_wait = self._may_wait() or not self.alive
        return is_read or (may_wait and _is_readable(conn))

    def _may_wait(self) -> bool:
        """Whether a thread is free for who comes meanwhile."""
        # The pool starts a thread only where none is idle; its queue then is empty.
        return bool(self.tpool._work_queue.empty())


def _is_readable(conn: Any, seconds: float = NEXT_REQUEST_SECONDS) -> bool:
    return _is_readable_socket(conn.sock, seconds)


def _is_readable_socket(sock: Any, seconds: float) -> bool:
    poll = select.poll()
    try:
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(1000 * seconds))
    except (OSError, ValueError):
        return False
