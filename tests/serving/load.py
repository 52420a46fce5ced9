"""Live services, and requests to them: by many clients at once, or byte by byte."""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from types import MappingProxyType
from typing import Any

from tests.conftest import WAIT_SECONDS, RunningService

CLIENT_SECONDS = 10.0
"""What a client of these tests waits for an answer, unless a test says otherwise."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    """By name in lower case."""

    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """Of an error."""
        return self.json["error"]["code"] if self.status >= 400 else None


def ask(
    service: RunningService,
    method: str,
    target: str,
    body: bytes | None = None,
    *,
    kind: str | None = None,
) -> Answer:
    """On a connection of its own; `kind` is the body's content type."""
    connection = HTTPConnection(*address(service), timeout=CLIENT_SECONDS)
    headers = {} if kind is None else {"Content-Type": kind}
    try:
        return _ask(connection, method, target, body, headers)
    finally:
        connection.close()


def address(service: RunningService) -> tuple[str, int]:
    host, port = service.url.removeprefix("http://").split(":")
    return host, int(port)


def connect(service: RunningService, seconds: float = CLIENT_SECONDS) -> socket.socket:
    return socket.create_connection(address(service), timeout=seconds)


def head(*lines: str, target: str = "/predict", method: str = "POST") -> bytes:
    """Of a request with these header lines."""
    return "\r\n".join(
        [f"{method} {target} HTTP/1.1", "Host: localhost", *lines, "", ""]
    ).encode()


def answers(connection: socket.socket) -> list[Answer]:
    """All that come until the service closes the connection; with chunks, none may."""
    with connection.makefile("rb") as stream:
        rest = stream.read()
    found = []
    while rest:
        first, _, rest = rest.partition(b"\r\n\r\n")
        status, *lines = first.decode().split("\r\n")
        pairs = (line.partition(": ") for line in lines)
        headers = {name.lower(): value for name, _, value in pairs}
        length = int(headers["content-length"])
        found.append(Answer(int(status.split()[1]), headers, rest[:length]))
        assert len(found[-1].body) == length, "the answer is cut off"
        rest = rest[length:]
    return found


IDLE_SECONDS = 1.0
"""A connection that idled longer is not used again: gunicorn closes it after 2 s, and
on a busy machine a client may be paused for as long."""


@dataclass
class Load:
    """Clients, each with a connection that it keeps, which ask until told to stop."""

    service: RunningService
    body: bytes
    target: str
    answered: "Counter[int]" = field(default_factory=Counter)
    """By status."""

    waits: list[str | None] = field(default_factory=list)
    """The Retry-After of each 429."""

    lost: list[str] = field(default_factory=list)
    """Requests without an answer: why. The client then takes a new connection."""

    refused: int = 0
    """Connections that the service did not take; the client then ends."""

    _clients: list[threading.Thread] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, more: int, *, seconds: float = WAIT_SECONDS) -> None:
        """Until so many more are answered or lost."""
        with self._changed:
            wanted = self._done + more
            assert self._changed.wait_for(lambda: self._done >= wanted, seconds), self

    @property
    def _done(self) -> int:
        return self.answered.total() + len(self.lost)

    def stop(self) -> None:
        """Each client takes the answer to what it asked, and asks no more."""
        self._stopped.set()

    def join(self) -> None:
        """Returns when all clients have ended, as they do where they are refused."""
        for client in self._clients:
            client.join()

    def start(self, clients: int) -> None:
        self._clients = [threading.Thread(target=self._run) for _ in range(clients)]
        for client in self._clients:
            client.start()

    def _run(self) -> None:
        """A client; in a thread of its own."""
        while not self._stopped.is_set():
            connection = HTTPConnection(*address(self.service), timeout=WAIT_SECONDS)
            try:
                connection.connect()
            except ConnectionRefusedError:
                with self._changed:
                    self.refused += 1
                return
            answered_at = time.monotonic()
            try:
                while (
                    not self._stopped.is_set()
                    and connection.sock is not None
                    and time.monotonic() - answered_at < IDLE_SECONDS
                ):
                    self._count(_ask(connection, "POST", self.target, self.body))
                    answered_at = time.monotonic()
            except (OSError, HTTPException) as error:
                with self._changed:
                    self.lost.append(repr(error))
                    self._changed.notify_all()
            finally:
                connection.close()

    def _count(self, answer: Answer) -> None:
        with self._changed:
            self.answered[answer.status] += 1
            if answer.status == 429:
                self.waits.append(answer.headers.get("retry-after"))
            self._changed.notify_all()


@contextmanager
def load(
    service: RunningService, body: bytes, *, clients: int, target: str = "/predict"
) -> Iterator[Load]:
    """Under it, until it is left; then all its clients have stopped."""
    made = Load(service, body, target)
    made.start(clients)
    try:
        yield made
    finally:
        made.stop()
        made.join()


def _ask(
    connection: HTTPConnection,
    method: str,
    target: str,
    body: bytes | None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Answer:
    connection.request(method, target, body, headers)
    answer = connection.getresponse()
    got = {name.lower(): value for name, value in answer.getheaders()}
    return Answer(answer.status, got, answer.read())
