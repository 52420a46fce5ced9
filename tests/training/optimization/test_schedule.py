"""Recipes: what is decayed, how the rate moves."""

from dataclasses import replace

import numpy as np
import pytest

from classifier.bundle.network import NetworkSpec
from classifier.networks.build import build_network
from training.data.batches import batch_bounds
from training.optimization.layers import make_optimizer
from training.optimization.schedule import (
    auto_batch_size,
    average_decay,
    average_interval,
    head_rate,
    learning_rate,
    scaled_rate,
)
from training.recipes import RECIPES


def test_plain_is_the_seed_reports_run() -> None:
    network = build_network(NetworkSpec("resnet18", "imagenet", 10), size=64)

    optimizer = make_optimizer(network, RECIPES["plain"])

    (group,) = optimizer.param_groups
    assert len(group["params"]) == len(list(network.parameters()))
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.1, 0.9, 1e-4)
    assert not group["nesterov"]
    plain = RECIPES["plain"]
    assert {learning_rate(plain, step=s, steps=100) for s in range(100)} == {0.1}
    assert (plain.label_smoothing, plain.crop_padding, plain.mirror) == (0, 0, False)
    assert (plain.cutmix, plain.least_area, plain.average_epochs) == (0, 1, 0)


def test_strong_decays_no_norms_and_no_biases() -> None:
    network = build_network(NetworkSpec("resnet18", "imagenet", 10), size=64)

    decayed, spared = make_optimizer(network, RECIPES["strong"]).param_groups

    assert spared["weight_decay"] == 0
    assert {p.ndim for p in spared["params"]} == {1}
    assert {p.ndim for p in decayed["params"]} == {2, 4}


@pytest.mark.parametrize("steps", [1, 2, 5, 16, 400])
def test_the_rate_rises_to_its_peak_and_falls_to_nearly_nothing(steps: int) -> None:
    recipe = RECIPES["strong"]

    rates = [learning_rate(recipe, step=step, steps=steps) for step in range(steps)]

    assert 0 < min(rates) <= max(rates) <= recipe.lr
    assert rates.index(max(rates)) <= recipe.warm_up * steps + 1
    if steps > 100:
        assert max(rates) > 0.99 * recipe.lr
        assert rates[-1] < 0.001 * recipe.lr


def test_the_rate_of_a_head_falls_with_the_square_of_its_inputs() -> None:
    inputs = np.array([[3.0, 4.0], [0.0, 5.0]], np.float32)  # length 5 each

    # And 1 for the bias.
    assert head_rate(inputs, batch_size=256) == pytest.approx(30 / 26)
    assert head_rate(2 * inputs, batch_size=256) == pytest.approx(30 / 101)
    assert head_rate(inputs, batch_size=64) == pytest.approx(30 / 26 / 4)
    # Inputs near 0, of a network that was never trained, must not raise it for ever.
    assert head_rate(0 * inputs, batch_size=256) == pytest.approx(30)


def test_the_average_reaches_as_far_back_in_a_short_epoch_as_in_a_long_one() -> None:
    recipe = replace(RECIPES["strong"], average_epochs=1.0, average_every=4)

    assert average_decay(recipe, steps_an_epoch=400) == pytest.approx(0.99)
    assert average_decay(recipe, steps_an_epoch=80) == pytest.approx(0.95)
    assert average_decay(recipe, steps_an_epoch=1) == 0


@pytest.mark.parametrize(
    ("steps", "every"), [(1, 1), (3, 1), (7, 1), (8, 2), (15, 3), (16, 4), (400, 4)]
)
def test_the_average_is_updated_four_times_an_epoch_or_at_each_step(
    steps: int, every: int
) -> None:
    recipe = replace(RECIPES["strong"], average_every=4)

    assert average_interval(recipe, steps_an_epoch=steps) == every


@pytest.mark.parametrize(
    ("images", "size"),
    [
        (100_000, 256),
        (4_866, 256),  # 20 steps, the last of two images
        (4_865, 243),  # 19, as a last batch of one joins the one before
        (901, 45),
        (200, 10),
        (39, 2),
        (2, 2),
    ],
)
def test_an_epoch_has_20_steps_where_the_images_allow(images: int, size: int) -> None:
    assert auto_batch_size(images) == size
    if images >= 40:
        assert len(batch_bounds(images, size)) >= 20


def test_each_process_gets_two_images_of_a_batch() -> None:
    assert auto_batch_size(100, processes=4) == 8
    assert auto_batch_size(100_000, processes=4) == 256


def test_the_rate_follows_the_batch_size_in_proportion() -> None:
    strong = RECIPES["strong"]

    assert scaled_rate(strong, batch_size=256) == strong.lr
    assert scaled_rate(strong, batch_size=64) == pytest.approx(strong.lr / 4)
