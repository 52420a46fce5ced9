"""The first process of the service: it starts gunicorn, drains, reloads, and ends.

gunicorn closes its socket at once on SIGTERM, when those who send requests have not
been told yet; and on SIGHUP it ends the old workers before the new ones can answer.
"""

import ctypes
import json
import logging
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.sharedctypes import RawArray, RawValue
from typing import Any

from classifier.console.exits import INTERRUPTED, NotNow
from classifier.console.text import error_line

PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of prctl(2)."""

BACKLOG = 2048

ANSWER_MILLISECONDS = 30_000
"""How long a client may leave an answer unread before its connection is cut (tcp(7),
TCP_USER_TIMEOUT); accepted sockets inherit it."""

MOST_WORKERS = 64
"""Workers at a time that have a place of their own in what is shared."""

MESSAGE_BYTES = 4096
"""Writes of this length to a pipe are whole (pipe(7))."""

FORWARDED = (signal.SIGQUIT, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1)

logger = logging.getLogger(__name__)


class AddressUnavailable(NotNow, RuntimeError):
    """The port is taken, or the address is not this machine's."""


class WorkerLine:
    """Shared memory and pipes between the first process and the workers.

    There are no locks: a killed worker would hold one for ever.
    """

    def __init__(self) -> None:
        self._has_started = RawValue("b", 0)
        self._is_draining = RawValue("b", 0)
        self.running = RawArray("i", MOST_WORKERS)
        """Batches that run now, by the place of their worker."""

        self.messages, self._writer = os.pipe()
        self.end, self._end_writer = os.pipe()
        """Readable when the service ends, also where its first process was killed."""

    def has_started(self) -> bool:
        """Whether all workers have been ready; it stays so."""
        return bool(self._has_started.value)

    def is_draining(self) -> bool:
        """Whether /readyz says no, while all else goes on."""
        return bool(self._is_draining.value)

    def say_ready(self) -> None:
        self._write({"ready": os.getpid()})

    def say_failed(self, error: str, exit_code: int) -> None:
        self._write({"failed": error[: MESSAGE_BYTES // 8], "exit_code": exit_code})

    def start(self) -> None:
        self._has_started.value = 1

    def drain(self) -> None:
        self._is_draining.value = 1

    def in_child(self) -> None:
        """Leaves the ends of the pipes to the first process that are its own."""
        os.close(self._end_writer)

    def say_end(self) -> None:
        if self._end_writer >= 0:
            os.close(self._end_writer)
            self._end_writer = -1

    def _write(self, message: dict[str, Any]) -> None:
        os.write(self._writer, json.dumps(message).encode() + b"\n")

    def read(self) -> list[dict[str, Any]]:
        lines = os.read(self.messages, 16 * MESSAGE_BYTES).splitlines()
        return [json.loads(line) for line in lines]


class Supervisor:
    """Runs `gunicorn(descriptor, line)` in a child process until it ends."""

    def __init__(
        self, *, host: str, port: int, workers: int, drain_seconds: float
    ) -> None:
        """Raises AddressUnavailable."""
        self._listening = _listen(host, port)
        self._address = _address(self._listening)
        self._workers = workers
        self._drain_seconds = drain_seconds
        self._line = WorkerLine()
        self._ready: set[int] = set()
        self._to_replace = 0  # workers of before a SIGHUP
        self._ends_at: float | None = None
        self._exit_code: int | None = None

    def serve(self, gunicorn: Callable[[int, WorkerLine], int]) -> int:
        """The exit code of the process."""
        _allow_files()
        parent = os.getpid()
        self._child = os.fork()
        if self._child == 0:
            _end_with(parent)
            self._line.in_child()
            for number in _DEADLY:
                signal.signal(number, signal.SIG_DFL)
            os._exit(gunicorn(self._listening.detach(), self._line))
        self._listening.close()  # it would take connections that nobody accepts
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        for number in (*FORWARDED, *_HANDLED):
            signal.signal(number, lambda number, frame: None)  # the pipe is read
        while True:
            left = None if self._ends_at is None else self._ends_at - time.monotonic()
            found, _, _ = select.select(
                [reader, self._line.messages], [], [], left and max(0.0, left)
            )
            if self._ends_at is not None and time.monotonic() >= self._ends_at:
                self._end_gunicorn()
                self._ends_at = None
            if self._line.messages in found:
                for message in self._line.read():
                    self._hear(message)
            if reader in found:
                for heard in os.read(reader, 4096):
                    self._handle(signal.Signals(heard))
            if (code := self._reap()) is not None:
                return self._final(code)

    def _final(self, code: int) -> int:
        """The exit code of the service, from gunicorn's; below 0 a signal ended it."""
        if self._exit_code is not None:
            return self._exit_code
        if code == -signal.SIGTERM and self._line.is_draining():
            return 0  # it was told to stop before it could hear that
        return code if code >= 0 else 128 - code  # as shells say it

    def _hear(self, message: dict[str, Any]) -> None:
        if "failed" in message:
            if self._exit_code is None:
                self._exit_code = message["exit_code"]
                print(error_line(message["failed"]), file=sys.stderr, flush=True)
                self._tell_gunicorn(signal.SIGQUIT)
            return
        self._ready.add(message["ready"])
        if self._line.has_started():
            self._replace_next()
        elif len(self._ready) >= self._workers:
            self._line.start()
            print(f"serving on http://{self._address}", flush=True)

    def _handle(self, number: signal.Signals) -> None:
        if number == signal.SIGTERM:
            self._drain()
        elif number == signal.SIGINT:
            self._exit_code = (
                INTERRUPTED if self._exit_code is None else self._exit_code
            )
            self._tell_gunicorn(signal.SIGINT)
        elif number == signal.SIGHUP:
            self._reload()
        elif number in FORWARDED:
            self._tell_gunicorn(number)

    def _drain(self) -> None:
        """The first SIGTERM begins to drain; a second, or the end of its time, ends."""
        self._line.drain()
        if self._drain_seconds == 0 or self._ends_at is not None:
            self._end_gunicorn()
        else:
            self._ends_at = time.monotonic() + self._drain_seconds

    def _reload(self) -> None:
        """Starts new workers; each that is ready takes an old one's place."""
        if not self._line.has_started() or self._to_replace:
            logger.warning("SIGHUP not heard reason=workers are being started")
            return
        self._to_replace = self._workers
        self._tell_gunicorn(signal.SIGTTIN)

    def _replace_next(self) -> None:
        if self._to_replace:
            self._to_replace -= 1
            self._tell_gunicorn(signal.SIGTTOU)  # of the oldest
            if self._to_replace:
                self._tell_gunicorn(signal.SIGTTIN)

    def _end_gunicorn(self) -> None:
        self._line.say_end()
        self._tell_gunicorn(signal.SIGTERM)

    def _tell_gunicorn(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has ended, and is reaped next
            os.kill(self._child, number)

    def _reap(self) -> int | None:
        """gunicorn's exit code if it has ended; reaps orphans, as process 1 must."""
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return 1
            if process == 0:
                return None
            if process == self._child:
                return os.waitstatus_to_exitcode(status)


_DEADLY = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""Signals that end gunicorn until it hears them itself. A shell has programs in the
background ignore the last two, and their children inherit that."""

_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def _end_with(parent: int) -> None:
    """Lets gunicorn end gracefully where the first process was killed."""
    ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def _allow_files() -> None:
    """As many open files as may be: each connection is one, and shells allow 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise AddressUnavailable(
            f"cannot listen on {host} port {port}: {error.strerror or error}; stop "
            f"what does, or choose another with --port (0 takes a free one)"
        ) from error
    listening.setsockopt(
        socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, ANSWER_MILLISECONDS
    )
    return listening


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
