"""Layers that learn."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from classifier.networks.build import build_network, new_spec
from training.optimization.layers import (
    NoSuchLayers,
    freeze,
    is_frozen,
    make_optimizer,
    set_training_mode,
)
from training.recipes import RECIPES


def network_of(name: str) -> nn.Module:
    spec = new_spec(name, classes=3, stem="imagenet")
    with torch.device("meta"):
        return build_network(spec, size=224)


def learning(network: nn.Module) -> set[str]:
    """The first two parts of the names of parameters that learn."""
    return {
        ".".join(name.split(".")[:2])
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
    }


@pytest.mark.parametrize(
    ("name", "stages", "expected"),
    [
        ("resnet18", 1, {"layer4.0", "layer4.1", "fc.weight", "fc.bias"}),
        ("mobilenet_v3_small", 2, {"features.11", "features.12", "classifier.0"}),
        ("convnext_tiny", 1, {"features.7", "classifier.0", "classifier.2"}),
        ("vit_b_16", 1, {"encoder.layers", "encoder.ln", "heads.head"}),
        ("swin_t", 1, {"features.7", "norm.weight", "norm.bias", "head.weight"}),
        ("densenet121", 1, {"features.denseblock4", "features.norm5"}),
    ],
)
def test_the_last_stages_learn(name: str, stages: int, expected: set[str]) -> None:
    network = network_of(name)

    freeze(network, stages)

    assert expected <= learning(network)
    assert not next(network.parameters()).requires_grad


def test_without_momentum_nesterov_s_is_plain_descent() -> None:
    recipe = replace(RECIPES["strong"], momentum=0.0)
    network = nn.Linear(2, 3)
    before = network.weight.detach().clone()

    optimizer = make_optimizer(network, recipe)
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()

    gradient = 1 + recipe.weight_decay * before
    assert torch.allclose(network.weight, before - recipe.lr * gradient)


def test_the_head_alone_learns() -> None:
    network = network_of("mobilenet_v3_small")

    freeze(network, "head")

    assert learning(network) == {"classifier.3"}
    assert is_frozen(network)


def test_a_network_with_fewer_stages_says_which_it_has() -> None:
    with pytest.raises(NoSuchLayers, match="has 4 stages before its head: layer1, "):
        freeze(network_of("resnet18"), 40)


def test_a_network_without_a_head_says_so() -> None:
    with pytest.raises(NoSuchLayers, match="the network has none"):
        freeze(nn.Sequential(nn.PReLU(), nn.Flatten()), "head")


def test_a_norm_without_parameters_is_of_the_layer_around_it() -> None:
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False))
    network = nn.Sequential(body, nn.Flatten(), nn.Linear(4, 2))
    freeze(network, "head")

    set_training_mode(network)

    assert not body[1].training


def test_batch_norm_of_what_does_not_learn_is_in_evaluation_mode() -> None:
    network = network_of("resnet18")
    freeze(network, 1)

    set_training_mode(network)

    modes = {
        name: module.training
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    }
    assert {name for name, training in modes.items() if training} == {
        name for name in modes if name.startswith("layer4")
    }


def test_layers_below_the_head_take_a_share_of_the_rate() -> None:
    network = network_of("resnet18")

    groups = make_optimizer(network, RECIPES["finetune"]).param_groups

    sizes = {
        (group["rate"], group["weight_decay"]): len(group["params"]) for group in groups
    }
    decay = RECIPES["finetune"].weight_decay
    # 20 convolutions, 40 vectors of batch norm, the head's weight and bias.
    assert sizes == {(0.1, decay): 20, (0.1, 0.0): 40, (1.0, decay): 1, (1.0, 0.0): 1}
