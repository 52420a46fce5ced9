"""The start of a run: its network, preprocessing, and the weights it starts from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from classifier.bundle.labels import Labels
from classifier.bundle.network import (
    NetworkSpec,
    UnfitSize,
    UnknownNetwork,
)
from classifier.bundle.preprocessing import Preprocessing
from classifier.networks.build import (
    build_network,
    check_image_size,
    new_spec,
    usual_size,
)
from classifier.networks.weights import (
    IMAGENET,
    StartingWeights,
    imagenet_weights,
    load_weights,
    read_weights,
)
from classifier.store.registry import Registry
from training.config.network_flags import channels
from training.config.settings import TrainingConfig
from training.optimization.layers import TrainOnly, freeze


@dataclass(frozen=True)
class Start:
    """The network before the first step."""

    spec: NetworkSpec
    preprocessing: Preprocessing
    weights: StartingWeights | None = None
    """None for a network that is drawn, and for a run that is resumed."""

    def to_json(self) -> dict[str, Any]:
        """The part that a resumed run needs; its weights are in the run's state."""
        return {
            "network": self.spec.to_json(),
            "preprocessing": self.preprocessing.to_json(),
        }


def new_start(config: TrainingConfig, labels: Labels) -> Start:
    """Reads the weights, if the flags name some.

    Raises UnfitSize for a size that the network refuses, and as
    `classifier.networks.weights` does.
    """
    spec = new_spec(config.arch, classes=len(labels), stem=config.stem)
    if config.image_size is not None:  # before weights are downloaded
        check_image_size(config.arch, config.image_size)
    weights = None if config.weights is None else _weights(config, spec, labels)
    given = None if weights is None else weights.preprocessing
    size = config.image_size or (given.height if given else usual_size(config.arch))
    check_image_size(config.arch, size)
    try:
        return Start(spec, _preprocessing(config, given, size), weights)
    except ValueError as error:
        raise UnfitSize(str(error)) from error


def saved_start(
    content: Mapping[str, Any], config: TrainingConfig, classes: int
) -> Start:
    """The start that a run's state keeps; older states have a stretch and ResNet-18."""
    if "network" not in content:
        spec = new_spec(config.arch, classes=classes, stem=config.stem)
        size = config.image_size or usual_size(config.arch)
        return Start(spec, Preprocessing(size, size))
    return Start(
        NetworkSpec.from_json(content["network"]),
        Preprocessing.from_json(content["preprocessing"]),
    )


def build_start(
    start: Start, *, seed: int, allowed: frozenset[str], train_only: TrainOnly = None
) -> tuple[nn.Module, list[str]]:
    """The network with its weights, and notes about tensors that did not fit.

    `allowed` are functions of the user's that may be run. Raises UnfitSize if the
    network refuses images of this size, UnfitWeights for those of another network.
    """
    size = start.preprocessing.height
    torch.manual_seed(seed)
    network = build_network(start.spec, size=size, allowed=allowed)
    _check_size(network, start)
    notes = []
    if start.weights is not None:
        notes = load_weights(network, start.weights).notes(start.weights.origin)
    freeze(network, train_only)
    return network, notes


def _weights(
    config: TrainingConfig, spec: NetworkSpec, labels: Labels
) -> StartingWeights:
    name = config.weights
    assert name is not None
    if name == IMAGENET:
        return imagenet_weights(spec, size=config.image_size)
    if Path(name).is_absolute():
        return read_weights(Path(name))
    return _of_version(name, config, labels)


def _of_version(name: str, config: TrainingConfig, labels: Labels) -> StartingWeights:
    """A version of the run's own model if that exists, else of the only one."""
    registry = Registry()
    own = config.model
    version = registry.find(
        name, model=own if own and registry.has_model(own) else None
    )
    bundle = registry.bundle(version)
    return StartingWeights(
        load_file(bundle.weights),
        f"v{version.number} of {version.model}",
        bundle.preprocessing,
        has_other_classes=bundle.labels.ids != labels.ids,
    )


def _preprocessing(
    config: TrainingConfig, given: Preprocessing | None, size: int
) -> Preprocessing:
    """The flags over what the weights bring, over a stretch with ImageNet's numbers."""
    base = given or Preprocessing(size, size)
    resize_to = config.resize_to
    if resize_to is None and base.resize_to is not None:
        resize_to = round(base.resize_to * size / base.height)
    if resize_to is None and config.crop == "center":
        resize_to = size
    is_cropped = resize_to is not None and config.crop != "none"
    return Preprocessing(
        size,
        size,
        mean=base.mean if config.mean is None else channels(config.mean),
        std=base.std if config.std is None else channels(config.std),
        resize=base.resize,
        resize_to=resize_to if is_cropped else None,
        crop="center" if is_cropped else None,
    )


def _check_size(network: nn.Module, start: Start) -> None:
    """Runs the network once, on one image of zeros in evaluation mode."""
    size, classes = start.preprocessing.height, start.spec.classes
    if not any(True for _ in network.parameters()):
        raise UnknownNetwork(f"{start.spec.architecture} has nothing to train")
    was_training = network.training
    try:
        with torch.inference_mode():
            logits = network.eval()(torch.zeros(1, 3, size, size))
    # A network may be the user's code, and refuse in any way.
    except Exception as error:
        raise UnfitSize(
            f"{start.spec.architecture} cannot take images of {size} x {size} pixels "
            f"({error}); ask for another --image-size"
        ) from error
    network.train(was_training)
    found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits)
    if found != (1, classes):
        raise UnknownNetwork(
            f"{start.spec.architecture} must answer logits [N, {classes}] for images "
            f"[N, 3, {size}, {size}], and answered {found} for one"
        )
