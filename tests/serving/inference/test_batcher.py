"""Requests in, batches through a network, answers out; the network is a function."""

import math
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

from classifier.inference.predict import NotFinite
from serving.inference.batcher import (
    BatchFailed,
    BatchMetrics,
    MicroBatcher,
    Overloaded,
    RunningBatches,
)
from serving.inference.requests import DeadlinePassed, Images, Logits, Request

CLASSES = 3


def _images(*values: int) -> Images:
    """One pixel each."""
    return np.array(values, np.uint8)[:, None, None, None].repeat(3, axis=3)


def _logits(images: Images) -> Logits:
    return images[:, 0, 0].astype(np.float32)


def _first(answer: Request) -> list[float]:
    logits: list[float] = answer.result(timeout=5).logits[:, 0].tolist()
    return logits


def _batching(
    network: Callable[[Images], Logits], *, max_batch_size: int = 8, **settings: Any
) -> "closing[MicroBatcher]":
    return closing(
        MicroBatcher(
            network,
            classes=CLASSES,
            max_batch_size=max_batch_size,
            **settings,
        )
    )


class Held:
    """A network that waits before its first batch, and notes the sizes of all."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.started, self.release = Event(), Event()

    def __call__(self, images: Images) -> Logits:
        self.sizes.append(len(images))
        self.started.set()
        assert self.release.wait(5)
        return _logits(images)


def test_requests_waiting_behind_a_batch_share_the_next_one() -> None:
    held = Held()

    with _batching(held) as batcher:
        first = batcher.submit(_images(1))
        assert held.started.wait(5)
        waiting = [batcher.submit(_images(n)) for n in (2, 3, 4)]
        assert batcher.queued == 3
        held.release.set()
        answers = [_first(answer) for answer in (first, *waiting)]

    assert answers == [[1], [2], [3], [4]]
    assert held.sizes == [1, 3]


def test_a_large_request_is_cut_and_its_answer_is_whole() -> None:
    held = Held()

    with _batching(held, max_batch_size=4) as batcher:
        batcher.submit(_images(0))
        assert held.started.wait(5)
        small = batcher.submit(_images(1, 2))
        large = batcher.submit(_images(*range(3, 10)))
        held.release.set()

        assert _first(small) == [1, 2]
        assert _first(large) == list(range(3, 10))

    assert held.sizes == [1, 4, 4, 1]


def test_a_batch_waits_for_company_until_it_is_full() -> None:
    sizes = []

    def logits(images: Images) -> Logits:
        sizes.append(len(images))
        return _logits(images)

    with _batching(logits, max_batch_size=3, max_wait_ms=60_000) as batcher:
        answers = [batcher.submit(_images(n)) for n in (1, 2, 3)]
        assert [_first(answer) for answer in answers] == [[1], [2], [3]]

    assert sizes == [3]


def test_a_batch_that_waits_for_company_is_answered_when_the_end_comes() -> None:
    with _batching(_logits, max_batch_size=3, max_wait_ms=60_000) as batcher:
        answer = batcher.submit(_images(1))

    assert _first(answer) == [1]


def test_a_batch_that_takes_all_while_another_begins_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held, left = Held(), Event()
    with _batching(
        held, on_one_core=held, running=RunningBatches(2), max_wait_ms=1
    ) as batcher:
        first = batcher.submit(_images(1))
        assert held.started.wait(5)

        def let_the_first_end(seconds: float) -> None:
            held.release.set()
            while batcher.queued:
                time.sleep(0.001)
            left.set()

        patched = "serving.inference.batcher.wait_until_idle"
        monkeypatch.setattr(patched, let_the_first_end)
        second = batcher.submit(_images(2))
        assert [_first(first), _first(second)] == [[1], [2]]
        assert left.wait(5)  # else it would wait for what comes next
        monkeypatch.undo()

        assert _first(batcher.submit(_images(3))) == [3]


ON_A_LOOP = """
from gevent import monkey
monkey.patch_all()
import numpy as np
from serving.inference.batcher import MicroBatcher, RunningBatches
from serving.inference.native import new_lock, run_natively

begun, go_on = [[new_lock() for _ in range(3)] for _ in range(2)]
for lock in begun + go_on:
    lock.acquire()

def network(images):
    place = images[0, 0, 0, 0]
    begun[place].release()
    go_on[place].acquire()
    return np.zeros((1, 1), np.float32)

batcher = MicroBatcher(network, on_one_core=network, running=RunningBatches(2),
                       classes=1, max_batch_size=1)
requests = [
    batcher.submit(np.full((1, 1, 1, 3), place, np.uint8)) for place in range(3)
]
for lock in begun[:2]:
    assert run_natively(lock.acquire, timeout=20)
go_on[0].release()
assert begun[2].acquire(timeout=20), "it waits for the loop, which is held here"
go_on[1].release(), go_on[2].release()
assert all(len(request.result(timeout=20).logits) == 1 for request in requests)
batcher.close()
"""


def test_a_core_whose_batch_ends_begins_the_next_without_the_event_loop() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ON_A_LOOP],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_an_image_the_network_fails_about_fails_alone() -> None:
    held = Held()

    def logits(images: Images) -> Logits:
        if (images == 66).any():
            raise ZeroDivisionError("66")
        return held(images)

    with _batching(logits) as batcher:
        batcher.submit(_images(0))
        assert held.started.wait(5)
        fine = batcher.submit(_images(1))
        mixed = batcher.submit(_images(2, 66, 3))
        held.release.set()

        assert _first(fine) == [1]
        answer = mixed.result(timeout=5)

    assert answer.logits[[0, 2], 0].tolist() == [2, 3]
    assert [type(answer.failures[place]) for place in answer.failures] == [
        ZeroDivisionError
    ]
    assert list(answer.failures) == [1]


def test_a_failure_in_a_later_batch_has_its_place_in_the_request() -> None:
    def logits(images: Images) -> Logits:
        if (images == 66).any():
            raise ZeroDivisionError("66")
        return _logits(images)

    with _batching(logits, max_batch_size=2) as batcher:
        answer = batcher.submit(_images(1, 2, 3, 66, 5)).result(timeout=5)

    assert list(answer.failures) == [3]
    assert answer.logits[[0, 1, 2, 4], 0].tolist() == [1, 2, 3, 5]


def test_an_answer_that_is_no_number_is_a_failure_of_that_image() -> None:
    def logits(images: Images) -> Logits:
        answer = _logits(images)
        answer[images[:, 0, 0, 0] == 66, 1] = np.inf
        return answer

    with _batching(logits) as batcher:
        answer = batcher.submit(_images(1, 66)).result(timeout=5)

    assert isinstance(answer.failures[1], NotFinite)
    assert list(answer.failures) == [1]


def test_a_full_queue_refuses_and_says_when_to_come_again() -> None:
    held = Held()

    with _batching(held, max_batch_size=1, max_queued=3) as batcher:
        batcher.submit(_images(1))
        assert held.started.wait(5)
        taken = batcher.submit(_images(*range(9)))  # alone it may be larger
        with pytest.raises(Overloaded, match=r"9 images wait .* and 3 may") as refused:
            batcher.submit(_images(1))
        held.release.set()

        assert _first(taken) == list(range(9))
    # No batch was done yet: one image a second is assumed.
    assert refused.value.retry_after_seconds == 9


def test_who_waited_longer_than_it_may_is_never_run() -> None:
    held = Held()

    with _batching(held, max_batch_size=1) as batcher:
        batcher.submit(_images(1))
        assert held.started.wait(5)
        late = batcher.submit(_images(2), deadline=time.monotonic())
        in_time = batcher.submit(_images(3), deadline=math.inf)
        held.release.set()

        assert _first(in_time) == [3]
        with pytest.raises(DeadlinePassed, match="not begun"):
            late.result(timeout=5)

    assert held.sizes == [1, 1]


def test_who_gave_up_is_never_run() -> None:
    held = Held()

    with _batching(held, max_batch_size=1) as batcher:
        batcher.submit(_images(1))
        assert held.started.wait(5)
        batcher.submit(_images(2)).cancel()
        last = batcher.submit(_images(3))
        held.release.set()
        assert _first(last) == [3]

    assert held.sizes == [1, 1]
    assert batcher.queued == 0


def test_who_comes_after_the_end_is_answered_all_the_same() -> None:
    sizes = []

    def logits(images: Images) -> Logits:
        sizes.append(len(images))
        return _logits(images)

    batcher = MicroBatcher(logits, classes=CLASSES, max_batch_size=2)
    batcher.close()

    assert _first(batcher.submit(_images(1, 2, 3))) == [1, 2, 3]
    assert sizes == [2, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, CLASSES + 1), np.float32),
        np.zeros((2, CLASSES), np.float32),
        np.zeros((0, CLASSES), np.float32),
        np.zeros((1, CLASSES), np.int64),
        np.array([["a", "b", "c"]]),
        None,
    ],
    ids=["wide", "long", "empty", "whole", "text", "none"],
)
def test_logits_of_another_kind_fail_their_image_alone(wrong: Any) -> None:
    def logits(images: Images) -> Logits:
        answer: Logits = wrong if (images == 66).any() else _logits(images)
        return answer

    with _batching(logits) as batcher:
        answer = batcher.submit(_images(1, 66, 2)).result(timeout=5)
        lone = batcher.submit(_images(66)).result(timeout=5)

        assert _first(batcher.submit(_images(3))) == [3]

    assert list(answer.failures) == [1]
    assert answer.logits[[0, 2], 0].tolist() == [1, 2]
    assert list(lone.failures) == [0]


class Turns(RunningBatches):
    """Counts that fail as often as is asked for, with what is asked for."""

    def __init__(self, *failures: BaseException) -> None:
        super().__init__(1)
        self._failures = list(failures)

    def begin(self) -> bool:
        if self._failures:
            raise self._failures.pop()
        return super().begin()


@pytest.mark.parametrize("failure", [KeyError("x"), MemoryError(), SystemExit(1)])
def test_what_goes_wrong_around_a_batch_fails_its_requests_and_no_others(
    failure: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    turns = Turns(failure)

    with _batching(_logits, running=turns) as batcher:
        failed = batcher.submit(_images(1))
        with pytest.raises(BatchFailed) as told:
            failed.result(timeout=5)
        assert _first(batcher.submit(_images(2))) == [2]

    assert told.value.__cause__ is failure
    assert "a batch failed requests=1" in caplog.text


def test_all_requests_of_a_batch_that_cannot_be_put_together_fail() -> None:
    held = Held()

    with _batching(held) as batcher:
        first = batcher.submit(_images(1))
        assert held.started.wait(5)
        odd = [batcher.submit(np.zeros((1, n, n, 3), np.uint8)) for n in (1, 2)]
        held.release.set()
        assert _first(first) == [1]
        for answer in odd:
            with pytest.raises(BatchFailed, match="must match exactly"):
                answer.result(timeout=5)

        assert _first(batcher.submit(_images(2))) == [2]


def test_a_request_of_which_one_batch_fails_is_over_and_its_rest_is_not_run() -> None:
    held = Held()
    held.release.set()

    with _batching(held, max_batch_size=2, running=Turns(KeyError("x"))) as batcher:
        with pytest.raises(BatchFailed):
            batcher.submit(_images(*range(9))).result(timeout=5)
        assert _first(batcher.submit(_images(1))) == [1]

    assert held.sizes == [1]


def test_who_measures_and_fails_takes_no_answer_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(value: float) -> None:
        raise ValueError("no such label")

    metrics = BatchMetrics(
        images=fail, queue_seconds=fail, inference_seconds=fail, still_queued=fail
    )

    with _batching(_logits, max_batch_size=2, metrics=metrics) as batcher:
        for _ in range(3):
            assert _first(batcher.submit(_images(1))) == [1]

    assert "a batch was not measured" in caplog.text


def test_each_batch_is_told_to_who_measures() -> None:
    images: list[float] = []
    queue_seconds: list[float] = []
    inference_seconds: list[float] = []
    still_queued: list[float] = []
    metrics = BatchMetrics(
        images=images.append,
        queue_seconds=queue_seconds.append,
        inference_seconds=inference_seconds.append,
        still_queued=still_queued.append,
    )

    with _batching(_logits, max_batch_size=2, metrics=metrics) as batcher:
        batcher.submit(_images(1, 2, 3)).result(timeout=5)

    assert (sorted(images), len(queue_seconds)) == ([1, 2], 1)
    assert [seconds >= 0 for seconds in inference_seconds] == [True, True]


def test_as_many_batches_run_at_once_as_there_are_cores() -> None:
    alone, beside = Held(), Held()

    with _batching(alone, on_one_core=beside, running=RunningBatches(2)) as batcher:
        first = batcher.submit(_images(1))
        assert alone.started.wait(5)
        second = batcher.submit(_images(2, 3))
        assert beside.started.wait(5)
        third = batcher.submit(_images(4))
        assert batcher.queued == 1
        beside.release.set()
        assert [_first(second), _first(third)] == [[2, 3], [4]]
        alone.release.set()
        assert _first(first) == [1]

    assert alone.sizes == [1]
    assert beside.sizes == [2, 1]


def test_pieces_of_a_request_that_are_done_out_of_order_are_put_in_order() -> None:
    alone, beside = Held(), Held()
    beside.release.set()

    with _batching(
        alone, on_one_core=beside, running=RunningBatches(2), max_batch_size=2
    ) as batcher:
        answer = batcher.submit(_images(*range(7)))
        assert alone.started.wait(5)
        while batcher.queued:
            beside.started.wait(0.01)
        assert not answer.answer.done()
        alone.release.set()
        assert _first(answer) == list(range(7))


def test_versions_share_the_cores_of_a_process() -> None:
    alone, beside, running = Held(), Held(), RunningBatches(2)
    beside.release.set()

    with (
        _batching(alone, running=running) as one,
        _batching(_logits, on_one_core=beside, running=running) as other,
    ):
        first = one.submit(_images(1))
        assert alone.started.wait(5)
        assert _first(other.submit(_images(2))) == [2]
        alone.release.set()
        assert _first(first) == [1]

    assert beside.sizes == [1]


def test_the_end_waits_for_a_batch_that_runs() -> None:
    held = Held()
    batcher = MicroBatcher(held, classes=CLASSES, max_batch_size=8)
    first = batcher.submit(_images(1))
    assert held.started.wait(5)
    waiting = batcher.submit(_images(2))

    closing = Thread(target=batcher.close)
    closing.start()
    closing.join(0.1)
    assert closing.is_alive()
    held.release.set()

    closing.join(5)
    assert not closing.is_alive()
    assert [_first(first), _first(waiting)] == [[1], [2]]
    assert not batcher.is_busy


IN_A_LOOP = """
from gevent import monkey
monkey.patch_all()
import time
from threading import Thread
import numpy as np
from serving.inference.batcher import MicroBatcher, RunningBatches
from serving.inference.native import thread_ident

def network(images):
    sizes.append(len(images))
    threads.add(thread_ident())
    while not is_released:
        blocking_sleep(0.001)
    return images[:, 0, 0].astype(np.float32)

sizes, threads, is_released, answers = [], set(), [], []
blocking_sleep = monkey.get_original("time", "sleep")
batcher = MicroBatcher(
    network, on_one_core=network, running=RunningBatches(2), classes=3, max_batch_size=8
)
def ask(n):
    images = np.full((1, 1, 1, 3), n, np.uint8)
    answers.append(batcher.submit(images).result(10).logits[0, 0] == n)

greenlets = [Thread(target=ask, args=[n]) for n in range(16)]
for greenlet in greenlets:
    greenlet.start()
while len(threads) < 2:
    time.sleep(0)  # the loop goes on while networks run
is_released.append(True)
for greenlet in greenlets:
    greenlet.join()
batcher.close()
print(sizes, all(answers), len(answers), thread_ident() in threads)
"""


def test_on_an_event_loop_requests_that_come_together_share_batches() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IN_A_LOOP],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.stdout, done.stderr) == ("[6, 6, 4] True 16 False\n", "")
