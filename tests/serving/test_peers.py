"""Processes that tell each other; here all within one."""

import errno
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import pytest

from serving import worker_sync
from serving.worker_sync import PeerFailed, Peers
from tests.conftest import WAIT_SECONDS


@pytest.fixture
def service(request: pytest.FixtureRequest) -> str:
    return f"test-{request.node.name}"


@pytest.fixture
def open_peers(service: str) -> Iterator[Any]:
    with ExitStack() as held:
        yield lambda obey: held.enter_context(closing(Peers(service, obey)))


def _hear(heard: list[Any], name: str, message: Any) -> Any:
    heard.append(message)
    return {name: message}


def test_all_the_others_are_told_and_answer(open_peers: Any) -> None:
    heard: list[Any] = []
    first = open_peers(lambda message: heard.append("first"))
    for name in ("second", "third"):
        open_peers(partial(_hear, heard, name))

    answers = first.tell({"load": "v9"})

    assert heard == [{"load": "v9"}] * 2
    assert sorted(answers, key=str) == [
        {"second": {"load": "v9"}},
        {"third": {"load": "v9"}},
    ]


def test_one_that_is_gone_is_not_asked(open_peers: Any, service: str) -> None:
    first = open_peers(lambda message: None)
    Peers(service, lambda message: None).close()

    assert first.tell("anyone?") == []


def test_another_service_is_not_told(open_peers: Any) -> None:
    first = open_peers(lambda message: None)
    with closing(Peers("test-another", lambda message: pytest.fail("was told"))):
        assert first.tell("anyone?") == []


def test_what_another_cannot_do_is_told(open_peers: Any) -> None:
    def fail(message: Any) -> None:
        raise RuntimeError("its files are gone")

    first = open_peers(lambda message: None)
    open_peers(fail)

    with pytest.raises(PeerFailed, match="its files are gone"):
        first.tell("load")


def test_all_are_told_also_after_one_that_cannot(open_peers: Any) -> None:
    heard: list[Any] = []

    def fail(message: Any) -> None:
        heard.append(message)
        raise RuntimeError("its files are gone")

    first = open_peers(lambda message: None)
    for _ in range(3):
        open_peers(fail)

    with pytest.raises(PeerFailed):
        first.tell("load")
    assert heard == ["load"] * 3


def test_one_that_ends_while_it_obeys_is_left_out(
    open_peers: Any, service: str
) -> None:
    first = open_peers(lambda message: None)
    open_peers(lambda message: "done")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as ending,
        ThreadPoolExecutor(1) as threads,
    ):
        ending.bind(f"\0flipside/{service}/ending")
        ending.listen()
        telling = threads.submit(first.tell, "load")
        connection, _ = ending.accept()
        assert connection.recv(100) == b'"load"'
        connection.close()

        assert telling.result(WAIT_SECONDS) == ["done"]


def test_one_that_does_not_answer_in_time_has_failed(
    open_peers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_sync, "ANSWER_SECONDS", 0.05)
    is_over = threading.Event()
    first = open_peers(lambda message: None)
    open_peers(lambda message: is_over.wait(WAIT_SECONDS))

    with pytest.raises(PeerFailed, match=r"did not answer in 0\.05 s"):
        first.tell("load")
    is_over.set()


def test_a_process_without_open_files_hears_again_when_it_has_some(
    open_peers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_sync, "ACCEPT_SECONDS", 0.01)
    accept, failures = socket.socket.accept, [OSError(errno.EMFILE, "no files")]

    def accept_or_fail(listening: socket.socket) -> Any:
        if failures:
            raise failures.pop()
        return accept(listening)

    first = open_peers(lambda message: None)
    open_peers(lambda message: "done")
    monkeypatch.setattr(socket.socket, "accept", accept_or_fail)

    assert [first.tell("load") for _ in range(3)] == [["done"]] * 3
    assert not failures


def test_the_process_of_another_user_is_not_told(
    open_peers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []
    first = open_peers(lambda message: None)
    open_peers(heard.append)
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)

    assert first.tell("load") == []
    assert heard == []
