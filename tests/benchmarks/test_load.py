"""Request bodies as services read them, and the load generators."""

import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import orjson
import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from benchmarks.load import (
    IMAGES_A_REQUEST,
    NO_ANSWER,
    REFUSED,
    Bodies,
    Clients,
    NoWrk,
    base64_json,
    many_in_json,
    many_in_npy,
    multipart,
    parse_wrk,
    raw,
)

FILES = [bytes([255, 216, 255, number]) for number in range(2 * IMAGES_A_REQUEST)]


def request_of(content: bytes, content_type: str) -> Request:
    builder = EnvironBuilder(
        method="POST", input_stream=io.BytesIO(content), content_type=content_type
    )
    return Request(builder.get_environ())


def test_a_form_has_the_file_in_its_field() -> None:
    bodies = multipart("image")(FILES[:2])

    with request_of(bodies.contents[1], bodies.content_type) as request:
        assert request.files["image"].read() == FILES[1]


def test_a_raw_body_is_the_file() -> None:
    assert raw(FILES).contents == tuple(FILES)


def test_base64_is_where_a_peer_reads_it() -> None:
    bodies = base64_json(lambda data: {"inputs": [data]})(FILES[:1])

    assert orjson.loads(bodies.contents[0]) == {"inputs": ["/9j/AA=="]}


def test_32_files_a_request_arrive_as_32_files() -> None:
    bodies = many_in_json(FILES)

    assert len(bodies.contents) == 2
    instances = [orjson.loads(content)["instances"] for content in bodies.contents]
    assert [len(group) for group in instances] == [IMAGES_A_REQUEST] * 2


def test_32_images_a_request_arrive_as_an_array() -> None:
    images = np.arange(64 * 2 * 2 * 3, dtype=np.uint8).reshape(64, 2, 2, 3)

    bodies = many_in_npy(images)

    second = np.load(io.BytesIO(bodies.contents[1]))
    np.testing.assert_array_equal(second, images[IMAGES_A_REQUEST:])


BODIES = Bodies((b"first", b"second"), "text/plain")


class Answering(BaseHTTPRequestHandler):
    """Answers 200, or 503 if the body begins with `s`; keeps connections open."""

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


def test_each_request_is_an_answer_or_a_status() -> None:
    with serving(Answering) as url:
        exchanges = Clients(url=url, bodies=BODIES, count=2).run(0.1)

    assert {each.status for each in exchanges} == {200, 503}
    assert all(each.due < each.ended for each in exchanges)


def test_a_client_at_a_rate_sends_at_that_rate() -> None:
    with serving(Answering) as url:
        client = Clients(url=url, bodies=BODIES, count=1, every=0.02)
        exchanges = client.run(0.1)

    assert [round(each.due, 2) for each in exchanges] == [0, 0.02, 0.04, 0.06, 0.08]


def test_closed_connections_are_replaced() -> None:
    with serving(Closing) as url:
        one_kind = Bodies((b"first",), "text/plain")
        exchanges = Clients(url=url, bodies=one_kind, count=1).run(0.1)

    assert len(exchanges) > 1
    assert {each.status for each in exchanges} == {200}


def test_clients_end_when_nobody_listens() -> None:
    with serving(Answering) as url:
        pass

    exchanges = Clients(url=url, bodies=BODIES, count=3).run(60)

    assert [each.status for each in exchanges] == [REFUSED] * 3


def test_a_connection_cut_before_its_answer_is_a_request_without_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def cut() -> None:
            listening.accept()[0].close()
            listening.close()

        clients = Clients(url=f"http://127.0.0.1:{port}/", bodies=BODIES, count=1)
        exchanges = clients.run(60, cut, at=0.01)

    assert [each.status for each in exchanges] == [NO_ANSWER, REFUSED]


OUTPUT = """Running 8s test @ http://127.0.0.1:8000/predict
  1 threads and 64 connections
  1203 requests in 8.01s, 811.02KB read
  Non-2xx or 3xx responses: 3
Requests/sec:    150.19
{"requests": 1203, "microseconds": 8010000, "status_errors": 3, \
"socket_errors": 2, "p50_us": 412500, "p99_us": 620250}
"""


def test_refused_requests_and_broken_connections_are_errors_and_not_answers() -> None:
    load = parse_wrk(OUTPUT)

    assert load.answered == 1200
    assert load.errors == 5
    assert load.rate == pytest.approx(1200 / 8.01)
    assert (load.p50_ms, load.p99_ms) == (412.5, 620.25)


def test_a_failed_wrk_is_an_error_with_its_output() -> None:
    with pytest.raises(NoWrk, match="unable to connect"):
        parse_wrk("unable to connect to 127.0.0.1:1 Connection refused\n")
