"""An ONNX classifier made elsewhere, run on the CPU as its file and its sidecar say."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from classifier.bundle.sidecar import Layout, read_sidecar
from classifier.console.exits import WrongUsage
from classifier.hardware import usable_cores

CHANNELS = 3

LEAST_PROBABILITY = 1e-38
"""In place of 0, which has no logarithm."""

SUM_TOLERANCE = 0.01
"""Largest distance from 1 of a row of probabilities; float16 has three digits."""

_NUMPY_TYPES = {
    "tensor(uint8)": np.uint8,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}


class UnfitOnnxFile(WrongUsage, ValueError):
    """The file or its sidecar is not that of a classifier of RGB images."""


class OnnxFile:
    """x.onnx with x.json; any number of threads may ask it."""

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
        self._session = _open(file)
        self._input = _only_input(self._session, file.name)
        self._layout = _layout(self._input.shape, sidecar.layout, file.name)
        batch = self._input.shape[0]
        self._batch = batch if isinstance(batch, int) else None

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 RGB [N, H, W, 3] -> [N, K]; logarithms of a file's probabilities.

        Raises UnfitOnnxFile if the answer is not what the sidecar says.
        """
        inputs = self._inputs(images)
        step = self._batch or len(inputs)
        starts = range(0, len(inputs), step)
        answers = np.concatenate([self._run(inputs[s : s + step]) for s in starts])
        if answers.shape != (len(images), len(self.labels)):
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

    def _inputs(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """Normalised, unless the network takes bytes."""
        inputs: NDArray[Any] = images
        dtype = _NUMPY_TYPES[self._input.type]
        if dtype is not np.uint8:
            mean, std = (
                np.array(values, np.float32) * np.float32(255)
                for values in (self.preprocessing.mean, self.preprocessing.std)
            )
            inputs = ((images.astype(np.float32) - mean) / std).astype(dtype)
        if self._layout == "nchw":
            inputs = inputs.transpose(0, 3, 1, 2)  # [N, H, W, 3] -> [N, 3, H, W]
        return np.ascontiguousarray(inputs)

    def _run(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """The answers to at most a batch, which is filled up if its size is fixed."""
        count = len(inputs)
        missing = 0 if self._batch is None else self._batch - count
        padded = np.concatenate([inputs, np.repeat(inputs[-1:], missing, axis=0)])
        try:
            found, *_ = self._session.run(None, {self._input.name: padded})
        except Exception as error:  # ONNX Runtime's errors share no class of their own
            reason = str(error).splitlines()[0]
            raise UnfitOnnxFile(
                f"{self.name} fails on {list(padded.shape)}: {reason:.300}; correct "
                "layout and preprocessing in its sidecar"
            ) from error
        answers: NDArray[np.float32] = np.asarray(found, np.float32)[:count]
        is_flat = answers.ndim > 2 and set(answers.shape[2:]) == {1}
        return answers.reshape(answers.shape[:2]) if is_flat else answers


def _open(file: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.log_severity_level = 4  # its errors are raised as well
    try:
        return onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's errors share no class of their own
        reason = str(error).splitlines()[0]
        raise UnfitOnnxFile(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {file}: {reason:.300}"
        ) from error


def _only_input(session: Any, name: str) -> Any:
    found = session.get_inputs()
    if len(found) == 1 and found[0].type in _NUMPY_TYPES and len(found[0].shape) == 4:
        return found[0]
    values = ", ".join(f"{v.name!r:.80} {v.type} {v.shape}" for v in found) or "nothing"
    raise UnfitOnnxFile(
        f"{name} takes {values:.300}; one input of float or uint8 is needed, "
        f"[N, {CHANNELS}, H, W] or [N, H, W, {CHANNELS}]"
    )


def _layout(shape: list[Any], asked: Layout | None, name: str) -> Layout:
    """The layout that the sidecar says, or the only one that the shape allows."""
    sizes: dict[Layout, Any] = {"nchw": shape[1], "nhwc": shape[3]}
    fits = [
        layout
        for layout, size in sizes.items()
        if size == CHANNELS or not isinstance(size, int)
    ]
    if asked in fits:
        return asked
    if asked is None and len(fits) == 1:
        return fits[0]
    layouts = "nchw or nhwc" if asked is None else asked
    raise UnfitOnnxFile(
        f"{name} takes {shape}, which does not say where its {CHANNELS} channels are, "
        f"or has none ({layouts}); correct the layout in its sidecar"
    )
