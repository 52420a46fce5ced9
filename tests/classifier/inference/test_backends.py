"""The two backends: they agree, and say where they run."""

import numpy as np
import pytest

from classifier.hardware import BackendKind, DeviceUnavailable, has_gpu
from classifier.inference.backends.base import Backend
from classifier.inference.backends.open import open_backend
from classifier.inference.predict import FailedCheck
from classifier.networks.image_classifier import ImageClassifier
from serving.inference.predictor import Predictor
from tests.conftest import Store
from training.evaluation.evaluate import evaluate

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_a_backend_gives_the_networks_logits(store: Store, kind: BackendKind) -> None:
    bundle = store.bundle("v2")

    backend = open_backend(kind, bundle, device="cpu", threads=2)

    classifier = ImageClassifier.from_bundle(bundle)
    expected = evaluate(classifier, IMAGES, np.zeros(5, np.int64)).logits
    assert (backend.name, backend.device) == (kind, "cpu")
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
