"""Background jobs run in order, at most one waits, and no error is lost."""

import logging
from collections.abc import Callable
from functools import partial
from threading import Event

import pytest

from classifier.store.location import StoreUnavailable
from training.run.background import Background, RetryPolicy

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


def test_jobs_run_in_order_and_all_have_run_at_the_end() -> None:
    done: list[int] = []

    with Background("test") as background:
        for number in range(20):
            background.submit(partial(done.append, number))

    assert done == list(range(20))


def test_submitting_a_job_waits_for_the_previous_job_alone() -> None:
    may_end, has_ended = Event(), Event()

    def work() -> None:
        assert may_end.wait(WAIT_SECONDS)
        has_ended.set()

    with Background("test") as background:
        background.submit(work)  # returns while the job runs
        assert not has_ended.is_set()
        may_end.set()
        background.submit(lambda: None)
        assert has_ended.is_set()


def test_submit_raises_the_previous_error_and_does_not_run_the_job() -> None:
    begun = Event()

    with Background("test") as background:
        background.submit(_break)
        with pytest.raises(Broken):
            background.submit(begun.set)

    assert not begun.is_set()


def test_an_error_of_the_last_job_is_raised_at_the_end() -> None:
    with pytest.raises(Broken), Background("test") as background:
        background.submit(_break)


def test_submitted_jobs_run_though_an_error_ends_the_block() -> None:
    done: list[int] = []

    with pytest.raises(KeyboardInterrupt):
        _run_until_interrupted(*(partial(done.append, number) for number in range(9)))

    assert done == list(range(9))


def test_the_error_of_the_block_is_raised_and_not_that_of_a_job() -> None:
    with pytest.raises(KeyboardInterrupt):
        _run_until_interrupted(_break)


def test_the_times_of_jobs_and_of_waiting_are_counted() -> None:
    with Background("test") as background:
        background.submit(lambda: None)
        background.wait()

    assert background.seconds_busy > 0
    assert background.seconds_waited > 0


BRIEF = RetryPolicy(seconds=60, longest_pause_seconds=0)


class Failing:
    """Work that raises the given errors, one a call."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls: list[bool] = []

    def __call__(self, is_retry: bool) -> None:
        self.calls.append(is_retry)
        if self.errors:
            raise self.errors.pop(0)


def test_work_gets_is_retry_from_the_second_call_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = Failing(OSError("no space left"), StoreUnavailable("no answer"))

    with caplog.at_level(logging.WARNING):
        BRIEF.call(work, action="publish epoch 3")

    assert work.calls == [False, True, True]
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "cannot publish epoch 3 yet: no space left",
        "cannot publish epoch 3 yet: no answer",
    ]


def test_the_last_error_is_raised_when_the_time_is_up() -> None:
    """The pause before the second call takes the whole time."""
    work = Failing(OSError("first"), OSError("second"), OSError("third"))

    with pytest.raises(OSError, match="second"):
        RetryPolicy(seconds=0.01).call(work, action="publish")

    assert work.calls == [False, True]


def test_other_errors_are_not_retried() -> None:
    work = Failing(ValueError("a fault"))

    with pytest.raises(ValueError, match="a fault"):
        BRIEF.call(work, action="publish")


def test_nothing_is_retried_after_a_stop() -> None:
    stop = Event()
    stop.set()
    work = Failing(OSError("full"))

    with pytest.raises(OSError, match="full"):
        RetryPolicy(stop=stop).call(work, action="publish")

    assert work.calls == [False]


def test_a_stop_ends_the_pause() -> None:
    """A pause of 30 minutes would hang the test."""
    policy = RetryPolicy(seconds=3600, longest_pause_seconds=1800)

    def fail_and_stop(is_retry: bool) -> None:
        policy.stop.set()
        raise OSError("again" if is_retry else "first")

    with pytest.raises(OSError, match="first"):
        policy.call(fail_and_stop, action="publish")
