"""Arrivals that do not wait for answers, at a live server of the standard library."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.open_loop import run_open_loop
from benchmarks.request_bodies import Bodies

BODIES = Bodies((b"first", b"second"), "text/plain")


class Answering(BaseHTTPRequestHandler):
    """200, but 503 to what begins with `s`; keeps connections open."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503 if body.startswith(b"s") else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Closing(Answering):
    """HTTP/1.0: each answer closes its connection."""

    protocol_version = "HTTP/1.0"


@contextmanager
def serving(handler: type[Answering]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="answering")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/predict?version=v1"
        finally:
            server.shutdown()
            thread.join()


def test_each_arrival_is_an_answer_or_an_error() -> None:
    with serving(Answering) as url:
        load = run_open_loop(url, BODIES, rate=200, seconds=0.2).load

    assert load.answered > 0
    assert abs(load.answered - load.errors) <= 1
    assert 0 < load.p50_ms <= load.p99_ms


def test_arrivals_are_the_same_in_each_run() -> None:
    with serving(Answering) as url:
        loads = [
            run_open_loop(url, BODIES, rate=100, seconds=0.2).load for _ in range(2)
        ]

    counts = [load.answered + load.errors for load in loads]
    assert counts[0] == counts[1]


def test_a_server_that_closes_connections_is_asked_on_new_ones() -> None:
    with serving(Closing) as url:
        load = run_open_loop(
            url, Bodies((b"first",), "text/plain"), rate=100, seconds=0.2
        ).load

    assert load.answered > 1
    assert load.errors == 0


def test_nobody_there_is_an_error_for_each_arrival() -> None:
    with serving(Answering) as url:
        pass

    load = run_open_loop(url, BODIES, rate=100, seconds=0.1).load

    assert load.answered == 0
    assert load.errors > 0
