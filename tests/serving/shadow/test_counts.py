"""Counts by hour, over processes, and the interval of their rate."""

from multiprocessing import get_context
from pathlib import Path

import pytest
from statsmodels.stats.proportion import proportion_confint

from serving.shadow.counts import HOURS, HourlyCounts, Rate, summed

PAIR = ("8", "16")


@pytest.mark.parametrize(
    ("count", "total"), [(0, 1), (1, 1), (0, 40), (3, 40), (40, 40), (123, 98_765)]
)
def test_the_interval_is_the_one_of_statsmodels(count: int, total: int) -> None:
    low, high = proportion_confint(count, total, alpha=0.05, method="wilson")

    rate = Rate.of(count, total)

    assert rate.value == count / total
    assert (rate.low, rate.high) == pytest.approx((low, high), rel=1e-12, abs=1e-15)


def test_no_images_have_no_rate() -> None:
    assert Rate.of(0, 0) == Rate(None, None, None)


def test_images_count_in_their_hour_and_are_forgotten_after_24() -> None:
    now = 3600 * 490_000.0
    counts = HourlyCounts(None, now=lambda: now)

    for hour in range(2 * HOURS):
        now = 3600 * (490_000.0 + hour)
        counts.add(PAIR, "agreed", 3)
        counts.add(PAIR, "disagreed")
        counts.add(PAIR, "dropped", hour)

    hours = counts.hours()
    assert [hour.number for hour in hours] == list(range(490_024, 490_048))
    last = hours[-1].to_json()
    assert last["start"] == "2025-11-26T15:00Z"
    assert (last["default"], last["version"]) == PAIR
    assert (last["images"], last["disagreements"], last["dropped"]) == (4, 1, 47)
    assert last["disagreement_rate"] == vars(Rate.of(1, 4))
    now += 3600 * (HOURS - 1)
    assert [hour.number for hour in counts.hours()] == [490_047]
    now += 3600
    assert counts.hours() == []


def test_each_pair_of_versions_has_counts_of_its_own() -> None:
    counts = HourlyCounts(None)
    counts.add(PAIR, "agreed", 2)
    counts.add(("8", "17"), "disagreed")
    hours = counts.hours()

    assert summed(hours, PAIR).rate == Rate.of(0, 2)
    assert summed(hours, ("8", "17")).rate == Rate.of(1, 1)
    assert summed(hours, ("9", "17")).rate == Rate.of(0, 0)


def _add(folder: Path, images: int) -> None:
    counts = HourlyCounts(folder)
    for _ in range(images):
        counts.add(PAIR, "agreed")
    counts.add(("a/8 é", "b/16"), "disagreed")


def test_processes_count_together_and_their_counts_stay_when_they_end(
    tmp_path: Path,
) -> None:
    context = get_context("spawn")
    workers = [context.Process(target=_add, args=(tmp_path, n)) for n in (10, 20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)

    hours = HourlyCounts(tmp_path).hours()

    assert summed(hours, PAIR).to_json()["images"] == 30
    assert summed(hours, ("a/8 é", "b/16")).to_json()["disagreements"] == 2
