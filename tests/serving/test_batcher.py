"""Requests in, batches through a network, answers out; the network is a function."""

import math
import time
from concurrent.futures import Future
from threading import Event

import numpy as np
import pytest

from serving.batcher import BatchDone, Logits, MicroBatcher, NotFinite, Overloaded
from serving.request_queue import Answer, DeadlinePassed, Images

CLASSES = 3


def _images(*values: int) -> Images:
    """One pixel each."""
    return np.array(values, np.uint8)[:, None, None, None].repeat(3, axis=3)


def _logits(images: Images) -> Logits:
    return images[:, 0, 0].astype(np.float32)


def _first(answer: "Future[Answer]") -> list[float]:
    logits: list[float] = answer.result(timeout=5).logits[:, 0].tolist()
    return logits


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

    with MicroBatcher(held, name="v1", classes=CLASSES, max_batch_size=8) as batcher:
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

    with MicroBatcher(held, name="v1", classes=CLASSES, max_batch_size=4) as batcher:
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

    with MicroBatcher(
        logits, name="v1", classes=CLASSES, max_batch_size=3, max_wait_ms=60_000
    ) as batcher:
        answers = [batcher.submit(_images(n)) for n in (1, 2, 3)]
        assert [_first(answer) for answer in answers] == [[1], [2], [3]]

    assert sizes == [3]


def test_a_batch_that_waits_for_company_is_answered_when_the_end_comes() -> None:
    with MicroBatcher(
        _logits, name="v1", classes=CLASSES, max_batch_size=3, max_wait_ms=60_000
    ) as batcher:
        answer = batcher.submit(_images(1))

    assert _first(answer) == [1]


def test_an_image_the_network_fails_about_fails_alone() -> None:
    held = Held()

    def logits(images: Images) -> Logits:
        if (images == 66).any():
            raise ZeroDivisionError("66")
        return held(images)

    with MicroBatcher(logits, name="v1", classes=CLASSES, max_batch_size=8) as batcher:
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


def test_an_answer_that_is_no_number_is_a_failure_of_that_image() -> None:
    def logits(images: Images) -> Logits:
        answer = _logits(images)
        answer[images[:, 0, 0, 0] == 66, 1] = np.inf
        return answer

    with MicroBatcher(logits, name="v1", classes=CLASSES, max_batch_size=8) as batcher:
        answer = batcher.submit(_images(1, 66)).result(timeout=5)

    assert isinstance(answer.failures[1], NotFinite)
    assert list(answer.failures) == [1]


def test_a_full_queue_refuses_and_says_when_to_come_again() -> None:
    held = Held()

    with MicroBatcher(
        held, name="v1", classes=CLASSES, max_batch_size=1, max_queued=3
    ) as batcher:
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

    with MicroBatcher(held, name="v1", classes=CLASSES, max_batch_size=1) as batcher:
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

    with MicroBatcher(held, name="v1", classes=CLASSES, max_batch_size=1) as batcher:
        batcher.submit(_images(1))
        assert held.started.wait(5)
        assert batcher.submit(_images(2)).cancel()
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

    batcher = MicroBatcher(logits, name="v1", classes=CLASSES, max_batch_size=2)
    batcher.close()

    assert _first(batcher.submit(_images(1, 2, 3))) == [1, 2, 3]
    assert sizes == [2, 1]


def test_each_batch_is_told_to_who_measures() -> None:
    seen: list[BatchDone] = []

    with MicroBatcher(
        _logits, name="v1", classes=CLASSES, max_batch_size=2, observe=seen.append
    ) as batcher:
        batcher.submit(_images(1, 2, 3)).result(timeout=5)

    assert [batch.images for batch in seen] == [2, 1]
    assert [len(batch.queue_seconds) for batch in seen] == [1, 0]
    assert all(batch.inference_seconds >= 0 for batch in seen)
