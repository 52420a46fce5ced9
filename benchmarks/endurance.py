"""Slow clients, large images and signals, and what they do to our own service."""

import io
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import urllib3
from PIL import Image

from benchmarks import servers
from benchmarks import serving_goals as goals
from benchmarks.harness import descendants, memory_bytes
from benchmarks.load import NO_ANSWER, REFUSED, Bodies, Clients, Exchange, run_wrk
from benchmarks.servers import MB, Launch, post, running
from benchmarks.serving_goals import Row, row, spread

HEADS, BODIES, PIPELINES = 300, 130, 400
EVERY = 0.05  # seconds, between the bystander's requests
PNGS, PNG_SIDE, POSTING = 60, 5_000, 8
SETTLE_SECONDS = 5.0
CLIENTS = 32
SIGNAL_AT, SIGNAL_SECONDS = 2.0, 14.0


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What all rows share."""

    make: Callable[[Mapping[str, str]], Launch]
    """Our service of two versions with its defaults, but for the flags given."""

    second: str
    """The version that its path does not name."""

    bodies: Bodies
    many: Sequence[Bodies]  # of 32 images
    work: Path
    seconds: float
    rounds: int

    @contextmanager
    def service(self, **flags: str) -> Iterator[tuple[Launch, int]]:
        """The running service and its first process."""
        given = {name.replace("_", "-"): value for name, value in flags.items()}
        launch = self.make(given)
        log, probe = self.work / "server.log", self.bodies.contents[0]
        with running(launch, log=log, probe=probe) as server:
            post(launch, probe, self.bodies.content_type)
            # The first version answers before the second one is loaded.
            ready = f"http://127.0.0.1:{launch.port}/readyz"
            urllib3.request("GET", ready, retries=UNTIL_READY)
            yield launch, server.pid


UNTIL_READY = urllib3.Retry(
    60, status_forcelist=[503], backoff_factor=0.1, backoff_max=1
)


def bystander_rows(trial: Trial) -> list[Row]:
    """The p99 of a client at a small rate, with slow clients over that without."""
    alone, beside, failed = [], [], 0
    with trial.service() as (launch, _):
        client = Clients(url=launch.url, bodies=trial.bodies, count=1, every=EVERY)
        for _ in range(trial.rounds):
            alone.append(_p99_ms(client.run(2 * trial.seconds)))
            with _siege(launch.port):
                exchanges = client.run(2 * trial.seconds)
            beside.append(_p99_ms(exchanges))
            failed += sum(each.status != 200 for each in exchanges)
    ratios = [besieged / quiet for besieged, quiet in zip(beside, alone, strict=True)]
    times = f"{spread(beside, '.1f')} ms, without {spread(alone, '.1f')} ms"
    return [row(goals.BYSTANDER, f"{spread(ratios)} x: {times}; {failed} failed")]


def _p99_ms(exchanges: Sequence[Exchange]) -> float:
    return float(np.percentile([each.ms for each in exchanges], 99))


@contextmanager
def _siege(port: int) -> Iterator[None]:
    """Slow clients in a process of their own, once all have connected and sent."""
    context = multiprocessing.get_context("spawn")
    connected = context.Event()
    process = context.Process(target=_besiege, args=(port, connected), daemon=True)
    process.start()
    try:
        connected.wait(60)
        time.sleep(SETTLE_SECONDS)
        yield
    finally:
        process.kill()
        process.join()


def _besiege(port: int, connected: Event) -> None:
    """Send what begins a request, then a little each second; connect anew if cut."""
    host = f"Host: 127.0.0.1:{port}\r\n"
    get = f"GET /openapi.json HTTP/1.1\r\n{host}\r\n".encode()
    head = f"GET /versions HTTP/1.1\r\n{host}X-Slow: ".encode()
    body = f"POST /predict HTTP/1.1\r\n{host}Content-Type: image/jpeg\r\n"
    begun = f"{body}Content-Length: 100000\r\n\r\n".encode()
    clients = [(head, b"x")] * HEADS + [(begun, b"x")] * BODIES
    clients += [(10 * get, get)] * PIPELINES  # answers are never read
    connections: list[socket.socket | None] = [None] * len(clients)
    while True:
        for number, (first, more) in enumerate(clients):
            try:
                connection = connections[number]
                if connection is None:
                    connection = socket.socket()
                    # Small packets and buffers: two answers fill them, not a hundred.
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    connection.settimeout(5)
                    connection.connect(("127.0.0.1", port))
                    connection.setblocking(False)
                    connections[number], more = connection, first
                connection.send(more)
            except BlockingIOError:
                continue
            except OSError:
                connections[number] = None
        connected.set()
        time.sleep(1)


def memory_rows(trial: Trial) -> list[Row]:
    """Memory after a first request, after all loads, and after large images."""
    with trial.service() as (launch, pid):
        second = replace(launch, path=f"/predict?version={trial.second}")
        post(second, trial.bodies.contents[0], trial.bodies.content_type)
        first = _settled_memory(pid)
        loads = [(trial.bodies, servers.BUSY)]
        loads += [(bodies, servers.MANY_CONNECTIONS) for bodies in trial.many]
        for bodies, count in loads:
            for url in (launch.url, second.url):
                run_wrk(url, bodies, connections=count, seconds=trial.seconds / 2)
        loaded = _settled_memory(pid)
        size, answered = _post_pngs(launch)
        most = max(loaded, last := _settled_memory(pid))
    words = (
        f"{first / MB:.0f}; {most / first:.2f} x that after loads ({loaded / MB:.0f}) "
        f"and {answered} of {PNGS} PNGs of {size / 1000:.0f} kB and "
        f"{PNG_SIDE**2 / 1e6:.0f} megapixels ({last / MB:.0f})"
    )
    return [row(goals.MEMORY, words)]


def _settled_memory(pid: int) -> int:
    time.sleep(SETTLE_SECONDS)
    return memory_bytes(descendants(pid))


def _post_pngs(launch: Launch) -> tuple[int, int]:
    """Bytes of such a file, and how many of them were answered with 200."""
    file = io.BytesIO()
    Image.new("RGB", (PNG_SIDE, PNG_SIDE), "navy").save(file, "PNG")

    def is_answered(_: int) -> bool:
        try:
            post(launch, file.getvalue(), "image/png")
        except servers.ServerFailed:
            return False
        return True

    with ThreadPoolExecutor(POSTING) as pool:
        return file.tell(), sum(pool.map(is_answered, range(PNGS)))


def lost_rows(trial: Trial) -> list[Row]:
    """Requests without a whole answer from SIGTERM on, with the drain and without."""
    rows = []
    for label, drain_seconds in ((goals.LOST, "5"), (goals.LOST_AT_ONCE, "0")):
        with trial.service(drain_seconds=drain_seconds) as (launch, pid):
            exchanges = _through(signal.SIGTERM, pid, launch, trial)
        statuses = [each.status for each in exchanges if each.ended > SIGNAL_AT]
        asked = len(statuses) - statuses.count(REFUSED)
        words = f"{statuses.count(NO_ANSWER)} of {asked:,}"
        rows.append(row(label, f"{words}, {statuses.count(503)} answered 503"))
    return rows


def reload_rows(trial: Trial) -> list[Row]:
    """Requests that fail, and the longest wait, while SIGHUP replaces the workers."""
    with trial.service() as (launch, pid):
        old = {*descendants(pid)}
        exchanges = _through(signal.SIGHUP, pid, launch, trial)
        is_replaced = not old <= {*descendants(pid)}
    failed = sum(each.status != 200 for each in exchanges)
    before, after = (
        max(each.ms for each in exchanges if (each.ended > SIGNAL_AT) is is_after)
        for is_after in (False, True)
    )
    words = f"longest wait {after:.0f} ms, {before:.0f} ms before"
    words += "; no process was replaced" * (not is_replaced)
    return [row(goals.RELOAD, f"{failed} of {len(exchanges):,}; {words}")]


def _through(
    number: signal.Signals, pid: int, launch: Launch, trial: Trial
) -> list[Exchange]:
    clients = Clients(url=launch.url, bodies=trial.bodies, count=CLIENTS)
    return clients.run(SIGNAL_SECONDS, lambda: os.kill(pid, number), SIGNAL_AT)


MEASURES: Mapping[str, Callable[[Trial], list[Row]]] = {
    "slow": bystander_rows,
    "memory": memory_rows,
    "stop": lost_rows,
    "reload": reload_rows,
}
