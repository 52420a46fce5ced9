"""An ONNX classifier made elsewhere: read, checked, and run as its file has it."""

import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto

from classifier.bundle.preprocessing import Preprocessing
from classifier.bundle.sidecar import Layout, Sidecar, labels_of
from classifier.console.exits import WrongUsage
from classifier.hardware import usable_cores
from training.publishing.export import RELATIVE_TOLERANCE

Array = NDArray[Any]

CHANNELS = 3

HALF_TOLERANCE = 5e-3
"""In place of RELATIVE_TOLERANCE for a graph in float16, which has 11 bits."""

_NUMPY_TYPES: Mapping[str, Any] = {
    "tensor(uint8)": np.uint8,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}


class UnfitModel(WrongUsage, ValueError):
    """A model made elsewhere cannot become a version as it is."""


@dataclass(frozen=True)
class ForeignGraph:
    """A graph that ONNX Runtime runs, and what it takes and gives."""

    name: str
    """The file's, for messages."""

    model: onnx.ModelProto
    """With its weights."""

    session: Any
    takes: str
    """The name of its input."""

    dtype: Any
    """numpy's type of the input."""

    layout: Layout
    height: int | None
    """None if any is taken."""

    width: int | None
    batch: int | None
    """Images of a batch, if that is fixed."""

    gives: str

    @property
    def normalises_itself(self) -> bool:
        return self.dtype is np.uint8

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

    def answers(
        self, images: NDArray[np.uint8], preprocessing: Preprocessing
    ) -> NDArray[np.float32]:
        """Answers of the file as it is, [N, K]; numpy normalises. Raises UnfitModel."""
        inputs = self._inputs(images, preprocessing)
        step = self.batch or len(inputs)
        rows = []
        for start in range(0, len(inputs), step):
            part = inputs[start : start + step]
            missing = step - len(part)
            padded = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])
            rows.append(_run(self, padded)[: len(part)])
        answers = np.concatenate(rows)
        if answers.ndim != 2 or len(answers) != len(images):
            raise UnfitModel(
                f"{self.name} gives {list(answers.shape)} for {len(images)} images; a "
                f"classifier gives [N, classes], one row an image"
            )
        return answers

    def _inputs(self, images: NDArray[np.uint8], preprocessing: Preprocessing) -> Array:
        inputs: Array = images
        if not self.normalises_itself:
            mean, std = of_255(preprocessing)
            inputs = ((images.astype(np.float32) - mean) / std).astype(self.dtype)
        if self.layout == "nchw":
            inputs = inputs.transpose(0, 3, 1, 2)  # [N, H, W, 3] -> [N, 3, H, W]
        return np.ascontiguousarray(inputs)


def read_graph(file: Path, *, layout: Layout | None) -> ForeignGraph:
    """The classifier in an .onnx file. Raises UnfitModel with what does not fit."""
    try:
        model = onnx.load(file, load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise UnfitModel(f"{file} is no ONNX file: {error}") from error
    if not model.graph.node:
        raise UnfitModel(f"{file} is no ONNX file: it has no graph")
    _check_external(model, file)
    session = quiet_session(file, name=file.name)
    onnx.load_external_data_for_model(model, str(file.parent))
    takes, gives = _input(session, file.name), _output(session, file.name)
    found = _layout(takes.shape, layout, file.name)
    sides = takes.shape[2:] if found == "nchw" else takes.shape[1:3]
    height, width = (side if isinstance(side, int) else None for side in sides)
    batch = takes.shape[0] if isinstance(takes.shape[0], int) else None
    return ForeignGraph(
        name=file.name,
        model=model,
        session=session,
        takes=takes.name,
        dtype=_NUMPY_TYPES[takes.type],
        layout=found,
        height=height,
        width=width,
        batch=batch,
        gives=gives.name,
    )


def quiet_session(graph: Path, *, name: str) -> Any:
    """Raises UnfitModel if ONNX Runtime cannot load the graph."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.log_severity_level = 4  # its errors are raised as well
    try:
        return onnxruntime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's errors share no class of their own
        raise UnfitModel(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {name}: "
            f"{_reason(error, graph)}; export it with an opset and operators that this "
            f"version has"
        ) from error


def _input(session: Any, name: str) -> Any:
    found = session.get_inputs()
    if len(found) == 1 and found[0].type in _NUMPY_TYPES and len(found[0].shape) == 4:
        return found[0]
    values = ", ".join(f"{v.name!r:.80} {v.type} {v.shape}" for v in found) or "nothing"
    raise UnfitModel(
        f"{name} takes {values:.300}; one input of float or uint8 is needed, "
        f"[N, {CHANNELS}, H, W] or [N, H, W, {CHANNELS}]"
    )


def _output(session: Any, name: str) -> Any:
    """The only output that may hold a number for each class."""
    found = session.get_outputs()
    fits = [
        value
        for value in found
        if value.type in _NUMPY_TYPES
        and value.type != "tensor(uint8)"
        and len(value.shape) in (0, 2, 4)
    ]
    if len(fits) == 1:
        return fits[0]
    values = ", ".join(f"{v.name!r:.80} {v.type} {v.shape}" for v in found)
    raise UnfitModel(
        f"{name} gives {values:.300}; one output of floats [N, classes] is needed; "
        f"keep that one with onnx.utils.extract_model"
    )


def _layout(shape: list[Any], asked: Layout | None, name: str) -> Layout:
    layouts: dict[Layout, Any] = {"nchw": shape[1], "nhwc": shape[3]}
    exact = [layout for layout, size in layouts.items() if size == CHANNELS]
    if asked is None and len(exact) == 1:
        return exact[0]
    open_ = [layout for layout, size in layouts.items() if not isinstance(size, int)]
    if asked is not None and asked in (*exact, *open_):
        return asked
    if asked is None and (exact or open_):
        raise UnfitModel(
            f"{name} takes {shape}, which leaves open where the {CHANNELS} channels "
            f"are; give --layout nchw or --layout nhwc"
        )
    raise UnfitModel(
        f"{name} takes {shape}, which has no {CHANNELS} channels"
        f"{f' in the layout {asked}' if asked else ''}; flipside gives RGB images"
    )


def _check_external(model: onnx.ModelProto, file: Path) -> None:
    """Raises UnfitModel if weights lie outside the file's folder, or are absent."""
    folder = file.parent.resolve()
    for tensor in _tensors(model.graph):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        told = {entry.key: entry.value for entry in tensor.external_data}
        location = told.get("location", "")
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


def _run(foreign: ForeignGraph, inputs: Array) -> NDArray[np.float32]:
    try:
        (found,) = foreign.session.run([foreign.gives], {foreign.takes: inputs})
    except Exception as error:  # ONNX Runtime's errors share no class of their own
        raise UnfitModel(
            f"{foreign.name} fails on {list(inputs.shape)}: {_reason(error)}"
        ) from error
    flat: NDArray[np.float32] = np.asarray(found, np.float32)
    is_flat = flat.ndim > 2 and set(flat.shape[2:]) == {1}
    return flat.reshape(flat.shape[:2]) if is_flat else flat


def _reason(error: Exception, file: Path | None = None) -> str:
    """The first line of ONNX Runtime's message, without folders."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
    return text.replace(f"{file.parent}/", "")[:400] if file else text[:400]


def of_255(preprocessing: Preprocessing) -> tuple[Array, Array]:
    """Mean and std of pixels 0..255, float32 [3]."""
    mean, std = (
        np.array(values, np.float32) * np.float32(255)
        for values in (preprocessing.mean, preprocessing.std)
    )
    return mean, std


def _literal(text: str) -> Any:
    """A value in JSON or in Python's words, else the lines, or the words by commas."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return [part.strip() for part in text.split("\n" if "\n" in text else ",")]
