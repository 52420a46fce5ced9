"""Intervals from images drawn again."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import bootstrap

from compare.agreement import FloatArray
from compare.bootstrap import percentile_interval, resampled_sums


def _means(values: FloatArray, *, resamples: int = 2_000, seed: int = 0) -> FloatArray:
    rows = csr_array(values[None, :])
    return resampled_sums(rows, resamples=resamples, seed=seed)[:, 0] / len(values)


def test_the_interval_of_a_mean_is_scipys() -> None:
    values = np.random.default_rng(3).choice([-1.0, 0.0, 1.0], 400, p=[0.2, 0.5, 0.3])

    ours = percentile_interval(
        float(values.mean()), _means(values, resamples=20_000), images=400
    )

    theirs = bootstrap(
        (values,), np.mean, n_resamples=20_000, batch=500, method="percentile", rng=1
    ).confidence_interval
    # two independent draws of 20,000: the ends' standard error is about 0.0005
    assert ours.low == pytest.approx(theirs.low, abs=0.003)
    assert ours.high == pytest.approx(theirs.high, abs=0.003)


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        values = rng.choice([-1.0, 0.0, 1.0], 500, p=[0.1, 0.75, 0.15])
        interval = percentile_interval(
            float(values.mean()), _means(values, resamples=500), images=500
        )
        assert interval.low is not None
        assert interval.high is not None
        covered += interval.low <= 0.05 <= interval.high

    # 95 %, four standard errors of 1.3 % below
    assert covered / 300 >= 0.90


def test_the_same_seed_gives_the_same_bytes() -> None:
    values = np.random.default_rng(4).normal(size=1_000)

    assert _means(values).tobytes() == _means(values).tobytes()
    assert _means(values).tobytes() != _means(values, seed=1).tobytes()


def test_one_image_has_a_value_and_no_interval() -> None:
    interval = percentile_interval(0.5, np.full(10, 0.5), images=1)

    assert (interval.value, interval.low, interval.high) == (0.5, None, None)


def test_resamples_without_a_value_do_not_count() -> None:
    resampled = np.array([np.nan, *np.linspace(0, 1, 1_001)])

    interval = percentile_interval(0.5, resampled, images=9)

    assert (interval.low, interval.high) == pytest.approx((0.025, 0.975))
    assert percentile_interval(None, resampled, images=9).low is None
