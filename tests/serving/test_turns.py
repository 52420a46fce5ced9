"""Turns that processes of one service take."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.turns import wait_for_turn
from tests.conftest import WAIT_SECONDS


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"test-{request.node.name}.turn"


def test_who_waits_is_next_when_the_turn_is_over(name: str) -> None:
    order = []

    def take(who: int) -> None:
        with wait_for_turn(name, seconds=WAIT_SECONDS):
            order.append(("begins", who))
            order.append(("ends", who))

    with ThreadPoolExecutor(8) as threads:
        with wait_for_turn(name, seconds=WAIT_SECONDS):
            waiting = [threads.submit(take, who) for who in range(8)]
            assert order == []
        for future in waiting:
            future.result(WAIT_SECONDS)

    assert sorted(who for _, who in order[::2]) == list(range(8))
    for begins, ends in zip(order[::2], order[1::2], strict=True):
        assert (begins[0], ends[0]) == ("begins", "ends")
        assert begins[1] == ends[1]


def test_who_waited_long_enough_is_told(name: str) -> None:
    with (
        wait_for_turn(name, seconds=WAIT_SECONDS),
        pytest.raises(TimeoutError, match="timed out"),
    ):
        wait_for_turn(name, seconds=0.01)


def test_the_turn_of_a_process_that_is_killed_is_over(name: str) -> None:
    code = "import sys; from serving.turns import wait_for_turn; "
    code += f"turn = wait_for_turn({name!r}, seconds=1); print('taken', flush=True); "
    code += "sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(wait_for_turn, name, seconds=WAIT_SECONDS)
            process.kill()

            waiting.result(WAIT_SECONDS).close()
