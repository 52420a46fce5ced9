"""Changes of what is served, in every process of the service."""

import errno
import json
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from classifier.store.versions import UnknownVersion, canonical_name, split_name
from serving.versions.loaded import VersionStatus
from serving.versions.pool import PredictorPool
from serving.versions.slot import NotReady

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 120.0
"""How long another process may take to load a version."""

CONNECT_SECONDS = 2.0
"""A process that is there takes a connection at once, and reads soon."""

STATE_SECONDS = 10.0
"""For an answer that needs no work. gunicorn gives a worker 30 s to start."""

ACCEPT_SECONDS = 1.0
"""Until the next try where there are no more open files."""

LONGEST_MESSAGE = 1_000_000


class PeerFailed(RuntimeError):
    """Another process of the service could not do what this one did."""


class Peers:
    """Processes with the same parent, reached by sockets without files.

    Linux's abstract sockets (unix(7)) vanish with their process, so that what
    /proc/net/unix lists is who is there: nothing is left behind by a killed worker.
    """

    def __init__(self, service: str, obey: Callable[[Any], Any]) -> None:
        """`obey` does what a peer asks, in a thread of its own, and returns what it is
        told; JSON both. What it raises is told as PeerFailed."""
        self._prefix = f"flipside/{service}/"
        self._own = f"{self._prefix}{os.getpid()}-{id(self):x}"
        self._obey = obey
        self._is_closed = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(f"\0{self._own}")
        self._socket.listen(64)
        threading.Thread(target=self._listen, name="peers", daemon=True).start()

    def tell(self, message: Any) -> list[Any]:
        """The answers of all others. Raises PeerFailed if one of them could not, when
        all are told.

        One that ends meanwhile is left out: who takes its place asks what is served.
        """
        answers, failures = self._ask_all(message, seconds=ANSWER_SECONDS)
        if failures:
            raise PeerFailed("; ".join(failures))
        return answers

    def ask(self, message: Any) -> list[Any]:
        """The answers of the others that can answer, and soon."""
        answers, failures = self._ask_all(message, seconds=STATE_SECONDS)
        for failure in failures:
            logger.warning("a process did not answer reason=%s", failure)
        return answers

    def close(self) -> None:
        self._is_closed.set()
        # Closing alone would not wake the thread that accepts.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _others(self) -> list[str]:
        lines = Path("/proc/net/unix").read_text().splitlines()
        names = {line.rpartition(" ")[2].removeprefix("@") for line in lines}
        return sorted(n for n in names if n.startswith(self._prefix) and n != self._own)

    def _ask_all(self, message: Any, *, seconds: float) -> tuple[list[Any], list[str]]:
        """Answers, and what failed."""
        answers, failures = [], []
        for name in self._others():
            try:
                answers.append(_ask(name, message, seconds=seconds))
            except PeerFailed as error:
                failures.append(str(error))
            # A message that ends too early, as its process did, is no JSON.
            except (OSError, ValueError) as error:
                logger.warning("a process ended name=%s reason=%s", name, error)
        return answers, failures

    def _listen(self) -> None:
        """Ends when it is closed, and for no other reason: nobody could change what
        is served any more."""
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError as error:
                if self._is_closed.is_set():
                    return
                logger.error("no process was heard reason=%s", error)  # out of files
                self._is_closed.wait(ACCEPT_SECONDS)
                continue
            thread = threading.Thread(
                target=self._answer, args=(connection,), name="peer", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # no more threads
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(ANSWER_SECONDS)
            try:
                check_same_user(connection)
                _send(connection, self._result(_receive(connection)))
            except (OSError, ValueError) as error:
                logger.warning("a process was not answered reason=%s", error)

    def _result(self, message: Any) -> Any:
        try:
            return {"done": self._obey(message)}
        except Exception as error:
            logger.exception("a process asked for what failed message=%s", message)
            return {"failed": str(error)}


def _ask(name: str, message: Any, *, seconds: float) -> Any:
    """Its answer. Raises PeerFailed, and OSError or ValueError if it is not there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(CONNECT_SECONDS)
        connection.connect(f"\0{name}")
        check_same_user(connection)
        _send(connection, message)
        connection.settimeout(seconds)
        try:
            answer = _receive(connection)
        except TimeoutError as error:
            raise PeerFailed(f"a process did not answer in {seconds:g} s") from error
    if "failed" in answer:
        raise PeerFailed(answer["failed"])
    return answer["done"]


def check_same_user(connection: socket.socket) -> None:
    """PermissionError: abstract sockets have no owner that the kernel would check."""
    credentials = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
    )
    _, user, _ = struct.unpack("3i", credentials)
    if user != os.geteuid():
        raise PermissionError(f"user {user} is not this service's")


def _send(connection: socket.socket, message: Any) -> None:
    connection.sendall(json.dumps(message).encode())
    connection.shutdown(socket.SHUT_WR)


def _receive(connection: socket.socket) -> Any:
    """All until the other side has said everything."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
        if sum(map(len, parts)) > LONGEST_MESSAGE:
            raise ValueError("a message without end")
    return json.loads(b"".join(parts))


WAITING = 128
"""Processes that may wait."""


def wait_for_turn(name: str, *, seconds: float) -> socket.socket:
    """It is the caller's turn until the socket is closed, or its process ends.

    TimeoutError; PermissionError where another user's process has taken the name. An
    abstract socket (unix(7)) is bound by one alone; who waits is connected to it, and
    so hears of its end.
    """
    deadline = time.monotonic() + seconds
    while True:
        held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            held.bind(f"\0{name}")
            held.listen(WAITING)
            return held
        except OSError as error:
            held.close()
            if error.errno != errno.EADDRINUSE:
                raise
        _wait_for_its_end(name, deadline - time.monotonic())


def _wait_for_its_end(name: str, seconds: float) -> None:
    if seconds <= 0:
        raise TimeoutError("timed out")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as waiting:
        waiting.settimeout(seconds)
        try:
            waiting.connect(f"\0{name}")
            check_same_user(waiting)
            waiting.recv(1)  # nothing is ever sent
        except (ConnectionRefusedError, ConnectionResetError):
            return  # ended, or not listening yet


TURN_SECONDS = 120.0
"""How long a change waits for those before it, which may be loading."""


class Control:
    """Changes of one process; with `service`, in step with the others of that name.

    Changes have an order in all processes: one is made at a time, and each has a
    number.
    """

    def __init__(self, pool: PredictorPool, *, service: str | None = None) -> None:
        """Adopts the versions that the others serve; loads none yet."""
        self._pool = pool
        self._service = service
        self._changes = 0
        """The number of the last change that was made here."""

        self._has_adopted = threading.Event()
        self._peers = None if service is None else Peers(service, self._obey)
        # First there, then asking: what changes from now on is told here as well.
        self._adopt()

    def add(self, asked: str) -> VersionStatus:
        """Ready in all processes when it returns; UnknownVersion, NotReady: in none."""
        # Before its turn: what is not known, or hangs while it loads, holds up nobody.
        version = self._pool.names.in_registry(asked)
        number = version.name
        name = version.qualified(canonical_name(split_name(asked)[1]))
        with self._pool.prepared(number) as slot, self._turn():
            before = self._pool.names.stands_for(name)
            status = self._pool.add(name, number=number, prepared=slot)
            try:
                self._tell({"do": "add", "name": name, "number": number})
            except PeerFailed as error:
                self._undo(name, number=number, before=before)
                raise NotReady(
                    f"version {number} cannot be served by all processes of the "
                    f"service: {error}"
                ) from error
            return status

    def remove(self, asked: str) -> VersionStatus:
        """Gone in all processes when it returns; UnknownVersion, NotReady."""
        self._pool.names.resolve(asked)
        with self._turn():
            removed = self._pool.remove(asked)
            number = removed.status.version.name
            try:
                self._tell({"do": "remove", "names": removed.names, "number": number})
            except PeerFailed as error:
                raise NotReady(
                    f"version {number} was not taken away in all processes of the "
                    f"service: {error}"
                ) from error
            return removed.status

    def _turn(self) -> AbstractContextManager[Any]:
        if self._service is None:
            return nullcontext()
        try:
            return wait_for_turn(f"flipside/{self._service}.turn", seconds=TURN_SECONDS)
        except OSError as error:
            raise NotReady(
                f"what is served cannot be changed now, as another change is not done "
                f"({error}); try again soon"
            ) from error

    def _tell(self, change: dict[str, Any]) -> None:
        self._changes += 1
        if self._peers is not None:
            self._peers.tell({**change, "change": self._changes})

    def _undo(self, name: str, *, number: str, before: str | None) -> None:
        """Takes back this change, and no other."""
        if before == number:
            return
        change: dict[str, Any] = {"do": "add", "name": name, "number": before}
        if before is None:
            change = {"do": "remove", "names": [name], "number": number}
        for make in (self._make, self._tell):
            try:
                make(change)
            except (NotReady, PeerFailed, UnknownVersion) as error:
                logger.error("not undone name=%s reason=%s", name, error)

    def _obey(self, message: Any) -> Any:
        if message["do"] == "tell":
            return {"change": self._changes, "served": self._pool.names.state()}
        # Else what is adopted would come after this change, and without it.
        self._has_adopted.wait(ANSWER_SECONDS)
        self._make(message)
        self._changes = max(self._changes, message["change"])
        return None

    def _make(self, change: Any) -> None:
        """Here; to remove what is gone is no error."""
        match change:
            case {"do": "add", "name": str(name), "number": str(number)}:
                self._pool.add(name, number=number)
            case {"do": "remove", "names": [*names], "number": str(number)}:
                if self._pool.take_away(number, names):
                    # A name that has moved away from it elsewhere, and here not yet.
                    self._pool.read_registry()

    def _adopt(self) -> None:
        """The state after the latest change, as one may be half told just now."""
        try:
            states = [] if self._peers is None else self._peers.ask({"do": "tell"})
            if states:
                latest = max(states, key=lambda state: int(state["change"]))
                self._changes = latest["change"]
                self._pool.adopt(latest["served"])
        finally:
            self._has_adopted.set()


def service_of_parent() -> str:
    """A name that the children of one process share, and no others ever."""
    parent = os.getppid()
    # Its start, the 22nd field (proc(5)): numbers of processes are used again.
    fields = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()
    return f"{parent}-{fields[19]}"
