"""The processes of one service tell each other what to serve."""

import json
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    """Those with the same parent process, by sockets without files.

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
        """What each of the others answers; PeerFailed if one of them could not, when
        all are told.

        One that ends meanwhile is left out: who takes its place asks what is served.
        """
        answers, failures = self._ask_all(message, seconds=ANSWER_SECONDS)
        if failures:
            raise PeerFailed("; ".join(failures))
        return answers

    def ask(self, message: Any) -> list[Any]:
        """What those answer that can, and soon."""
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
    """What it answers; PeerFailed, OSError and ValueError where it is not there."""
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
