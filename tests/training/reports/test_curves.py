"""Numbers of curves whose story is known."""

import numpy as np
import pytest

from tests.training.histories import epoch_record, seed_report
from training.evaluation.epoch import History
from training.reports.curves import (
    earliest_as_good,
    is_trend,
    most_optimism,
    slope_within_epoch,
)


def test_the_slope_is_that_of_the_later_points() -> None:
    """Steep before a quarter of the epoch, then by a point each eighth of it."""
    running = [0.9, *(0.60 - 0.01 * place for place in range(6))]
    record = epoch_record(
        1, train_top1=1.08, val_top1=0.3, val_loss=3.0, running=running
    )

    assert slope_within_epoch(record) == pytest.approx(-0.08)


def test_an_epoch_of_two_points_has_no_slope() -> None:
    record = epoch_record(1, train_top1=0.5, val_top1=0.3, val_loss=3.0, running=[0.4])

    assert slope_within_epoch(record) is None


def test_slopes_that_scatter_about_zero_are_no_trend() -> None:
    assert is_trend([-0.01, -0.012, -0.011])
    assert not is_trend([-0.05, 0.04, -0.03])


def test_the_earliest_of_equally_good_epochs_is_the_best() -> None:
    history = History(
        [epoch_record(e, train_top1=0.5, val_top1=0.5, val_loss=1.0) for e in (1, 2, 3)]
    )

    assert history.best.epoch == history.best_loss.epoch == 1


def test_more_images_leave_fewer_epochs_as_good_as_the_best() -> None:
    history = seed_report()

    assert earliest_as_good(history, images=500).epoch == 5
    assert earliest_as_good(history, images=10_000).epoch == 6
    assert earliest_as_good(history, images=100_000).epoch == 8


def test_the_optimism_is_what_equal_and_independent_epochs_would_have() -> None:
    history = seed_report()
    generator = np.random.default_rng(0)
    drawn = generator.binomial(10_000, 0.3453, size=(2_000, 16)).max(axis=1)

    found = most_optimism(history, images=10_000)

    assert found == pytest.approx(drawn.mean() / 10_000 - 0.3453, rel=0.05)
    assert most_optimism(History(history.epochs[:1]), images=10) == 0
