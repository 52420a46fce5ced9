"""gunicorn's threaded worker, quicker between requests and without loss at the end."""

import logging
import os
import select
import time
from typing import Any

from gunicorn.http import wsgi
from gunicorn.workers.gthread import ThreadWorker

NEXT_REQUEST_SECONDS = 0.02
"""How long a thread waits for the next request of its connection: a client on the same
machine sends it in 1 ms. Handing the connection back costs 0.1 ms of a core."""


UNREAD = ("408", "413")
"""Answers after which there may be more of the body to come."""


class _Response(wsgi.Response):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's, which does not tell what answers."""

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Any:
        if status.startswith(UNREAD):
            self.force_close()
        return super().start_response(status, headers, exc_info)

    def default_headers(self) -> list[str]:
        headers: list[str] = super().default_headers()
        return [line for line in headers if not line.startswith("Server:")]


class ServingWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """A process that serves; `is_draining` of its app is asked once a second."""

    def handle(self, conn: Any) -> Any:
        """In a thread: a request, and those that follow it at once."""
        keep = super().handle(conn)
        while keep is True and self.alive and self._may_wait() and _is_readable(conn):
            keep = super().handle(conn)
        return keep

    def init_process(self) -> None:
        # gunicorn makes it by this name, and has no setting for it.
        wsgi.Response = _Response
        super().init_process()

    def run(self) -> None:
        super().run()
        # All are answered. The interpreter would wait 5 s for threads that wait for the
        # first byte of a connection, and take everything apart.
        logging.shutdown()
        os._exit(0)

    def notify(self) -> None:
        super().notify()
        if self.app.is_draining():
            self.cfg.set("keepalive", 0)  # each answer closes its connection

    def murder_keepalived(self) -> None:
        """At the end, at once: gunicorn waits as long as they may be kept."""
        if not self.alive:
            for conn in list(self.keepalived_conns):
                if _is_readable(conn, seconds=0.0):
                    self.on_client_socket_readable(conn, conn.sock)
                else:
                    conn.timeout = time.monotonic()
        super().murder_keepalived()

    def set_accept_enabled(self, enabled: bool) -> None:
        """What waits to be accepted when the worker ends is accepted first.

        A worker that takes another's place accepts when it has loaded what is served;
        gunicorn asks once a second.
        """
        enabled = enabled and self.app.may_accept()
        if not enabled and not self.alive:
            for listener in self.sockets:
                while _is_readable_socket(listener, 0.0):
                    self.accept(listener)
        super().set_accept_enabled(enabled)

    def _may_wait(self) -> bool:
        """Whether a thread is free for who comes meanwhile."""
        # The pool starts a thread only where none is idle; its queue then is empty.
        return bool(self.tpool._work_queue.empty())


def _is_readable(conn: Any, seconds: float = NEXT_REQUEST_SECONDS) -> bool:
    # What was read beyond a request lies in the parser, and not in the socket.
    return _is_readable_socket(conn.sock, seconds)


def _is_readable_socket(sock: Any, seconds: float) -> bool:
    poll = select.poll()
    try:
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(1000 * seconds))
    except (OSError, ValueError):
        return False
