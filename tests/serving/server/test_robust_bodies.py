"""A live service and clients that send too little, too much, too slowly, or wrongly."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from serving.http.bodies import MAX_BODY_BYTES, STALL_SECONDS
from tests.conftest import (
    WAIT_SECONDS,
    RunningService,
    Store,
    encoded,
    picture,
    serving,
)
from tests.serving.load import Answer, answers, ask, connect, head

JPEG = encoded(picture())
WITH_LENGTH = f"Content-Length: {len(JPEG)}"
CLOSE = "Connection: close"


@pytest.fixture(autouse=True)
def _goes_on(service: RunningService) -> Iterator[None]:
    """Whatever a client does, the others are answered."""
    yield
    assert ask(service, "GET", "/livez").status == 200
    assert ask(service, "POST", "/predict", JPEG).status == 200


def _only(connection: socket.socket) -> Answer:
    (answer,) = answers(connection)
    return answer


def test_an_empty_body_is_told_apart_from_an_image(service: RunningService) -> None:
    for lines in (["Content-Length: 0"], []):
        with connect(service) as connection:
            connection.sendall(head(*lines, CLOSE))
            answer = _only(connection)

        assert (answer.status, answer.code) == (400, "bad_request")


def test_a_declared_body_that_is_too_large_is_not_waited_for(
    service: RunningService,
) -> None:
    for length in (MAX_BODY_BYTES + 1, 10**18):
        with connect(service) as connection:
            connection.sendall(head(f"Content-Length: {length}") + JPEG)
            answer = _only(connection)

        assert (answer.status, answer.code) == (413, "body_too_large")


def test_an_endless_body_ends_with_an_answer(service: RunningService) -> None:
    size = 2**20
    chunk = f"{size:x}\r\n".encode() + bytes(size) + b"\r\n"
    sent = 0
    with connect(service, WAIT_SECONDS) as connection:
        connection.sendall(head("Transfer-Encoding: chunked"))

        try:
            while sent <= 2 * MAX_BODY_BYTES:
                connection.sendall(chunk)
                sent += size
        except (BrokenPipeError, ConnectionResetError):
            pass  # the service has stopped reading
        answer = _only(connection)

    assert (answer.status, answer.code) == (413, "body_too_large")


WHOLE = f"{len(JPEG):x}\r\n".encode() + JPEG + b"\r\n"


@pytest.mark.parametrize(
    "chunk", [b"zz\r\n", b"-1\r\n", b"5\r\nabcdeXX", b"\r\n", WHOLE, WHOLE[:-9]]
)
def test_chunks_that_are_wrong_or_do_not_end_are_refused(
    chunk: bytes, service: RunningService
) -> None:
    with connect(service) as connection:
        connection.sendall(head("Transfer-Encoding: chunked", CLOSE) + chunk)
        connection.shutdown(socket.SHUT_WR)
        answer = _only(connection)

    assert answer.status == 400
    assert b"Traceback" not in answer.body


def test_a_foreign_name_is_refused_and_none_at_all_is_not(
    service: RunningService,
) -> None:
    """HTTP/1.0 has no Host, and no browser speaks it."""
    for lines, status in (
        (b"GET /versions HTTP/1.1\r\nHost: rebound.example.org\r\n", 403),
        (b"GET /versions HTTP/1.1\r\nHost: 127.0.0.1:80\r\n", 200),
        (b"GET /versions HTTP/1.0\r\n", 200),
    ):
        with connect(service) as connection:
            connection.sendall(lines + b"Connection: close\r\n\r\n")

            assert _only(connection).status == status


@pytest.mark.parametrize("trailer", [b"no colon", b"A b: c", b" x: y", b"X: \0"])
def test_a_trailer_that_is_none_is_refused(
    trailer: bytes, service: RunningService
) -> None:
    with connect(service) as connection:
        connection.sendall(head("Transfer-Encoding: chunked") + WHOLE)
        connection.sendall(b"0\r\n" + trailer + b"\r\n\r\n")
        answer = _only(connection)  # and the connection ends

    assert (answer.status, answer.code) == (400, "bad_request")
    assert "chunks cannot be read" in answer.json["error"]["message"]


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "PATH_INFO", "REMOTE_USER"])
def test_no_header_takes_the_place_of_the_path(
    name: str, service: RunningService
) -> None:
    with connect(service) as connection:
        connection.sendall(head(WITH_LENGTH, CLOSE, f"{name}: /elsewhere") + JPEG)

        assert _only(connection).status == 200


@pytest.mark.parametrize("length", ["-1", "1e3", "abc", "1, 2", " "])
def test_a_length_that_is_none_is_refused(length: str, service: RunningService) -> None:
    with connect(service) as connection:
        connection.sendall(head(f"Content-Length: {length}", CLOSE) + JPEG)
        connection.shutdown(socket.SHUT_WR)

        assert _only(connection).status == 400


def test_a_length_and_chunks_at_once_are_refused(service: RunningService) -> None:
    """Servers that disagree about where a request ends let others' be smuggled in."""
    with connect(service) as connection:
        connection.sendall(
            head(WITH_LENGTH, "Transfer-Encoding: chunked", CLOSE) + JPEG
        )
        connection.shutdown(socket.SHUT_WR)

        assert _only(connection).status == 400


def test_a_body_shorter_than_it_says_is_refused(service: RunningService) -> None:
    with connect(service) as connection:
        connection.sendall(head(f"Content-Length: {len(JPEG) + 1}", CLOSE) + JPEG)
        connection.shutdown(socket.SHUT_WR)
        answer = _only(connection)

    assert (answer.status, answer.code) == (400, "bad_request")


def test_a_body_longer_than_it_says_harms_its_own_connection_alone(
    service: RunningService,
) -> None:
    with connect(service) as connection:
        connection.sendall(head("Content-Length: 100") + JPEG)
        connection.shutdown(socket.SHUT_WR)
        first, *others = answers(connection)

    assert (first.status, first.code) == (400, "undecodable_image")
    assert [answer.status for answer in others] in ([], [400])


@pytest.mark.parametrize("target", ["/predict", "/invocations"])
def test_a_body_that_is_late_ends_when_its_sender_has_no_time_left(
    target: str, service: RunningService
) -> None:
    """Before the service itself would call it stalled."""
    lines = (WITH_LENGTH, "X-Request-Timeout-Ms: 100", CLOSE)
    with connect(service) as connection:
        connection.sendall(head(*lines, target=target) + JPEG[:100])

        assert _only(connection).status == 504


@pytest.mark.parametrize(
    ("lines", "begun"),
    [
        (["Transfer-Encoding: chunked"], b"5\r\nabc"),
        (["Transfer-Encoding: chunked"], b"zz\r\n"),
        ([WITH_LENGTH], JPEG[:100]),
    ],
)
def test_what_follows_a_body_that_was_given_up_is_no_request(
    lines: list[str], begun: bytes, service: RunningService
) -> None:
    with connect(service) as connection:
        connection.sendall(head(*lines, "X-Request-Timeout-Ms: 100") + begun)
        connection.recv(1, socket.MSG_PEEK)  # its answer is here
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(head(target="/livez", method="GET"))
        answer = _only(connection)

    assert answer.status in (400, 504)


def test_a_client_that_only_listens_any_more_is_answered(
    service: RunningService,
) -> None:
    with connect(service) as connection:
        connection.sendall(head(WITH_LENGTH) + JPEG)
        connection.shutdown(socket.SHUT_WR)

        assert _only(connection).status == 200


def test_a_client_that_has_gone_harms_nobody(service: RunningService) -> None:
    for sent in (head(WITH_LENGTH), head(WITH_LENGTH) + JPEG, b"POST /pre", b""):
        with connect(service) as connection:
            connection.sendall(sent)


def test_requests_sent_at_once_are_answered_in_order(service: RunningService) -> None:
    texts = ["/livez", "/nothing", "/readyz"]
    requests = [
        head(WITH_LENGTH) + JPEG,
        *[head(target=text, method="GET") for text in texts],
        head(WITH_LENGTH, CLOSE) + JPEG,
    ]
    with connect(service) as connection:
        connection.sendall(b"".join(requests))
        found = answers(connection)

    assert [answer.status for answer in found] == [200, 200, 404, 200, 200]
    assert found[0].json == found[4].json


def test_others_are_answered_while_bodies_and_heads_stall(
    service: RunningService,
) -> None:
    stalled = [head("Content-Length: 1000") + b"\xff"] * 64 + [b"POST /predict HT"] * 16
    with ExitStack() as open_ones:
        for sent in stalled:
            open_ones.enter_context(connect(service)).sendall(sent)

        for _ in range(10):
            assert ask(service, "GET", "/livez").status == 200
            assert ask(service, "POST", "/predict", JPEG).status == 200
            assert ask(service, "GET", "/metrics").status == 200


def test_connections_that_say_nothing_hold_up_nobody(store: Store) -> None:
    with (
        serving(store, "--threads", "4", "--drain-seconds", "0") as service,
        ExitStack() as open_ones,
    ):
        for _ in range(64):  # 5 s each, by gunicorn's own way, and 4 at a time
            open_ones.enter_context(connect(service))

        assert ask(service, "GET", "/livez").status == 200


def test_answered_clients_that_do_not_close_hold_up_nobody(
    service: RunningService,
) -> None:
    with ExitStack() as open_ones:
        for _ in range(32):
            connection = open_ones.enter_context(connect(service))
            connection.sendall(head(CLOSE, target="/livez", method="GET"))

        for _ in range(4):
            assert ask(service, "GET", "/livez").status == 200


def test_bodies_that_are_coming_take_no_places(store: Store) -> None:
    with (
        serving(store, "--threads", "8", "--drain-seconds", "0") as service,
        ExitStack() as open_ones,
    ):
        for _ in range(64):
            connection = open_ones.enter_context(connect(service))
            connection.sendall(head("Content-Length: 1000") + b"\xff")

        assert ask(service, "GET", "/readyz").status == 200
        assert ask(service, "POST", "/predict", JPEG).status == 200
        open_ones.close()  # else the end waits for the bodies


@pytest.mark.soak
def test_slow_clients_of_all_kinds_hold_up_nobody(service: RunningService) -> None:
    """130 of each stopped a service of threads, /livez included."""
    livez = head(target="/livez", method="GET")
    kinds = [
        b"GET /livez HT",
        head("Content-Length: 1000000") + b"\xff",
        head("Content-Length: 1000000", target="/v2/repository/index") + b"{",
        200 * livez,  # and the answers are not read
        b"",
    ]
    with ExitStack() as open_ones:
        for kind in kinds * 130:
            connection = open_ones.enter_context(connect(service))
            connection.sendall(kind)

        for _ in range(20):
            assert ask(service, "GET", "/livez").status == 200
            assert ask(service, "POST", "/predict", JPEG).status == 200


@pytest.mark.soak
def test_a_body_that_stalls_is_given_up(service: RunningService) -> None:
    with connect(service, 3 * STALL_SECONDS) as connection:
        connection.sendall(head(WITH_LENGTH) + JPEG[:1])
        answer = _only(connection)

    assert (answer.status, answer.code) == (408, "request_timeout")


@pytest.mark.soak
def test_heads_that_do_not_come_whole_are_given_up(service: RunningService) -> None:
    with ExitStack() as open_ones:
        connections = [
            open_ones.enter_context(connect(service, WAIT_SECONDS)) for _ in range(144)
        ]
        for connection in connections:
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost:")

        with connect(service, WAIT_SECONDS) as connection:
            connection.sendall(head(CLOSE, target="/livez", method="GET"))
            assert _only(connection).status == 200
        assert {connection.recv(1) for connection in connections} == {b""}
