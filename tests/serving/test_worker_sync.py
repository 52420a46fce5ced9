"""Turns that processes of one service take."""

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from classifier.inference.predict import FailedCheck
from classifier.store.versions import UnknownVersion, Version
from serving.inference.predictor import Predictor
from serving.versions.pool import PredictorPool
from serving.versions.slot import NotReady
from serving.worker_sync import Control, Peers, wait_for_turn
from tests.conftest import WAIT_SECONDS, Store
from tests.serving.pools import make_pool


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
    code = "import sys; from serving.worker_sync import wait_for_turn; "
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


@pytest.fixture
def service() -> str:
    # Another run of the tests on this machine must not be asked.
    return f"test-{uuid4().hex}"


def _fail(version: Version) -> Predictor:
    raise FailedCheck("no memory is left")


def _loaded(pool: PredictorPool) -> PredictorPool:
    pool.load_wanted()
    return pool


def _answers(pool: PredictorPool, asked: str) -> bool:
    predictor = pool.get(asked)
    images = np.zeros((1, *predictor.size, 3), np.uint8)
    return not predictor.batcher.submit(images, deadline=math.inf).result(60).failures


def test_what_another_process_cannot_load_is_served_by_none(
    copy: Store, service: str
) -> None:
    pools = [_loaded(make_pool(copy, "v1")) for _ in range(2)]
    first, _ = (Control(pool, service=service) for pool in pools)
    failing = make_pool(copy, "v1", open_predictor=_fail)
    Control(failing, service=service)

    with pytest.raises(NotReady, match=r"by all processes.* no memory is left"):
        first.add("v3")

    for pool in (*pools, failing):
        with pytest.raises(UnknownVersion, match="answers with v1;"):
            pool.get("v3")


def test_what_was_served_before_is_served_when_adding_it_again_fails(
    copy: Store, service: str
) -> None:
    pool = _loaded(make_pool(copy, "v1", "@best"))
    first = Control(pool, service=service)
    Control(make_pool(copy, "v1", "@best", open_predictor=_fail), service=service)

    for name in ("v1", "@best", "1"):
        with pytest.raises(NotReady):
            first.add(name)

    assert _answers(pool, "v1")
    assert _answers(pool, "@best")


def test_an_alias_stands_for_what_it_stood_for_when_adding_it_again_fails(
    copy: Store, service: str
) -> None:
    copy.registry.set_alias(copy.model, "live", "3")
    pool = _loaded(make_pool(copy, "v1", "@live"))
    first = Control(pool, service=service)
    Control(make_pool(copy, "v1", "@live", open_predictor=_fail), service=service)
    copy.registry.set_alias(copy.model, "live", "4")
    pool.watch.read()

    with pytest.raises(NotReady):
        first.add("@live")

    assert pool.get("@live").version.number == "3"


def test_what_another_process_serves_no_more_is_removed(
    copy: Store, service: str
) -> None:
    pools = [_loaded(make_pool(copy, "v1", "v2")) for _ in range(2)]
    first, second = (Control(pool, service=service) for pool in pools)
    pools[1].take_away("2", ["2"])

    assert first.remove("v2").state == "available"

    with pytest.raises(UnknownVersion, match="answers with v1;"):
        second.remove("v2")


def test_an_alias_that_only_one_process_has_followed_is_kept(
    copy: Store, service: str
) -> None:
    copy.registry.set_alias(copy.model, "live", "1")
    pools = [_loaded(make_pool(copy, "v1", "@live")) for _ in range(2)]
    first, _ = (Control(pool, service=service) for pool in pools)
    copy.registry.set_alias(copy.model, "live", "3")
    pools[0].read_registry()

    first.remove("v1")

    for pool in pools:
        assert pool.get("@live").version.number == "3"
        with pytest.raises(UnknownVersion, match="answers with v3;"):
            pool.get("v1")


def test_an_alias_is_added_as_what_it_is_where_it_is_asked_for(
    copy: Store, service: str
) -> None:
    copy.registry.set_alias(copy.model, "live", "1")
    pools = [_loaded(make_pool(copy, "v2")) for _ in range(2)]
    first, _ = (Control(pool, service=service) for pool in pools)
    copy.registry.set_alias(copy.model, "live", "3")
    pools[0].read_registry()

    first.add("@live")

    assert [pool.get("@live").version.number for pool in pools] == ["3", "3"]


def test_changes_at_once_are_made_in_one_order(copy: Store, service: str) -> None:
    pools = [_loaded(make_pool(copy, "v1")) for _ in range(2)]
    controls = [Control(pool, service=service) for pool in pools]

    def change(number: int) -> None:
        with suppress(UnknownVersion):
            controls[number % 2].remove("v3")
        controls[number % 2].add("v3")
        with suppress(UnknownVersion):
            controls[number % 2].remove("v3")

    for _ in range(5):
        with ThreadPoolExecutor(4) as threads:
            changing = [threads.submit(change, number) for number in range(4)]
            for future in changing:
                future.result(WAIT_SECONDS)
        assert pools[0].names.state() == pools[1].names.state()


def test_a_newcomer_serves_what_came_last(copy: Store, service: str) -> None:
    with ExitStack() as held:
        stale: Any = {"numbers": {"v1": "1"}, "taken_away": []}
        first = Control(_loaded(make_pool(copy, "v1")), service=service)
        first.add("v3")
        first.remove("v1")
        for change in (0, 1, 0, 1):

            def tell(message: Any, change: int = change) -> Any:
                return {"change": change, "served": stale}

            held.enter_context(closing(Peers(service, tell)))
        newcomer = make_pool(copy, "v1")

        Control(newcomer, service=service)

        assert newcomer.names.state()["numbers"] == {"3": "3"}


def test_a_newcomer_leaves_out_what_the_registry_has_no_more(
    copy: Store, service: str
) -> None:
    first = Control(_loaded(make_pool(copy, "v1")), service=service)
    first.add("v3")
    first.add("v4")
    copy.registry.client.delete_model_version(copy.model, "3")
    newcomer = make_pool(copy, "v1")

    Control(newcomer, service=service)
    newcomer.load_wanted()

    assert newcomer.names.state()["numbers"] == {"1": "1", "4": "4"}
    assert _answers(newcomer, "v4")
