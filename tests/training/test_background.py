"""Work beside the training: in order, one behind at most, and no error is lost."""

from collections.abc import Callable
from functools import partial
from threading import Event

import pytest

from training.background import Background

WAIT_SECONDS = 30.0


class Broken(Exception):
    pass


def _break() -> None:
    raise Broken


def _run_until_interrupted(*jobs: Callable[[], None]) -> None:
    with Background("test") as background:
        for job in jobs:
            background.submit(job)
        raise KeyboardInterrupt


def test_jobs_are_done_in_order_and_all_are_done_at_the_end() -> None:
    done: list[int] = []

    with Background("test") as background:
        for number in range(20):
            background.submit(partial(done.append, number))

    assert done == list(range(20))


def test_who_brings_a_job_waits_for_the_one_before_and_not_for_it() -> None:
    may_end, has_ended = Event(), Event()

    def work() -> None:
        assert may_end.wait(WAIT_SECONDS)
        has_ended.set()

    with Background("test") as background:
        background.submit(work)  # returns while it is under way
        assert not has_ended.is_set()
        may_end.set()
        background.submit(lambda: None)
        assert has_ended.is_set()


def test_an_error_reaches_who_brings_the_next_job_which_is_not_begun() -> None:
    begun = Event()

    with Background("test") as background:
        background.submit(_break)
        with pytest.raises(Broken):
            background.submit(begun.set)

    assert not begun.is_set()


def test_an_error_of_the_last_job_is_raised_at_the_end() -> None:
    with pytest.raises(Broken), Background("test") as background:
        background.submit(_break)


def test_what_was_brought_is_done_though_an_error_ends_the_block() -> None:
    done: list[int] = []

    with pytest.raises(KeyboardInterrupt):
        _run_until_interrupted(*(partial(done.append, number) for number in range(9)))

    assert done == list(range(9))


def test_an_error_that_ends_the_block_is_told_and_not_that_of_a_job() -> None:
    with pytest.raises(KeyboardInterrupt):
        _run_until_interrupted(_break)


def test_the_time_of_the_jobs_and_of_those_who_waited_is_counted() -> None:
    with Background("test") as background:
        background.submit(lambda: None)
        background.wait()

    assert background.seconds_busy > 0
    assert background.seconds_waited > 0
