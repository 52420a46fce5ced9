"""Recipes: what is decayed, how the rate moves."""

import pytest
import torch

from classifier.network import build_network
from training.recipes import RECIPES, make_optimizer, make_schedule


def test_plain_is_the_seed_reports_run() -> None:
    network = build_network("resnet18", classes=10, stem="imagenet")

    optimizer = make_optimizer(network, RECIPES["plain"])

    (group,) = optimizer.param_groups
    assert len(group["params"]) == len(list(network.parameters()))
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.1, 0.9, 1e-4)
    assert not group["nesterov"]
    assert make_schedule(optimizer, RECIPES["plain"], steps=100) is None
    plain = RECIPES["plain"]
    assert (plain.label_smoothing, plain.crop_padding, plain.mirror) == (0, 0, False)


def test_strong_decays_no_norms_and_no_biases() -> None:
    network = build_network("resnet18", classes=10, stem="imagenet")

    decayed, spared = make_optimizer(network, RECIPES["strong"]).param_groups

    assert spared["weight_decay"] == 0
    assert {p.ndim for p in spared["params"]} == {1}
    assert {p.ndim for p in decayed["params"]} == {2, 4}


@pytest.mark.parametrize("steps", [4, 5, 16, 400])
def test_one_cycle_rises_to_the_peak_and_falls_to_nearly_nothing(steps: int) -> None:
    recipe = RECIPES["strong"]
    optimizer = make_optimizer(build_network("tiny", classes=2, stem="small"), recipe)
    schedule = make_schedule(optimizer, recipe, steps=steps)
    assert schedule is not None

    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()

    assert max(rates) <= recipe.lr
    assert rates.index(max(rates)) <= steps / 3
    assert rates[-1] < max(rates)
    if steps > 100:
        assert max(rates) > 0.99 * recipe.lr
        assert rates[-1] < 0.001 * recipe.lr


def test_a_run_of_a_step_or_two_has_a_constant_rate() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)

    assert make_schedule(optimizer, RECIPES["strong"], steps=3) is None
