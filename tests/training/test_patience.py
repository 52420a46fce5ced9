"""What may pass is tried again, for as long as there is patience."""

import logging
from threading import Event

import pytest

from classifier.store import StoreUnavailable
from training.patience import Patience

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
