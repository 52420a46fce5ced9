"""An ONNX classifier made elsewhere: its nodes and weights, read and checked."""

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from classifier.bundle.sidecar import Layout, Sidecar, labels_of
from classifier.console.exits import WrongUsage
from classifier.inference.backends.onnx_file import OnnxGraph, open_graph
from classifier.metrics import RELATIVE_TOLERANCE

HALF_TOLERANCE = 5e-3
"""In place of RELATIVE_TOLERANCE for a graph in float16, which has 11 bits."""


class UnfitModel(WrongUsage, ValueError):
    """A model made elsewhere cannot become a version as it is."""


@dataclass(frozen=True)
class ForeignGraph(OnnxGraph):
    """A graph that ONNX Runtime runs, with its nodes."""

    model: onnx.ModelProto
    """With its weights."""

    @property
    def tolerance(self) -> float:
        half = any(
            t.data_type == TensorProto.FLOAT16 for t in self.model.graph.initializer
        )
        return HALF_TOLERANCE if half else RELATIVE_TOLERANCE

    @property
    def described(self) -> Sidecar:
        """The labels in the file's metadata, such as Ultralytics' `names`."""
        texts = {entry.key: entry.value for entry in self.model.metadata_props}
        for key in ("labels", "names", "classes", "class_names"):
            if key in texts:
                try:
                    return Sidecar(labels=labels_of(_literal(texts[key])))
                except (ValueError, TypeError):
                    continue
        return Sidecar()


def read_graph(file: Path, *, layout: Layout | None) -> ForeignGraph:
    """The classifier in an .onnx file.

    Raises UnfitModel or UnfitOnnxFile with what does not fit.
    """
    try:
        model = onnx.load(file, format="protobuf", load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise UnfitModel(f"{file} is no ONNX file: {error}") from error
    if not model.graph.node:
        raise UnfitModel(f"{file} is no ONNX file: it has no graph")
    _check_external(model, file)
    graph = open_graph(file, layout=layout)
    try:
        onnx.load_external_data_for_model(model, str(file.parent))
    except onnx.checker.ValidationError as error:  # a link beside the file
        raise UnfitModel(
            f"the weights of {file.name} cannot be read: {error}; copy the files "
            f"themselves beside it"
        ) from error
    return ForeignGraph(**vars(graph), model=model)


def _check_external(model: onnx.ModelProto, file: Path) -> None:
    """Raises UnfitModel if weights lie outside the file's folder, or are absent."""
    folder = file.parent.resolve()
    for tensor in _tensors(model.graph):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        external = {entry.key: entry.value for entry in tensor.external_data}
        location = external.get("location", "")
        place = (folder / location).resolve()
        if not place.is_relative_to(folder):
            raise UnfitModel(
                f"{file.name} keeps {tensor.name!r:.80} in {location!r:.200}, outside "
                f"its folder, which is not read; put all its files into one folder"
            )
        if not place.is_file():
            raise UnfitModel(
                f"{file.name} keeps {tensor.name!r:.80} in {location!r:.200}, and "
                f"there is no such file beside it; copy it there"
            )


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of the graph and of those inside it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t
            for inner in inner_graphs(attribute):
                yield from _tensors(inner)


def inner_graphs(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    """The graphs of an attribute, such as the branches of an If."""
    return [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]


def _literal(text: str) -> Any:
    """A value in JSON or in Python's words, else the lines, or the words by commas."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return [part.strip() for part in text.split("\n" if "\n" in text else ",")]
