"""Load: wrk for the highest rate, and clients that note what became of each request.

wrk waits for an answer before it sends the next request, so a server that stalls gets
no requests meanwhile. Clients at a rate count a request's time from when it was due.
"""

import asyncio
import base64
import io
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from urllib3.filepost import encode_multipart_formdata

IMAGES = 64
IMAGES_A_REQUEST = 32


@dataclass(frozen=True)
class Bodies:
    """Request bodies that are posted in turn, all of one content type."""

    contents: tuple[bytes, ...]
    content_type: str


Encoding = Callable[[Sequence[bytes]], Bodies]
"""A function from JPEG files to as many bodies of one image."""


def raw(files: Sequence[bytes]) -> Bodies:
    return Bodies(tuple(files), "image/jpeg")


def multipart(field: str) -> Encoding:
    def encode(files: Sequence[bytes]) -> Bodies:
        boundary = "flipside-benchmark"
        forms = [
            encode_multipart_formdata(
                {field: (f"{number}.jpg", data, "image/jpeg")}, boundary
            )
            for number, data in enumerate(files)
        ]
        return Bodies(tuple(body for body, _ in forms), forms[0][1])

    return encode


def base64_json(document: Callable[[str], object]) -> Encoding:
    """JSON bodies; `document` takes the base64 of an image."""
    return lambda files: _json(document(_base64(data)) for data in files)


def many_in_json(files: Sequence[bytes]) -> Bodies:
    """JSON bodies of IMAGES_A_REQUEST files, for our own service."""
    return _json(
        {"instances": [{"b64": _base64(data)} for data in group]}
        for group in _groups(files)
    )


def many_in_npy(images: NDArray[np.uint8]) -> Bodies:
    """Bodies of uint8 [N, H, W, 3], N is IMAGES_A_REQUEST."""
    bodies = []
    for start in range(0, len(images), IMAGES_A_REQUEST):
        stream = io.BytesIO()
        np.save(stream, images[start : start + IMAGES_A_REQUEST])
        bodies.append(stream.getvalue())
    return Bodies(tuple(bodies), "application/x-npy")


def _groups(files: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [
        files[start : start + IMAGES_A_REQUEST]
        for start in range(0, len(files), IMAGES_A_REQUEST)
    ]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _json(documents: Iterable[object]) -> Bodies:
    contents = tuple(json.dumps(document).encode() for document in documents)
    return Bodies(contents, "application/json")


SCRIPT = Path(__file__).parent / "post.lua"
TIMEOUT_SECONDS = 30


class NoWrk(RuntimeError):
    """wrk is missing or failed."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """Result of a load."""

    answered: int
    """Requests with a status of 2xx or 3xx."""

    seconds: float
    errors: int
    """Other statuses, broken connections and missing answers."""

    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Answered requests a second."""
        return self.answered / self.seconds


def run_wrk(url: str, bodies: Bodies, *, connections: int, seconds: float) -> Load:
    """Post the bodies in turn from one thread of wrk. Raises NoWrk."""
    if shutil.which("wrk") is None:
        raise NoWrk("wrk is not installed; it is a Debian package: apt install wrk")
    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(bodies.contents):
            (Path(folder) / str(number)).write_bytes(content)
        # wrk takes whole seconds.
        duration = f"{max(1, round(seconds))}s"
        command = ["wrk", "-t1", f"-c{connections}", f"-d{duration}"]
        command += ["--timeout", f"{TIMEOUT_SECONDS}s", "-s", str(SCRIPT), url, "--"]
        command += [folder, str(len(bodies.contents)), bodies.content_type]
        done = subprocess.run(command, capture_output=True, text=True)
    return parse_wrk(done.stdout + done.stderr)


def parse_wrk(output: str) -> Load:
    """Parse post.lua's line of JSON. Raises NoWrk if there is none."""
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise NoWrk(f"wrk printed no result but {output.strip()[-500:]!r}")
    values: dict[str, Any] = json.loads(lines[-1])
    return Load(
        answered=values["requests"] - values["status_errors"],
        seconds=values["microseconds"] / 1e6,
        errors=values["status_errors"] + values["socket_errors"],
        p50_ms=values["p50_us"] / 1000,
        p99_ms=values["p99_us"] / 1000,
    )


NO_ANSWER, REFUSED = 599, 598
"""Statuses of a request without a whole answer, and of one that nobody listened to."""


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A request and what became of it; times in seconds from the start."""

    due: float
    ended: float
    status: int

    @property
    def ms(self) -> float:
        return 1000 * (self.ended - self.due)


@dataclass(frozen=True, kw_only=True)
class Clients:
    """Clients with a connection each, which open another when it is closed."""

    url: str
    bodies: Bodies
    count: int
    every: float = 0.0
    """Seconds between two requests of a client, which are timed from when they are due;
    0 is without a pause."""

    def run(
        self, seconds: float, act: Callable[[], None] | None = None, at: float = 0.0
    ) -> list[Exchange]:
        """All requests, until `seconds` or nobody listens; `act` is called once."""
        exchanges: list[Exchange] = []

        async def run_all() -> None:
            if act is not None:
                asyncio.get_running_loop().call_later(at, act)
            shared = (time.monotonic(), seconds, exchanges)
            await asyncio.gather(*(self._client(*shared) for _ in range(self.count)))

        asyncio.run(run_all())
        return exchanges

    async def _client(
        self, start: float, seconds: float, exchanges: list[Exchange]
    ) -> None:
        connection, status, due, ended = None, 0, 0.0, 0.0
        requests = _requests(self.url, self.bodies)
        while max(due, ended - TIMEOUT_SECONDS) < seconds and status != REFUSED:
            await asyncio.sleep(start + due - time.monotonic())
            status, stays_open = REFUSED, False
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    connection = connection or await _open(self.url)
                    status = NO_ANSWER
                    request = requests[len(exchanges) % len(requests)]
                    status, stays_open = await connection.ask(request)
            except (OSError, EOFError, TimeoutError):
                pass
            ended = time.monotonic() - start
            exchanges.append(Exchange(due=due, ended=ended, status=status))
            if connection is not None and not stays_open:
                connection.writer.close()
                connection = None
            due = due + self.every if self.every else ended
        if connection is not None:
            connection.writer.close()


@dataclass
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: bytes) -> tuple[int, bool]:
        """The answer's status, and whether the connection stays open."""
        self.writer.write(request)
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = re.search(rb"content-length: *(\d+)", head)
        if length is None:
            raise ConnectionError("an answer without Content-Length")
        await self.reader.readexactly(int(length[1]))
        stays_open = head.startswith(b"http/1.1") and b"connection: close" not in head
        return int(head[9:12]), stays_open


async def _open(url: str) -> _Connection:
    address = urlsplit(url)
    return _Connection(*await asyncio.open_connection(address.hostname, address.port))


def _requests(url: str, bodies: Bodies) -> list[bytes]:
    """Whole requests, head and body."""
    address = urlsplit(url)
    target = f"{address.path}?{address.query}" if address.query else address.path
    return [
        f"POST {target} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Content-Type: {bodies.content_type}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n".encode()
        + content
        for content in bodies.contents
    ]
