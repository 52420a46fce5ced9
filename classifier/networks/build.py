"""Networks by name: torchvision's, timm's, a user's own function, and a tiny one."""

import hashlib
import importlib
import sys
import traceback
from collections.abc import Collection, Mapping
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import torchvision
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from classifier.bundle.network import (
    NetworkNotAllowed,
    NetworkSpec,
    UnknownNetwork,
    check_size,
    default_size,
    has_auxiliary_heads,
    own_size,
    source_of,
)

_AUXILIARY_WEIGHTS = {"GoogLeNet": 0.3, "Inception3": 0.4}
"""Weight of the loss of a head that only helps to train: Szegedy et al. 2014, section
5, and torchvision's references/classification."""


def new_spec(architecture: str, *, classes: int, stem: str) -> NetworkSpec:
    """The spec of `--arch`. Reads, and does not import, the module of a function.

    Raises ValueError for a name of no network, UnknownNetwork for no such function.
    """
    source = source_of(architecture)
    digest = None
    if source is not None and ":" in source:
        digest = hashlib.sha256(_source_file(source).read_bytes()).hexdigest()
    return NetworkSpec(
        architecture.removeprefix("timm:"),
        stem,
        classes,
        source=source,
        source_sha256=digest,
    )


def build_network(
    spec: NetworkSpec, *, size: int, allowed: Collection[str] = ()
) -> nn.Module:
    """A freshly initialised network: normalised float [N, 3, size, size] -> logits.

    `allowed` are the functions of the user's that may be imported. Raises
    NetworkNotAllowed for another one and for a changed source file, UnknownNetwork if
    the source has no such network.
    """
    name, classes = spec.architecture, spec.classes
    if spec.is_function:
        return _of_function(spec, allowed)
    if spec.source == "timm":
        return _of_timm(name, classes)
    if spec.source == "onnx":
        raise UnknownNetwork(
            "the version was imported from an ONNX file, which torch cannot run; use "
            "the onnx backend"
        )
    return _tiny(classes, spec.stem) if name == "tiny" else _of_torchvision(spec, size)


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Loads a state dict that has lost its metadata, as in a safetensors file.

    torch keeps the version of each module's parameters there, which some modules ask
    for: torchvision's MNASNet refuses a state dict without. Raises RuntimeError if
    names or shapes differ.
    """
    state = network.state_dict()
    if missing := sorted(state.keys() - tensors.keys()):
        raise RuntimeError(f"Missing key(s) in state_dict: {', '.join(missing)}")
    state.update(tensors)
    network.load_state_dict(state)


def usual_size(architecture: str, *, otherwise: int = 64) -> int:
    """Height and width where none are asked for: the network's own, else `otherwise`.

    Raises UnknownNetwork for a network of timm's that cannot be looked up.
    """
    config = _timm_config(architecture)
    if config is None:
        return default_size(architecture, otherwise=otherwise)
    if config.fixed_input_size:
        return int(config.input_size[-1])
    return max(otherwise, *(config.min_input_size or (0, 0))[-2:])


def check_image_size(architecture: str, size: int) -> None:
    """Raises UnfitSize for a size that the network is known not to take."""
    config = _timm_config(architecture)
    is_fixed = config is not None and config.fixed_input_size
    check_size(architecture, size, own=config.input_size[-1] if is_fixed else None)


def _timm_config(architecture: str) -> Any:
    """timm's settings for the network's images; None if it is not timm's."""
    name = architecture.removeprefix("timm:")
    if name == architecture:
        return None
    timm = _timm(name)
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # a tag of no weights
        raise UnknownNetwork(f"timm has no network {name!r}: {error}") from error
    if config is None:
        raise UnknownNetwork(f"timm has no network {name!r}")
    return config


def logits_of(outputs: Any) -> list[Tensor]:
    """Logits of the network in float32, then those of its auxiliary heads.

    `outputs` is what the network returns in training mode, a tensor or a tuple of them.
    Raises UnknownNetwork if a user's network returns something else.
    """
    found = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
    parts = [part for part in found if part is not None]
    if not parts or not all(isinstance(part, Tensor) for part in parts):
        raise UnknownNetwork(
            f"the network must answer logits [N, K], in training mode alone or first "
            f"in a tuple of tensors, and answered {type(outputs).__name__}"
        )
    return [part.float() for part in parts]


def auxiliary_weight(network: nn.Module) -> float:
    """Share of the loss of each auxiliary head; 0 for a network without."""
    return _AUXILIARY_WEIGHTS.get(type(network).__name__, 0.0)


def _of_torchvision(spec: NetworkSpec, size: int) -> nn.Module:
    name = spec.architecture
    more: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        more = {"init_weights": True, "aux_logits": has_auxiliary_heads(name, size)}
    elif name.startswith("vit_"):
        more = {"image_size": own_size(name)}
    network: nn.Module = torchvision.models.get_model(
        name, weights=None, num_classes=spec.classes, **more
    )
    if spec.stem == "small":
        # 3x3, stride 1, no pooling: the ImageNet stem leaves a 2x2 map of 64 px.
        network.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out")
        network.maxpool = nn.Identity()
    return network


def _timm(name: str) -> Any:
    """The package, untyped. Raises UnknownNetwork where it is not installed."""
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise UnknownNetwork(
            f"timm:{name} needs the package timm: pip install 'flipside[timm]'"
        ) from error


def _of_timm(name: str, classes: int) -> nn.Module:
    timm = _timm(name)
    try:
        network: nn.Module = timm.create_model(name, num_classes=classes)
    except RuntimeError as error:  # timm's error for an unknown name
        raise UnknownNetwork(f"timm has no network {name!r}: {error}") from error
    return network


def _of_function(spec: NetworkSpec, allowed: Collection[str]) -> nn.Module:
    assert spec.source is not None
    if spec.source not in allowed:
        raise NetworkNotAllowed(
            f"the network is built by code, {spec.source}, which only runs where it is "
            f"named: --allow-network {spec.source}"
        )
    source_file = _source_file(spec.source)
    source = source_file.read_bytes()
    if hashlib.sha256(source).hexdigest() != spec.source_sha256:
        raise NetworkNotAllowed(
            f"the source file of {spec.source} has changed since the version was made "
            f"(sha256 {spec.source_sha256}); put the file back, or train again"
        )
    module, _, function = spec.source.partition(":")
    try:
        build = getattr(_imported(module, source_file, source), function, None)
        if not callable(build):
            raise UnknownNetwork(f"{module} has no function {function!r}")
        network = build(spec.classes)
    except NotImplementedError:  # the meta device has no values
        raise
    # The code is the user's, and may raise anything.
    except Exception as error:
        if isinstance(error, UnknownNetwork):
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise UnknownNetwork(
            f"{spec.source} failed with {type(error).__name__}: {error} "
            f"({Path(last.filename).name}, line {last.lineno})"
        ) from error
    if not isinstance(network, nn.Module):
        raise UnknownNetwork(
            f"{spec.source}({spec.classes}) must return an nn.Module, got "
            f"{type(network).__name__}"
        )
    if any(isinstance(p, UninitializedParameter) for p in network.parameters()):
        raise UnknownNetwork(
            f"{spec.source} has lazy layers, whose sizes a first image decides; give "
            f"each layer its sizes"
        )
    return network


class _SourceLoader(SourceFileLoader):
    """Runs the source that was hashed: no cached bytecode, and no file read again."""

    def __init__(self, module: str, file: Path, source: bytes) -> None:
        super().__init__(module, str(file))
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self._source, self.path)
        return code


def _imported(module: str, file: Path, source: bytes) -> ModuleType:
    """The module of these bytes; the packages above it are imported as usual."""
    parent = module.rpartition(".")[0]
    if parent:
        importlib.import_module(parent)
    spec = spec_from_file_location(
        module, file, loader=_SourceLoader(module, file, source)
    )
    assert spec is not None
    assert spec.loader is not None
    loaded = module_from_spec(spec)
    sys.modules[module] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def _source_file(source: str) -> Path:
    """The function's source file, found without an import.

    importlib.util.find_spec would import the packages above the module.
    """
    path: list[str] | None = None
    found: ModuleSpec | None = None
    module = source.partition(":")[0]
    for part in module.split("."):
        found = PathFinder.find_spec(part, path)
        if found is None:
            break
        path = list(found.submodule_search_locations or ())
    if found is None or found.origin is None or not Path(found.origin).is_file():
        raise UnknownNetwork(
            f"no source file of module {module!r} was found in the working directory "
            f"or among the installed packages ({len(sys.path)} folders)"
        )
    return Path(found.origin)


def _tiny(classes: int, stem: str) -> nn.Module:
    """A network to try a set-up in seconds: 20,000 parameters, no batch norm."""
    stride = 1 if stem == "small" else 2
    return nn.Sequential(
        nn.Conv2d(3, 16, kernel_size=3, stride=stride, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 48, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(48, classes),
    )
