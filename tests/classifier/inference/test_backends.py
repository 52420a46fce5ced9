"""The backends: they agree, and say where and in which precision they run."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from classifier.bundle.files import GRAPH, BrokenBundle
from classifier.hardware import (
    BackendKind,
    DeviceUnavailable,
    Form,
    PrecisionKind,
    has_bf16,
    has_gpu,
)
from classifier.inference.backends import open as engines
from classifier.inference.backends.base import Backend
from classifier.inference.backends.open import (
    check_form,
    open_backend,
    plugin_version,
)
from classifier.inference.predict import FailedCheck
from classifier.networks.image_classifier import ImageClassifier
from serving.inference.predictor import Predictor
from tests.conftest import Store
from tests.serving.graphs import graph
from training.evaluation.evaluate import evaluate

needs_openvino = pytest.mark.skipif(
    plugin_version() is None, reason="the extra openvino is not installed"
)
needs_bf16 = pytest.mark.skipif(not has_bf16(), reason="no bf16 in this processor")

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)


@pytest.mark.parametrize(
    "kind", ["onnx", pytest.param("openvino", marks=needs_openvino), "torch"]
)
def test_a_backend_gives_the_networks_logits(store: Store, kind: BackendKind) -> None:
    bundle = store.bundle("v2")

    backend = open_backend(kind, bundle, device="cpu", threads=2)

    classifier = ImageClassifier.from_bundle(bundle)
    expected = evaluate(classifier, IMAGES, np.zeros(5, np.int64)).logits
    assert (backend.name, backend.device) == (kind, "cpu")
    assert backend.precision == "fp32"
    np.testing.assert_allclose(backend.logits(IMAGES), expected, atol=1e-4)  # fp32


def test_several_batches_at_once_are_answered_to_the_bit(store: Store) -> None:
    backend = open_backend("onnx", store.bundle("v2"), device="cpu", threads=2)

    assert backend.logits_on_one_core is not None
    np.testing.assert_array_equal(
        backend.logits_on_one_core(IMAGES), backend.logits(IMAGES)
    )


def test_without_room_for_temporary_files_one_session_does(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = store.bundle("v2")
    expected = open_backend("onnx", bundle, device="cpu", threads=2).logits(IMAGES)
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")

    backend = open_backend("onnx", bundle, device="cpu", threads=2)

    assert backend.logits_on_one_core is None
    np.testing.assert_array_equal(backend.logits(IMAGES), expected)
    assert "No such file or directory" in caplog.text


@pytest.mark.skipif(has_gpu(), reason="there is a GPU here")
@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_cuda_is_never_silently_the_cpu(store: Store, kind: BackendKind) -> None:
    with pytest.raises(DeviceUnavailable, match="--device cuda was asked for"):
        open_backend(kind, store.bundle("v1"), device="cuda", threads=1)
    assert (
        open_backend(kind, store.bundle("v1"), device="auto", threads=1).device == "cpu"
    )


def test_a_version_whose_answers_are_no_numbers_fails_its_check(store: Store) -> None:
    class NotANumber:
        name: BackendKind = "onnx"
        precision: PrecisionKind = "fp32"
        device = "cpu"
        logits_on_one_core = None

        def logits(self, images: np.ndarray) -> np.ndarray:
            return np.full((len(images), 10), np.nan, np.float32)

        def batch_sizes(self, largest: int) -> list[int]:
            return [1]

    backend: Backend = NotANumber()
    version = store.registry.resolve(store.model, "v1")

    with pytest.raises(FailedCheck, match="not finite"):
        Predictor(version, store.bundle("v1"), backend)


@needs_openvino
@pytest.mark.parametrize(
    ("version", "precision"),
    [
        ("v2", "fp32"),
        pytest.param("v2", "bf16", marks=needs_bf16),
        ("v2.int8", "int8"),
    ],
)
def test_openvino_gives_an_image_the_same_logits_in_every_batch(
    quantised_store: Store, version: str, precision: PrecisionKind
) -> None:
    bundle = quantised_store.bundle(version)
    backend = open_backend(
        "openvino", bundle, device="auto", precision=precision, threads=2
    )
    images = np.random.default_rng(0).integers(0, 256, (33, 16, 16, 3), np.uint8)

    alone = np.concatenate([backend.logits(image[None]) for image in images])

    assert backend.precision == precision
    for count in range(1, 34):
        np.testing.assert_array_equal(backend.logits(images[:count]), alone[:count])


@needs_openvino
@needs_bf16
def test_openvino_computes_in_the_precision_that_was_asked_for(store: Store) -> None:
    bundle = store.bundle("v2")
    fp32, bf16 = (
        open_backend(
            "openvino", bundle, device="cpu", precision=precision, threads=1
        ).logits(IMAGES)
        for precision in ("fp32", "bf16")
    )
    expected = open_backend("onnx", bundle, device="cpu", threads=1).logits(IMAGES)

    np.testing.assert_allclose(fp32, expected, atol=1e-5)
    assert np.abs(bf16 - expected).max() > 1e-4  # 8 bits of mantissa


@needs_openvino
def test_openvino_refuses_a_graph_of_which_it_runs_only_a_part(
    store: Store, tmp_path: Path
) -> None:
    bundle = store.copy(tmp_path / "store").bundle("v1")
    nodes = [
        helper.make_node("Optional", ["plain"], ["perhaps"]),
        helper.make_node("OptionalGetElement", ["perhaps"], ["odd"]),
    ]
    bundle.graph.write_bytes(graph(nodes, last="odd"))

    with pytest.raises(BrokenBundle, match=f"cannot run all of {GRAPH}.*onnx"):
        open_backend("openvino", bundle, device="cpu", threads=1)


def test_what_this_machine_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "plugin_version", lambda: None)
    with pytest.raises(DeviceUnavailable, match=r"install flipside\[openvino\]"):
        check_form(Form("openvino"))

    monkeypatch.setattr(engines, "plugin_version", lambda: "1.8.1")
    monkeypatch.setattr(engines, "has_bf16", lambda: False)
    check_form(Form("openvino", "int8"))
    with pytest.raises(DeviceUnavailable, match="neither AVX-512 BF16 nor AMX"):
        check_form(Form("openvino", "bf16"))
