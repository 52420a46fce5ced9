"""ONNX files made elsewhere: layouts, batches and outputs, against numpy."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy.special import softmax

from classifier.bundle.preprocessing import Preprocessing
from classifier.inference.backends.onnx_file import OnnxFile, UnfitOnnxFile

SIZE, CLASSES = 4, 3
PREPROCESSING = Preprocessing(SIZE, SIZE, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
IMAGES = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)
WEIGHTS = np.random.default_rng(1).normal(size=(3, CLASSES)).astype(np.float32)


def write_network(
    file: Path,
    *,
    layout: str = "nchw",
    output: str | None = "logits",
    batch: int | str = "N",
    kind: int = TensorProto.FLOAT,
    **sidecar: Any,
) -> None:
    """The mean of each channel times WEIGHTS; a sidecar's None is left out."""
    shape = [batch, 3, SIZE, SIZE] if layout == "nchw" else [batch, SIZE, SIZE, 3]
    axes = [2, 3] if layout == "nchw" else [1, 2]
    nodes = [
        helper.make_node("Cast", ["x"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=axes, keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    gives = output or "logits"
    graph = helper.make_graph(
        nodes,
        "elsewhere",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(gives, TensorProto.FLOAT, [batch, CLASSES])],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), file)
    written = {
        "labels": ["cat", "dog", "eel"],
        "preprocessing": PREPROCESSING.to_json(),
        "layout": layout,
        "output": output,
        **sidecar,
    }
    written = {name: value for name, value in written.items() if value is not None}
    file.with_suffix(".json").write_text(json.dumps(written))


def _expected(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    inputs = (images / 255 - PREPROCESSING.mean) / PREPROCESSING.std
    logits: NDArray[np.float64] = inputs.mean(axis=(1, 2)) @ WEIGHTS
    return logits


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("output", ["logits", "probabilities", None])
@pytest.mark.parametrize("batch", ["N", 1, 2, 8])
def test_any_layout_batch_and_output_gives_the_networks_answers(
    layout: str, output: str | None, batch: int | str, tmp_path: Path
) -> None:
    file = tmp_path / "x.onnx"
    write_network(file, layout=layout, output=output, batch=batch)

    network = OnnxFile(file)
    logits = network.logits(IMAGES)

    assert network.labels.ids == ("cat", "dog", "eel")
    # float32 adds in another order
    np.testing.assert_allclose(
        softmax(logits, axis=1), softmax(_expected(IMAGES), axis=1), atol=1e-5
    )


def test_the_shape_says_the_layout_if_the_sidecar_does_not(tmp_path: Path) -> None:
    file = tmp_path / "x.onnx"
    write_network(file, layout="nhwc")
    sidecar = json.loads(file.with_suffix(".json").read_text())
    del sidecar["layout"]
    file.with_suffix(".json").write_text(json.dumps(sidecar))

    logits = OnnxFile(file).logits(IMAGES)

    np.testing.assert_allclose(logits, _expected(IMAGES), atol=1e-5)


def test_of_several_outputs_the_one_with_a_number_for_each_class_counts(
    tmp_path: Path,
) -> None:
    file = tmp_path / "x.onnx"
    write_network(file)
    model = onnx.load(file)
    model.graph.node.append(helper.make_node("ArgMax", ["logits"], ["first"], axis=1))
    first = helper.make_tensor_value_info("first", TensorProto.INT64, ["N", 1])
    outputs = [first, *model.graph.output]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    onnx.save(model, file)

    logits = OnnxFile(file).logits(IMAGES)

    np.testing.assert_allclose(logits, _expected(IMAGES), atol=1e-5)


def test_a_network_of_bytes_normalises_itself(tmp_path: Path) -> None:
    write_network(tmp_path / "x.onnx", kind=TensorProto.UINT8)

    logits = OnnxFile(tmp_path / "x.onnx").logits(IMAGES)

    expected = IMAGES.mean(axis=(1, 2)) @ WEIGHTS
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("sidecar", "fault"),
    [
        ({"labels": None}, "has no labels; write them into"),
        ({"preprocessing": None}, "has no preprocessing; write"),
        ({"layout": "nhwc"}, "has no 3 channels in the layout nhwc"),
        ({"labels": ["cat", "dog"]}, r"gives \[5, 3\] .* its sidecar has 2 labels"),
        ({"preprocessing": Preprocessing(8, 8).to_json()}, "fails on"),
    ],
)
def test_a_sidecar_that_does_not_fit_is_refused_with_its_fault(
    sidecar: dict[str, Any], fault: str, tmp_path: Path
) -> None:
    write_network(tmp_path / "x.onnx")
    written = json.loads((tmp_path / "x.json").read_text()) | sidecar
    written = {name: value for name, value in written.items() if value is not None}
    (tmp_path / "x.json").write_text(json.dumps(written))
    size = (sidecar.get("preprocessing") or {}).get("height", SIZE)
    images = np.resize(IMAGES, (5, size, size, 3))

    with pytest.raises(UnfitOnnxFile, match=fault):
        OnnxFile(tmp_path / "x.onnx").logits(images)


def test_logits_that_are_called_probabilities_are_refused(tmp_path: Path) -> None:
    write_network(tmp_path / "x.onnx")
    text = (tmp_path / "x.json").read_text()
    (tmp_path / "x.json").write_text(text.replace('"logits"', '"probabilities"'))

    with pytest.raises(UnfitOnnxFile, match="no probabilities"):
        OnnxFile(tmp_path / "x.onnx").logits(IMAGES)


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnfitOnnxFile, match="there is no file"):
        OnnxFile(tmp_path / "x.onnx")
    write_network(tmp_path / "x.onnx")
    (tmp_path / "x.onnx").write_bytes(b"no graph")
    with pytest.raises(UnfitOnnxFile, match="cannot load"):
        OnnxFile(tmp_path / "x.onnx")
