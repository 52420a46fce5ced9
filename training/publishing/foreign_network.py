"""A torch network made elsewhere: weights of a known one, or a whole one in MLflow."""

import contextlib
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import mlflow.pytorch
import torch
from mlflow.exceptions import MlflowException
from torch import Tensor, nn

from classifier.bundle.network import NetworkSpec, UnfitSize
from classifier.bundle.preprocessing import Preprocessing
from classifier.networks.build import (
    build_network,
    check_image_size,
    new_spec,
    usual_size,
)
from classifier.networks.image_classifier import ImageClassifier
from classifier.networks.weights import (
    UnfitWeights,
    classes_of,
    load_weights,
    read_weights,
)
from training.publishing.foreign_graph import UnfitModel

SIZE = 224
"""Height and width that most published networks were trained with."""

_PICKLE_VARIABLE = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"

_REMEDY = (
    "its pickle is a program that may do anything this user may; give --trust-pickle "
    "if you trust who made it, or save it without pickle"
)


def size_of(architecture: str, given: int | None) -> int:
    """Height and width of its images. Raises UnfitModel for those it refuses."""
    size = given or usual_size(architecture, otherwise=SIZE)
    try:
        check_image_size(architecture, size)
    except UnfitSize as error:
        raise UnfitModel(str(error).replace("image_size", "size")) from error
    return size


def network_of_weights(
    file: Path, architecture: str, *, stem: str, size: int, classes: int | None
) -> tuple[nn.Module, NetworkSpec]:
    """The network with all its weights from the file, the head too.

    `classes` is None for as many as the head has. Raises UnfitWeights if a tensor is
    missing, left over or of another shape.
    """
    weights = read_weights(file)
    allowed = {architecture}
    spec = new_spec(architecture, classes=classes or 2, stem=stem)
    if classes is None:
        network = build_network(spec, size=size, allowed=allowed)
        found = classes_of(network, weights)
        spec = new_spec(architecture, classes=found, stem=stem)
    network = build_network(spec, size=size, allowed=allowed)
    fit = load_weights(network, weights)
    if wrong := [*fit.head, *fit.missing, *fit.unused]:
        raise UnfitWeights(
            f"{len(wrong)} tensors of {weights.origin} are not those of {architecture} "
            f"with {spec.classes:,} classes: {', '.join(wrong[:4])}; name its network "
            f"with --arch (and --stem), and all its classes with --labels"
        )
    return network.eval(), spec


def network_in_mlflow(folder: Path, *, name: str, trust_pickle: bool) -> nn.Module:
    """The network of a model of MLflow's flavour pytorch, on the CPU.

    Raises UnfitModel for a pickle without `trust_pickle`.
    """
    try:
        with _pickle_allowed(trust_pickle):
            return _module(
                mlflow.pytorch.load_model(
                    str(folder), map_location="cpu", weights_only=False
                ),
                name,
            )
    except MlflowException as error:
        if "pickle" not in str(error):
            raise UnfitModel(f"MLflow cannot load {name}: {error}") from error
        raise UnfitModel(f"{name} is pickled: {_REMEDY}") from error
    except (ImportError, AttributeError) as error:
        raise UnfitModel(
            f"{name} needs code that is not installed here: {error}"
        ) from error


def pickled_network(file: Path, *, trust_pickle: bool) -> nn.Module:
    """The network of torch.save(network, …). Raises UnfitModel if it is none."""
    if not trust_pickle:
        raise UnfitModel(
            f"{file.name} needs --arch, the name of its network; a whole network in a "
            f"pickle is not read: {_REMEDY}"
        )
    try:
        found = torch.load(file, map_location="cpu", weights_only=False)
    except (ImportError, AttributeError) as error:
        raise UnfitModel(
            f"{file.name} needs code that is not installed here: {error}"
        ) from error
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        raise UnfitModel(f"{file.name} cannot be unpickled: {error}") from error
    return _module(found, file.name)


def classifier_of(
    network: nn.Module, preprocessing: Preprocessing, *, name: str
) -> tuple[ImageClassifier, int]:
    """The network with its normalisation, and its number of classes.

    Raises UnfitModel if it does not give [N, classes] for two images.
    """
    classifier = ImageClassifier(network, preprocessing)
    shape = (2, preprocessing.height, preprocessing.width, 3)
    try:
        with torch.inference_mode():
            logits = classifier(torch.zeros(shape, dtype=torch.uint8))
    except Exception as error:  # somebody else's code may raise anything
        raise UnfitModel(
            f"{name} fails on float32 {[2, 3, *shape[1:3]]}: {error}"
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != 2:
        gives = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits)
        raise UnfitModel(
            f"{name} gives {gives} for 2 images; a classifier gives [2, classes]"
        )
    return classifier, logits.shape[1]


def _module(found: object, name: str) -> nn.Module:
    if not isinstance(found, nn.Module):
        raise UnfitModel(
            f"{name} has {type(found).__name__} and no network; name the network of a "
            f"state dict with --arch"
        )
    try:
        return found.eval()
    except NotImplementedError:
        return _ExportedNetwork(found)


class _ExportedNetwork(nn.Module):
    """A network of torch.export, which keeps its mode and refuses to be asked."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs)
        return logits

    def train(self, mode: bool = True) -> "_ExportedNetwork":
        self.training = mode
        return self


@contextlib.contextmanager
def _pickle_allowed(allowed: bool) -> Iterator[None]:
    """Sets MLflow's own switch for the block."""
    before = os.environ.get(_PICKLE_VARIABLE)
    os.environ[_PICKLE_VARIABLE] = str(allowed).lower()
    try:
        yield
    finally:
        del os.environ[_PICKLE_VARIABLE]
        if before is not None:
            os.environ[_PICKLE_VARIABLE] = before
