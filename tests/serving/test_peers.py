"""Processes that tell each other; here all within one."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import pytest

from serving.peers import PeerFailed, Peers


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
