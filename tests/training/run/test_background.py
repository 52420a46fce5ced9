"""Work beside the training: in order, one behind at most, and no error is lost."""

import logging
from collections.abc import Callable
from functools import partial
from threading import Event

import pytest

from classifier.store.location import StoreUnavailable
from training.run.background import Background, Patience

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


BRIEF = Patience(seconds=60, longest_pause_seconds=0)


class Failing:
    """Work that fails with the errors it is given, one after the other."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls: list[bool] = []

    def __call__(self, again: bool) -> None:
        self.calls.append(again)
        if self.errors:
            raise self.errors.pop(0)


def test_work_is_told_from_the_second_time_on_that_parts_may_be_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = Failing(OSError("no space left"), StoreUnavailable("no answer"))

    with caplog.at_level(logging.WARNING):
        BRIEF.insist(work, what="publish epoch 3")

    assert work.calls == [False, True, True]
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "cannot publish epoch 3 yet: no space left",
        "cannot publish epoch 3 yet: no answer",
    ]


def test_the_last_error_is_raised_when_patience_is_over() -> None:
    """The pause before the second time is as long as the patience."""
    work = Failing(OSError("first"), OSError("second"), OSError("third"))

    with pytest.raises(OSError, match="second"):
        Patience(seconds=0.01).insist(work, what="publish")

    assert work.calls == [False, True]


def test_other_errors_are_no_matter_of_patience() -> None:
    work = Failing(ValueError("a fault"))

    with pytest.raises(ValueError, match="a fault"):
        BRIEF.insist(work, what="publish")


def test_nothing_is_tried_again_when_the_run_ends() -> None:
    given_up = Event()
    given_up.set()
    work = Failing(OSError("full"))

    with pytest.raises(OSError, match="full"):
        Patience(given_up=given_up).insist(work, what="publish")

    assert work.calls == [False]


def test_a_run_that_ends_ends_the_pause_as_well() -> None:
    """The pause of 30 minutes would hang the test."""
    patience = Patience(seconds=3600, longest_pause_seconds=1800)

    def fail_and_end_the_run(again: bool) -> None:
        patience.given_up.set()
        raise OSError("again" if again else "first")

    with pytest.raises(OSError, match="first"):
        patience.insist(fail_and_end_the_run, what="publish")
