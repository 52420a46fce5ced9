"""Versions as files: the same graph each epoch, and proved against the network."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load_file

from classifier.bundle.files import Bundle, read_bundle
from classifier.bundle.labels import Labels
from classifier.bundle.network import NetworkSpec
from classifier.bundle.preprocessing import Preprocessing
from classifier.networks.build import build_network
from classifier.networks.image_classifier import ImageClassifier
from training.evaluation.evaluate import evaluate
from training.publishing.export import (
    ExportMismatch,
    VersionParts,
    export_parts,
    prove_export,
    state_of,
    write_version,
)

PREPROCESSING = Preprocessing(32, 32)
LABELS = Labels.from_ids(["a", "b", "c"])
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), np.uint8)


def _classifier(seed: int) -> ImageClassifier:
    torch.manual_seed(seed)
    network = build_network(NetworkSpec("resnet18", "imagenet", 3), size=64)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            torch.nn.init.uniform_(module.running_mean, -1, 1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return ImageClassifier(network, PREPROCESSING)


def _parts(classifier: ImageClassifier, cache: Path) -> VersionParts:
    return export_parts(
        classifier,
        labels=LABELS,
        preprocessing=PREPROCESSING,
        network=NetworkSpec("resnet18", "imagenet", 3),
        cache=cache,
    )


@pytest.fixture(scope="module")
def parts(cache: Path) -> VersionParts:
    return _parts(_classifier(0), cache)


def _bundle(folder: Path, classifier: ImageClassifier, parts: VersionParts) -> Bundle:
    folder.mkdir()
    return write_version(folder, state_of(classifier), parts)


def test_the_graph_exported_once_answers_for_the_weights_of_every_epoch(
    parts: VersionParts, tmp_path: Path
) -> None:
    for seed in (1, 2):
        classifier = _classifier(seed)
        logits = evaluate(classifier, IMAGES, np.zeros(7, np.int64)).logits

        bundle = _bundle(tmp_path / str(seed), classifier, parts)

        difference = prove_export(bundle, IMAGES, logits)
        assert difference < 1e-4 * max(1, np.abs(logits).max())


def test_graph_and_weights_header_are_the_same_for_every_epoch(
    parts: VersionParts, tmp_path: Path
) -> None:
    one, two = (
        _bundle(tmp_path / str(seed), _classifier(seed), parts) for seed in (1, 2)
    )

    assert one.graph.read_bytes() == two.graph.read_bytes()
    assert _header(one.weights) == _header(two.weights)
    assert one.weights.read_bytes() != two.weights.read_bytes()


def test_weights_are_the_state_dict_and_nothing_else(
    parts: VersionParts, tmp_path: Path
) -> None:
    classifier = _classifier(1).to(memory_format=torch.channels_last)

    bundle = _bundle(tmp_path / "v", classifier, parts)

    state = classifier.network.state_dict()
    tensors = load_file(bundle.weights)
    assert set(tensors) == set(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(tensors[name], tensor.numpy())
        if tensor.is_floating_point():
            assert tensors[name].dtype == np.float32


def test_the_graph_holds_no_weights_and_no_paths(parts: VersionParts) -> None:
    model = onnx.load_from_string(parts.graph)

    assert len(parts.graph) < 100_000  # ResNet-18's weights are 45 MB
    external = [t for t in model.graph.initializer if t.external_data]
    assert len(external) == 102
    for trace in (b"site-packages", b"/home", b"/root", b".py", b"stack_trace"):
        assert trace not in parts.graph
    assert [i.name for i in model.graph.input] == ["images"]
    assert [o.name for o in model.graph.output] == ["logits"]


def test_onnx_runtime_fuses_batch_norm_when_it_loads(
    parts: VersionParts, tmp_path: Path
) -> None:
    import onnxruntime

    bundle = _bundle(tmp_path / "v", _classifier(1), parts)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.graph_optimization_level = level
    onnxruntime.InferenceSession(str(bundle.graph), options)

    optimised = onnx.load(tmp_path / "optimised.onnx", load_external_data=False)
    assert "BatchNormalization" not in {node.op_type for node in optimised.graph.node}


def test_files_that_answer_otherwise_are_refused(
    parts: VersionParts, tmp_path: Path
) -> None:
    bundle = _bundle(tmp_path / "v", _classifier(1), parts)
    logits = evaluate(_classifier(2), IMAGES, np.zeros(7, np.int64)).logits

    with pytest.raises(ExportMismatch, match="differs from the network"):
        prove_export(bundle, IMAGES, logits)
    with pytest.raises(ExportMismatch):
        prove_export(bundle, IMAGES, np.full_like(logits, np.nan))


def test_what_is_written_can_be_read(parts: VersionParts, tmp_path: Path) -> None:
    written = _bundle(tmp_path / "v", _classifier(1), parts)

    assert read_bundle(tmp_path / "v") == written


def _header(weights: Path) -> bytes:
    data = weights.read_bytes()
    return data[: 8 + int.from_bytes(data[:8], "little")]


def test_a_kept_graph_is_the_exported_one_and_a_damaged_one_is_exported_again(
    parts: VersionParts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = _parts(_classifier(3), tmp_path)
    (kept,) = (tmp_path / "graphs").glob("*/model.onnx")
    kept.write_bytes(kept.read_bytes()[:1000])

    again = _parts(_classifier(4), tmp_path)

    assert parts.graph == first.graph == again.graph == kept.read_bytes()
    assert "damaged" in caplog.text
