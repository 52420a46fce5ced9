"""Weights to start from: of torchvision or timm, of a file, or of a version."""

import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn

from classifier.bundle.network import NetworkSpec, has_auxiliary_heads
from classifier.bundle.preprocessing import Preprocessing
from classifier.console.exits import NotNow, WrongUsage
from classifier.images.resizing import Filter
from classifier.networks.build import load_tensors

IMAGENET = "imagenet"

_PREFIXES = ("module.", "model.", "_orig_mod.", "network.")
"""Names that DataParallel, Lightning, torch.compile and wrappers add."""

_NESTED = ("state_dict", "model_state_dict", "model", "network")
"""Keys under which training programs store the state dict."""

LEAST_SHARE = 0.5
"""Least share of a network's numbers, without its head, that weights must have."""

_SHOWN = 4
"""Tensors that a message names."""


class UnfitWeights(WrongUsage, ValueError):
    """The weights are unreadable, or are those of another network."""


class WeightsNotFound(NotNow, RuntimeError):
    """The weights cannot be downloaded now."""


@dataclass(frozen=True)
class StartingWeights:
    """A state dict, and the preprocessing that its network was trained with."""

    tensors: Mapping[str, Tensor]
    origin: str
    """In words, for messages."""

    preprocessing: Preprocessing | None = None
    """None where it is not known."""

    has_other_classes: bool = False
    """True draws the head anew though as many classes would fit."""


@dataclass(frozen=True)
class Fit:
    """Names of the tensors that did not come from the weights."""

    head: tuple[str, ...]
    """Tensors of the head, which was drawn anew as it has other classes."""

    missing: tuple[str, ...]
    """Tensors of the network that are not in the weights."""

    unused: tuple[str, ...]
    """Tensors of the weights that the network has not, or in another shape."""

    def notes(self, origin: str) -> list[str]:
        """Sentences about it for the user."""
        notes = []
        if self.head:
            notes.append(
                f"the head is new ({', '.join(self.head)}); {origin} has other classes"
            )
        if self.missing:
            notes.append(
                f"{len(self.missing)} tensors of the network are not in {origin} and "
                f"start at random: {_first(self.missing)}"
            )
        if self.unused:
            notes.append(
                f"{len(self.unused)} tensors of {origin} are not used: "
                f"{_first(self.unused)}"
            )
        return notes


def imagenet_weights(spec: NetworkSpec, *, size: int | None) -> StartingWeights:
    """The weights that torchvision or timm publish for the network, downloaded once.

    `size` asks for other pixels than they were trained with. Raises UnfitWeights if
    there are none, WeightsNotFound without a network connection.
    """
    origin = f"--weights {IMAGENET}"
    try:
        if spec.source == "torchvision":
            return _of_torchvision(spec, origin, size)
        if spec.source == "timm":
            return _of_timm(spec, origin, size)
    # urllib's and huggingface_hub's errors are OSErrors.
    except OSError as error:
        raise WeightsNotFound(
            f"the weights of {spec.architecture} could not be downloaded ({error}); "
            f"connect this machine to the internet, or download them elsewhere and "
            f"give the file: --weights FILE.safetensors or FILE.pth"
        ) from error
    raise UnfitWeights(
        f"{spec.architecture} has no weights of ImageNet; give a file of weights, a "
        f"version, or leave out --weights"
    )


def read_weights(file: Path) -> StartingWeights:
    """The state dict of a .safetensors, .pth, .pt or .bin file.

    Nothing but tensors is unpickled, and no code of the file runs. Raises UnfitWeights.
    """
    if not file.is_file():
        raise UnfitWeights(
            f"--weights {file} is no file; give a .safetensors or .pth file, a version "
            f"such as v16, or {IMAGENET}"
        )
    try:
        if file.suffix == ".safetensors":
            found: Any = safetensors.torch.load_file(file)
        else:
            found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UnfitWeights(
            f"{file.name} has more than tensors, and its code is not run; save the "
            f"state dict alone: torch.save(network.state_dict(), ...)"
        ) from error
    # Damaged files make torch raise nearly anything.
    except Exception as error:
        raise UnfitWeights(f"{file.name} is no file of weights: {error}") from error
    return StartingWeights(_state_dict(found, file.name), file.name)


def load_weights(network: nn.Module, weights: StartingWeights) -> Fit:
    """Copies the tensors that fit by name and shape into the network.

    The head keeps its drawn values if the weights have other classes. Raises
    UnfitWeights if less than LEAST_SHARE of the rest of the network fits.
    """
    state, head = network.state_dict(), set(head_names(network))
    given = _without_prefix(weights.tensors, state)
    fitting = {
        name: tensor
        for name, tensor in given.items()
        if name in state and state[name].shape == tensor.shape
    }
    # A head of which one tensor has other classes is drawn anew as a whole.
    if weights.has_other_classes or not head <= fitting.keys():
        fitting = {n: tensor for n, tensor in fitting.items() if n not in head}
    fit = Fit(
        head=tuple(sorted(head - fitting.keys())),
        missing=tuple(sorted(state.keys() - fitting.keys() - head)),
        unused=tuple(sorted(given.keys() - fitting.keys() - head)),
    )
    body = {name: tensor.numel() for name, tensor in state.items() if name not in head}
    found = sum(body.get(name, 0) for name in fitting)
    if found < LEAST_SHARE * sum(body.values()):
        raise UnfitWeights(
            f"{weights.origin} has {found:,} of the network's {sum(body.values()):,} "
            f"numbers; missing are {_first(fit.missing)}; it has {_first(fit.unused)}. "
            f"Name its network with --arch"
        )
    load_tensors(network, {**state, **fitting})
    return fit


def classes_of(network: nn.Module, weights: StartingWeights) -> int:
    """Classes of the head that the weights have. Raises UnfitWeights without one.

    `network` may have any number of classes.
    """
    given = _without_prefix(weights.tensors, network.state_dict())
    name = f"{head_layers(network)[-1]}.weight"
    if name not in given:
        raise UnfitWeights(
            f"{weights.origin} has no {name}, the head of the network; it has "
            f"{_first(list(given))}. Name its network with --arch"
        )
    return len(given[name])


def head_names(network: nn.Module) -> list[str]:
    """Names of the tensors of the layers that give the logits, auxiliary heads' too."""
    return [
        f"{layer}.{name}"
        for layer in head_layers(network)
        for name, _ in network.get_submodule(layer).named_parameters()
    ]


def head_layers(network: nn.Module) -> list[str]:
    """Names of the layers whose outputs are the logits.

    That is the last linear or convolutional layer, and those of auxiliary heads.
    """
    layers = [
        name
        for name, module in network.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
    ]
    auxiliary = [name for name in layers if name.endswith((".fc2", ".fc"))]
    auxiliary = [name for name in auxiliary if name.lower().startswith("aux")]
    main = [name for name in layers if not name.lower().startswith("aux")]
    return [*auxiliary, *main[-1:]]


def _of_torchvision(
    spec: NetworkSpec, origin: str, size: int | None
) -> StartingWeights:
    best = torchvision.models.get_model_weights(spec.architecture).DEFAULT
    tensors = best.get_state_dict(progress=False, check_hash=True)
    transforms = best.transforms()
    own = int(transforms.crop_size[0])
    resize: Filter = (
        "bicubic-antialias"
        if transforms.interpolation.value == "bicubic"
        else "bilinear-antialias"
    )
    # Both were trained on images of another scale, which torchvision converts to inside
    # the network; here the network's own normalisation does it.
    converted = spec.architecture in ("googlenet", "inception_v3")
    half = (0.5, 0.5, 0.5)
    preprocessing = cropping(
        size or own,
        resize_to=round(transforms.resize_size[0] * (size or own) / own),
        resize=resize,
        mean=half if converted else tuple(transforms.mean),
        std=half if converted else tuple(transforms.std),
    )
    if not has_auxiliary_heads(spec.architecture, preprocessing.height):
        tensors = {n: t for n, t in tensors.items() if not n.lower().startswith("aux")}
    return StartingWeights(tensors, origin, preprocessing)


def _of_timm(spec: NetworkSpec, origin: str, size: int | None) -> StartingWeights:
    import timm

    network = timm.create_model(spec.architecture, pretrained=True)
    config: Any = network.pretrained_cfg
    own = int(config["input_size"][1])
    preprocessing = cropping(
        size or own,
        resize_to=int((size or own) / config["crop_pct"]),
        resize="bicubic-antialias"
        if config["interpolation"] == "bicubic"
        else "bilinear-antialias",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
    return StartingWeights(network.state_dict(), origin, preprocessing)


def cropping(
    size: int,
    *,
    resize_to: int,
    resize: Filter,
    mean: Sequence[float],
    std: Sequence[float],
) -> Preprocessing:
    return Preprocessing(
        size,
        size,
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        resize=resize,
        resize_to=max(resize_to, size),
        crop="center",
    )


def _state_dict(found: Any, file: str) -> dict[str, Tensor]:
    """The tensors of a file's content, below one of the usual keys if it is nested."""
    for _ in range(len(_NESTED)):
        nested = [key for key in _NESTED if isinstance(_get(found, key), Mapping)]
        if not nested:
            break
        found = found[nested[0]]
    if not isinstance(found, Mapping):
        raise UnfitWeights(
            f"{file} has {type(found).__name__} and no state dict; save one with "
            f"torch.save(network.state_dict(), ...)"
        )
    tensors = {
        name: tensor
        for name, tensor in found.items()
        if isinstance(name, str)
        and isinstance(tensor, Tensor)
        and tensor.layout == torch.strided
        and not tensor.is_meta
    }
    if not tensors:
        raise UnfitWeights(f"{file} has no tensors; its keys are {_first(list(found))}")
    return tensors


def _get(found: Any, key: str) -> Any:
    return found.get(key) if isinstance(found, Mapping) else None


def _without_prefix(
    tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """Without the prefixes of wrappers: the form that has most of `state`'s names."""
    return max(_stripped(tensors), key=lambda form: len(form.keys() & state.keys()))


def _stripped(tensors: Mapping[str, Tensor]) -> Iterator[Mapping[str, Tensor]]:
    """The tensors as they are, then with one more prefix taken off each time."""
    while True:
        yield tensors
        prefixes = [p for p in _PREFIXES if any(n.startswith(p) for n in tensors)]
        if not prefixes:
            return
        tensors = {
            name.removeprefix(prefixes[0]): tensor for name, tensor in tensors.items()
        }


def _first(names: Sequence[Any]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(map(str, names[:_SHOWN])) + more if names else "none"
