"""Dark, bright, grey and coloured images apart."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from compare.statistics.slices import QUARTERS, ImageFacts, slices


def test_quarters_hold_as_many_images_and_colours_hold_all() -> None:
    rng = np.random.default_rng(0)
    facts = ImageFacts(rng.uniform(0, 255, 400), rng.uniform(size=400) < 0.1)
    right = rng.uniform(size=400) < 0.5

    parts = slices(facts, baseline=right, candidate=right)

    assert [part.group for part in parts] == [*QUARTERS, "grey", "colour"]
    assert [part.table.images for part in parts[:4]] == [100] * 4
    assert sum(part.table.images for part in parts[4:]) == 400
    assert all(
        part.table.broken == part.table.fixed and part.q_value == 1 for part in parts
    )


def test_a_difference_in_the_dark_shows_there() -> None:
    brightness = np.arange(200.0)
    facts = ImageFacts(brightness, np.zeros(200, bool))
    baseline = np.ones(200, bool)
    candidate = brightness >= 20  # the 20 darkest break

    parts = slices(facts, baseline=baseline, candidate=candidate)

    dark, *others = parts
    assert (dark.name, dark.group) == ("brightness", "darkest quarter")
    assert (dark.table.broken, dark.table.images) == (20, 50)
    assert [part.table.broken for part in others] == [0, 0, 0, 20]
    mid_ps = [part.mid_p for part in parts]
    assert [part.q_value for part in parts] == pytest.approx(
        false_discovery_control(mid_ps, method="bh").tolist()
    )


def test_images_that_could_not_be_read_are_in_no_part() -> None:
    facts = ImageFacts(np.array([np.nan, 10.0, 20.0]), np.array([True, False, False]))
    right = np.ones(3, bool)

    parts = slices(facts, baseline=right, candidate=right)

    assert sum(part.table.images for part in parts if part.name == "brightness") == 2
    assert [p.group for p in parts if p.name == "colour"] == ["colour"]


def test_images_of_one_brightness_stay_together() -> None:
    facts = ImageFacts(np.full(8, 128.0), np.ones(8, bool))
    right = np.ones(8, bool)

    parts = slices(facts, baseline=right, candidate=right)

    assert [(part.group, part.table.images) for part in parts] == [
        ("darkest quarter", 8),
        ("grey", 8),
    ]


def test_nothing_readable_gives_no_slices() -> None:
    facts = ImageFacts(np.full(2, np.nan), np.ones(2, bool))
    right = np.ones(2, bool)

    assert slices(facts, baseline=right, candidate=right) == []
