"""An ONNX classifier made elsewhere, run on the CPU as its file and its sidecar say."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from classifier.bundle.preprocessing import Preprocessing
from classifier.bundle.sidecar import Layout, read_sidecar
from classifier.console.exits import WrongUsage
from classifier.hardware import usable_cores

Array = NDArray[Any]

CHANNELS = 3

LEAST_PROBABILITY = 1e-38
"""In place of 0, which has no logarithm."""

SUM_TOLERANCE = 0.01
"""Largest distance from 1 of a row of probabilities; float16 has three digits."""

_NUMPY_TYPES: Mapping[str, Any] = {
    "tensor(uint8)": np.uint8,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}


class UnfitOnnxFile(WrongUsage, ValueError):
    """The file or its sidecar is not that of a classifier of RGB images."""


@dataclass(frozen=True)
class OnnxGraph:
    """A graph that ONNX Runtime runs; any number of threads may ask it."""

    name: str
    """The file's, for messages."""

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

    def answers(
        self, images: NDArray[np.uint8], preprocessing: Preprocessing
    ) -> NDArray[np.float32]:
        """Answers to uint8 RGB [N, H, W, 3], float32 [N, K]; numpy normalises.

        Raises UnfitOnnxFile if the graph fails, or gives no row for each image.
        """
        inputs = self._inputs(images, preprocessing)
        step = self.batch or len(inputs)
        starts = range(0, len(inputs), step)
        answers = np.concatenate([self._run(inputs[s : s + step]) for s in starts])
        if answers.ndim != 2 or len(answers) != len(images):
            raise UnfitOnnxFile(
                f"{self.name} gives {list(answers.shape)} for {len(images)} images; a "
                f"classifier gives [N, classes], one row an image"
            )
        return answers

    def _inputs(self, images: NDArray[np.uint8], preprocessing: Preprocessing) -> Array:
        """Normalised, unless the graph takes bytes."""
        inputs: Array = images
        if not self.normalises_itself:
            mean, std = of_255(preprocessing)
            inputs = ((images.astype(np.float32) - mean) / std).astype(self.dtype)
        if self.layout == "nchw":
            inputs = inputs.transpose(0, 3, 1, 2)  # [N, H, W, 3] -> [N, 3, H, W]
        return np.ascontiguousarray(inputs)

    def _run(self, inputs: Array) -> NDArray[np.float32]:
        """The answers to at most a batch, which is filled up if its size is fixed."""
        count = len(inputs)
        missing = 0 if self.batch is None else self.batch - count
        padded = np.concatenate([inputs, np.repeat(inputs[-1:], missing, axis=0)])
        try:
            (found,) = self.session.run([self.gives], {self.takes: padded})
        except Exception as error:  # ONNX Runtime's errors share no class of their own
            raise UnfitOnnxFile(
                f"{self.name} fails on {list(padded.shape)}: {_reason(error)}; correct "
                f"its layout and size"
            ) from error
        answers: NDArray[np.float32] = np.asarray(found, np.float32)[:count]
        is_flat = answers.ndim > 2 and set(answers.shape[2:]) == {1}
        return answers.reshape(answers.shape[:2]) if is_flat else answers


def open_graph(file: Path, *, layout: Layout | None) -> OnnxGraph:
    """The classifier in an .onnx file. Raises UnfitOnnxFile with what does not fit."""
    session = open_session(file, name=file.name)
    takes, gives = _input(session, file.name), _output(session, file.name)
    found = _layout(takes.shape, layout, file.name)
    sides = takes.shape[2:] if found == "nchw" else takes.shape[1:3]
    height, width = (side if isinstance(side, int) else None for side in sides)
    return OnnxGraph(
        name=file.name,
        session=session,
        takes=takes.name,
        dtype=_NUMPY_TYPES[takes.type],
        layout=found,
        height=height,
        width=width,
        batch=takes.shape[0] if isinstance(takes.shape[0], int) else None,
        gives=gives.name,
    )


class OnnxFile:
    """x.onnx with its sidecar x.json; any number of threads may ask it."""

    def __init__(self, file: Path) -> None:
        """Raises UnfitOnnxFile or BadSidecar with what does not fit."""
        if not file.is_file():
            raise UnfitOnnxFile(f"there is no file {file}")
        sidecar = read_sidecar(file)
        if sidecar.labels is None or sidecar.preprocessing is None:
            lacks = "labels" if sidecar.labels is None else "preprocessing"
            raise UnfitOnnxFile(
                f"{file} has no {lacks}; write them into {file.with_suffix('.json')}: "
                '{"labels": […], "preprocessing": {…}, "layout": "nchw", '
                '"output": "logits"}'
            )
        self.name = file.name
        self.labels = sidecar.labels
        self.preprocessing = sidecar.preprocessing
        self._gives_probabilities = sidecar.output == "probabilities"
        self._graph = open_graph(file, layout=sidecar.layout)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 RGB [N, H, W, 3] -> [N, K]; logarithms of a file's probabilities.

        Raises UnfitOnnxFile if the answer is not what the sidecar says.
        """
        answers = self._graph.answers(images, self.preprocessing)
        if answers.shape[1] != len(self.labels):
            raise UnfitOnnxFile(
                f"{self.name} gives {list(answers.shape)} for {len(images)} images; "
                f"its sidecar has {len(self.labels)} labels; they must be as many"
            )
        if not self._gives_probabilities:
            return answers
        sums = answers.sum(axis=1)
        if (answers < 0).any() or (np.abs(sums - 1) > SUM_TOLERANCE).any():
            raise UnfitOnnxFile(
                f"{self.name} gives rows that are no probabilities: one adds to "
                f'{sums[np.abs(sums - 1).argmax()]:.4g}; write "output": "logits" into '
                "its sidecar"
            )
        logarithms: NDArray[np.float32] = np.log(np.maximum(answers, LEAST_PROBABILITY))
        return logarithms


def open_session(file: Path, *, name: str) -> Any:
    """Raises UnfitOnnxFile if ONNX Runtime cannot load the graph."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.log_severity_level = 4  # its errors are raised as well
    try:
        return onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's errors share no class of their own
        raise UnfitOnnxFile(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {name}: "
            f"{_reason(error, file)}; export it with an opset and operators that this "
            f"version has"
        ) from error


def of_255(preprocessing: Preprocessing) -> tuple[Array, Array]:
    """Mean and std of pixels 0..255, float32 [3]."""
    mean, std = (
        np.array(values, np.float32) * np.float32(255)
        for values in (preprocessing.mean, preprocessing.std)
    )
    return mean, std


def _input(session: Any, name: str) -> Any:
    found = session.get_inputs()
    if len(found) == 1 and found[0].type in _NUMPY_TYPES and len(found[0].shape) == 4:
        return found[0]
    values = ", ".join(f"{v.name!r:.80} {v.type} {v.shape}" for v in found) or "nothing"
    raise UnfitOnnxFile(
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
    raise UnfitOnnxFile(
        f"{name} gives {values:.300}; one output of floats [N, classes] is needed; "
        f"keep that one with onnx.utils.extract_model"
    )


def _layout(shape: list[Any], given: Layout | None, name: str) -> Layout:
    """The given layout if the shape allows it, else the one with three channels."""
    layouts: dict[Layout, Any] = {"nchw": shape[1], "nhwc": shape[3]}
    exact = [layout for layout, size in layouts.items() if size == CHANNELS]
    if given is None and len(exact) == 1:
        return exact[0]
    open_ = [layout for layout, size in layouts.items() if not isinstance(size, int)]
    if given is not None and given in (*exact, *open_):
        return given
    if given is None and (exact or open_):
        raise UnfitOnnxFile(
            f"{name} takes {shape}, which leaves open where the {CHANNELS} channels "
            f"are; give the layout, nchw or nhwc, in its sidecar, or to --import with "
            f"--layout"
        )
    raise UnfitOnnxFile(
        f"{name} takes {shape}, which has no {CHANNELS} channels"
        f"{f' in the layout {given}' if given else ''}; flipside gives RGB images"
    )


def _reason(error: Exception, file: Path | None = None) -> str:
    """The first line of ONNX Runtime's message, without folders."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
    return text.replace(f"{file.parent}/", "")[:400] if file else text[:400]
