"""Requests that come when they come: Poisson arrivals, whatever was answered by then.

wrk waits for an answer before it sends again, so that a server which stands still is
asked nothing meanwhile. Here a request's time counts from when it was to be sent.
"""

import asyncio
import re
import selectors
import time
from dataclasses import dataclass, field
from random import Random
from urllib.parse import urlsplit

import numpy as np

from benchmarks.load import TIMEOUT_SECONDS, Load
from benchmarks.request_bodies import Bodies

MOST_CONNECTIONS = 512
"""Beyond it a request is an error; select() knows 1,024 descriptors."""

NO_ANSWER = 599


@dataclass(frozen=True)
class OpenLoad:
    load: Load
    generator_cpu: float
    """Cores that the generator itself used: 0.05 is 5 % of one."""


def run_open_loop(
    url: str, bodies: Bodies, *, rate: float, seconds: float, seed: int = 0
) -> OpenLoad:
    """`rate` requests a second on average for `seconds`."""
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
                # Also where it is late, so that answers are read meanwhile.
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
        """The answer's status; the connection is free again, or closed."""
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
