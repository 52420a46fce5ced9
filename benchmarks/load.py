"""Load: wrk for the highest rate, and an open loop for latency at a given rate.

wrk waits for an answer before it sends the next request, so a server that stalls gets
no requests meanwhile. The open loop counts a request's time from its due time.
"""

import asyncio
import base64
import io
import json
import re
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
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
        raise NoWrk(
            "wrk is not installed; it is a package of Debian's: apt install wrk"
        )
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


MOST_CONNECTIONS = 512
"""Most open connections; select() takes 1,024 descriptors."""

NO_ANSWER = 599


@dataclass(frozen=True)
class OpenLoad:
    load: Load
    generator_cpu: float
    """Cores that the generator itself used; 0.05 is 5 % of one core."""


def run_open_loop(
    url: str, bodies: Bodies, *, rate: float, seconds: float, seed: int = 0
) -> OpenLoad:
    """Send `rate` requests a second on average for `seconds`."""
    random = Random(seed)
    arrivals = [random.expovariate(rate)]
    while arrivals[-1] < seconds:
        arrivals.append(arrivals[-1] + random.expovariate(rate))
    started, cpu_started = time.perf_counter(), time.process_time()
    # epoll's timeouts are whole milliseconds, rounded up; select's are not.
    with asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())
    ) as runner:
        load = runner.run(_Generator(url, bodies).drive(arrivals[:-1]))
    cpu = time.process_time() - cpu_started
    return OpenLoad(load, cpu / (time.perf_counter() - started))


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


@dataclass
class _Generator:
    url: str
    bodies: Bodies
    _idle: list[_Connection] = field(default_factory=list)
    _busy: int = 0
    _errors: int = 0
    _latencies: list[float] = field(default_factory=list)

    async def drive(self, arrivals: list[float]) -> Load:
        """`arrivals` in seconds from the start, rising."""
        requests = _requests(self.url, self.bodies)
        start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number, arrival in enumerate(arrivals):
                delay = start + arrival - time.perf_counter()
                # Even if it is late: answers are read during the sleep.
                await asyncio.sleep(max(0.0, delay))
                request = requests[number % len(requests)]
                group.create_task(self._ask(request, intended=start + arrival))
        seconds = time.perf_counter() - start
        for connection in self._idle:
            connection.writer.close()
        milliseconds = 1000 * np.array(self._latencies or [np.nan])
        p50_ms, p99_ms = np.percentile(milliseconds, [50, 99])
        return Load(
            answered=len(self._latencies),
            seconds=seconds,
            errors=self._errors,
            p50_ms=float(p50_ms),
            p99_ms=float(p99_ms),
        )

    async def _ask(self, request: bytes, *, intended: float) -> None:
        if self._busy >= MOST_CONNECTIONS:
            self._errors += 1
            return
        self._busy += 1
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                connection = self._idle.pop() if self._idle else await self._open()
                status = await self._exchange(connection, request)
        except (OSError, EOFError, TimeoutError):
            status = NO_ANSWER
        finally:
            self._busy -= 1
        if status < 400:
            self._latencies.append(time.perf_counter() - intended)
        else:
            self._errors += 1

    async def _exchange(self, connection: _Connection, request: bytes) -> int:
        """The answer's status. Afterwards the connection is idle or closed."""
        stays_open = False
        try:
            status, stays_open = await connection.ask(request)
        finally:
            if stays_open:
                self._idle.append(connection)
            else:
                connection.writer.close()
        return status

    async def _open(self) -> _Connection:
        address = urlsplit(self.url)
        return _Connection(
            *await asyncio.open_connection(address.hostname, address.port)
        )


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
