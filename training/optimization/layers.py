"""Layers of a network that learn: the head, its last stages, and their rates."""

from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import SGD

from classifier.console.exits import WrongUsage
from classifier.networks.weights import head_layers, head_names
from training.recipes import Recipe

TrainOnly = Literal["head"] | int | None

LEAST_STAGES = 4
"""A network of fewer stages is one whose parts have stages, such as `features`."""

LEAST_SHARE = 0.01
"""Share of a network's parameters that makes a part a stage. Smaller ones, such as a
last norm, belong to the stage before them."""


class NoSuchLayers(WrongUsage, ValueError):
    """The network has no such stages, or no head that could be trained alone."""


def freeze(network: nn.Module, train_only: TrainOnly) -> None:
    """Leaves the head, or the head and the last N stages, with parameters that learn.

    Raises NoSuchLayers if the network has fewer than N stages, or no linear or
    convolutional layer.
    """
    if train_only is None:
        return
    if not head_layers(network):
        raise NoSuchLayers(
            "--train-only needs a head, the last linear or convolutional layer, and "
            "the network has none; leave out --train-only"
        )
    if train_only == "head":
        learning = head_layers(network)
    else:
        learning = _last_stages(network, train_only)
    network.requires_grad_(False)
    for name in learning:
        network.get_submodule(name).requires_grad_(True)


def set_training_mode(network: nn.Module) -> None:
    """Training mode, but evaluation mode in layers that do not learn.

    Batch norm then keeps the statistics of the weights it came with.
    """
    network.train()
    for name, module in network.named_modules():
        above = network.get_submodule(name.rpartition(".")[0])
        is_bare_norm = isinstance(module, _BatchNorm) and not module.affine
        parameters = list((above if is_bare_norm else module).parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()


def is_frozen(network: nn.Module) -> bool:
    """Whether a part of the network does not learn."""
    return not all(parameter.requires_grad for parameter in network.parameters())


def make_optimizer(network: nn.Module, recipe: Recipe) -> SGD:
    """Its groups have a `rate`, the share of the learning rate that they take."""
    head = set(head_names(network))
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        # Norm scales and biases are vectors; the weights of layers are not.
        is_decayed = recipe.decay_norms_and_biases or parameter.ndim > 1
        decay = recipe.weight_decay if is_decayed else 0.0
        rate = 1.0 if name in head else recipe.body_rate
        groups.setdefault((rate, decay), []).append(parameter)
    return SGD(
        [
            {"params": parameters, "weight_decay": decay, "rate": rate}
            for (rate, decay), parameters in groups.items()
        ],
        lr=recipe.lr,
        momentum=recipe.momentum,
        # Without momentum both are the same, and torch refuses Nesterov's.
        nesterov=recipe.nesterov and recipe.momentum > 0,
        fused=True,
    )


def _last_stages(network: nn.Module, count: int) -> list[str]:
    """Names of the last `count` stages before the head, and of all parts after."""
    parts, everything = _parts_of(network, ""), _size(network)
    while True:
        names = list(parts)
        head = next(
            place for place, name in enumerate(names) if _has_head(network, name)
        )
        stages = [
            n for n in names[:head] if _size(parts[n]) >= LEAST_SHARE * everything
        ]
        largest = max(names, key=lambda name: _size(parts[name]))
        inner = _parts_of(parts[largest], f"{largest}.")
        if len(stages) >= LEAST_STAGES or len(inner) < 2 or largest == names[head]:
            break
        place = names.index(largest)
        before, after = names[:place], names[place + 1 :]
        opened = {**{n: parts[n] for n in before}, **inner}
        parts = {**opened, **{n: parts[n] for n in after}}
    if count > len(stages):
        raise NoSuchLayers(
            f"train_only is {count}, and the network has {len(stages)} stages before "
            f"its head: {', '.join(stages)}"
        )
    return names[names.index(stages[-count]) :]


def _has_head(network: nn.Module, name: str) -> bool:
    main = head_layers(network)[-1]
    return main == name or main.startswith(f"{name}.")


def _parts_of(module: nn.Module, prefix: str) -> dict[str, nn.Module]:
    return {
        f"{prefix}{name}": child
        for name, child in module.named_children()
        if _size(child) and not name.lower().startswith("aux")
    }


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
