"""Exports a network to the files of a version, and proves that they answer alike."""

import contextlib
import copy
import hashlib
import json
import logging
import tempfile
import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from classifier.bundle.files import (
    GRAPH,
    WEIGHTS,
    Bundle,
    TensorPlace,
    weights_header,
    write_bundle,
)
from classifier.bundle.labels import Labels
from classifier.bundle.network import NetworkSpec
from classifier.bundle.preprocessing import Preprocessing
from classifier.console.exits import OurFault
from classifier.inference.backends.onnx_runtime import OnnxBackend
from classifier.metrics import RELATIVE_TOLERANCE, likeness
from classifier.storage import build_once

if TYPE_CHECKING:  # torch takes 4 s to import, and an imported graph needs none of it
    import onnx
    import onnx_ir

    from classifier.networks.image_classifier import ImageClassifier

CHECKSUM = "crc32"
FORMAT = 3
"""Part of the cached graph's key; increase it when exporting changes."""


class ExportMismatch(OurFault, RuntimeError):
    """The exported graph and the network give different logits."""


@dataclass(frozen=True)
class VersionParts:
    """The files that all versions of a run have in common."""

    labels: Labels
    preprocessing: Preprocessing
    network: NetworkSpec
    graph: bytes


def export_parts(
    classifier: "ImageClassifier",
    *,
    labels: Labels,
    preprocessing: Preprocessing,
    network: NetworkSpec,
    cache: Path,
) -> VersionParts:
    """Exports the graph, once for a kind of network: 3 s for ResNet-18.

    The graph has no weights. They are external data in weights.safetensors, whose
    header depends on names and shapes alone and is the same after every epoch. So the
    graph is kept in `cache` for later runs; every version made with it is proved.
    """

    def build(folder: Path) -> None:
        graph = export_graph(classifier, preprocessing)
        (folder / GRAPH).write_bytes(graph)
        (folder / CHECKSUM).write_text(str(zlib.crc32(graph)))

    folder = cache / "graphs" / _key(preprocessing, network)
    build_once(folder, build, is_whole=_is_whole)
    graph = (folder / GRAPH).read_bytes()
    return VersionParts(labels, preprocessing, network, graph)


def _key(preprocessing: Preprocessing, network: NetworkSpec) -> str:
    """A hash of everything that the exported graph depends on."""
    facts = {
        "format": FORMAT,
        "network": asdict(network),
        "preprocessing": preprocessing.to_json(),
        **{name: version(name) for name in ("torch", "onnx", "onnxscript")},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _is_whole(folder: Path) -> bool:
    """Whether the checksum is right; most damaged graphs would still load."""
    try:
        checksum = zlib.crc32((folder / GRAPH).read_bytes())
        return (folder / CHECKSUM).read_text("utf-8") == str(checksum)
    except (OSError, UnicodeDecodeError):
        return False


def export_graph(classifier: "ImageClassifier", preprocessing: Preprocessing) -> bytes:
    model = _export(classifier, preprocessing)
    return without_weights(model, state_of(classifier), prefix="network.")


def without_weights(
    model: "onnx.ModelProto", weights: Mapping[str, NDArray[np.generic]], *, prefix: str
) -> bytes:
    """The graph with `weights` as external data; its initialisers' names have a prefix.

    The exporter's notes are removed too.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / WEIGHTS
        save_file(dict(weights), file)
        places = weights_header(file).places
    _strip_notes(model)
    _point_to_weights(model.graph, places, prefix=prefix)
    graph: bytes = model.SerializeToString(deterministic=True)
    return graph


def write_version(
    folder: Path, weights: Mapping[str, NDArray[np.generic]], parts: VersionParts
) -> Bundle:
    return write_bundle(
        folder,
        weights=weights,
        graph=parts.graph,
        labels=parts.labels,
        preprocessing=parts.preprocessing,
        network=parts.network,
    )


def prove_export(
    bundle: Bundle,
    images: NDArray[np.uint8],
    expected: NDArray[np.float32],
    *,
    tolerance: float = RELATIVE_TOLERANCE,
) -> float:
    """Returns the largest difference of ONNX Runtime's logits from the `expected`.

    Raises ExportMismatch as `check_alike` does.
    """
    found = OnnxBackend.for_one_batch_at_a_time(bundle).logits(images)
    return check_alike(found, expected, tolerance=tolerance)


def check_alike(
    found: NDArray[np.float32],
    expected: NDArray[np.float32],
    *,
    tolerance: float = RELATIVE_TOLERANCE,
) -> float:
    """Returns the largest difference of logits [N, K] that a graph gives from its own.

    Raises ExportMismatch if it is above tolerance, or if a top-1 answer differs and was
    not a tie within the tolerance.
    """
    found_alike = likeness(found, expected, tolerance=tolerance)
    if not found_alike.is_alike:
        raise ExportMismatch(
            f"the exported graph differs from the network by "
            f"{found_alike.difference:.3g} in a logit ({found_alike.allowed:.3g} is "
            f"allowed) over {len(found)} images, "
            f"and by {found_alike.lost:.3g} in a first answer; nothing was published. "
            f"Check the versions of torch, onnxscript and onnxruntime in the run's "
            f"parameters"
        )
    return found_alike.difference


def state_of(classifier: "ImageClassifier") -> dict[str, NDArray[np.generic]]:
    """Copies of the network's state dict as arrays, under its own names."""
    return {
        # In C order, which safetensors needs, whatever torch's memory format was.
        name: np.array(tensor.detach().cpu().numpy(), order="C")
        for name, tensor in classifier.network.state_dict().items()
    }


def _export(
    classifier: "ImageClassifier", preprocessing: Preprocessing
) -> "onnx.ModelProto":
    # Slow to import, and the graph is mostly in the cache.
    import torch
    from onnxscript import optimizer

    shape = (2, preprocessing.height, preprocessing.width, 3)
    with _quiet_exporter():
        program = torch.onnx.export(
            copy.deepcopy(classifier).cpu().eval(),
            (torch.zeros(shape, dtype=torch.uint8),),
            dynamo=True,
            # Optimising would fold batch norm into the weights; then the next epoch's
            # weights could not take their place.
            optimize=False,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            verbose=False,
        )
    assert program is not None
    with _values_hidden(program.model):
        # Makes the convolutions' absent biases constants, so that ONNX Runtime fuses
        # convolution and batch norm when it loads; without, it runs 1.9 times slower.
        optimizer.fold_constants(program.model, onnx_shape_inference=True)
        optimizer.remove_unused_nodes(program.model)
    return program.model_proto


@contextlib.contextmanager
def _values_hidden(model: "onnx_ir.Model") -> Iterator[None]:
    """Hides the network's tensors from folding, which would store results of them.

    A stored transpose of a weight, as in attention, could not be replaced by the next
    epoch's. Raises ExportMismatch if a used tensor is lost in the block.
    """
    tensors = {
        name: (value, value.const_value)
        for name, value in model.graph.initializers.items()
        if name.startswith("network.") and value.uses()
    }
    for value, _ in tensors.values():
        value.const_value = None
    yield
    for value, content in tensors.values():
        value.const_value = content
    if lost := sorted(tensors.keys() - model.graph.initializers.keys()):
        raise ExportMismatch(
            f"{len(lost)} of the network's tensors, {lost[0]!r} first, are not in the "
            f"exported graph; this version of torch exports in a way not known here"
        )


def _strip_notes(model: "onnx.ModelProto") -> None:
    """Removes the exporter's stack traces, which have paths of this machine."""
    graph = model.graph
    for notes in (model, graph, *graph.node, *graph.initializer, *graph.value_info):
        del notes.metadata_props[:]
        notes.doc_string = ""
    for value in (*graph.input, *graph.output):
        del value.metadata_props[:]


def _point_to_weights(
    graph: "onnx.GraphProto", places: Mapping[str, TensorPlace], *, prefix: str
) -> None:
    """Replaces the values of the network's tensors by offsets in the weights file."""
    from onnx import TensorProto

    for tensor in graph.initializer:
        place = places.get(tensor.name.removeprefix(prefix))
        if place is None:
            continue
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (
            ("location", WEIGHTS),
            ("offset", str(place.offset)),
            ("length", str(place.length)),
        ):
            tensor.external_data.add(key=key, value=value)


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silences torch.onnx, which warns about its internals and missing op sets."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    log.setLevel(level)
