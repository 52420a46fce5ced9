"""Metrics of logits, and evaluation in batches."""

import math

import numpy as np
import pytest
import torch

from classifier.bundle.network import NetworkSpec
from classifier.bundle.preprocessing import Preprocessing
from classifier.networks.build import build_network
from classifier.networks.image_classifier import ImageClassifier
from training.evaluation.evaluate import evaluate, measure


def test_metrics_agree_with_torch_and_scikit_learn() -> None:
    from sklearn.metrics import top_k_accuracy_score

    rng = np.random.default_rng(0)
    logits = rng.normal(size=(500, 20)).astype(np.float32) * 3
    targets = rng.integers(0, 20, 500)

    metrics = measure(logits, targets)

    loss = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits).double(), torch.from_numpy(targets)
    )
    assert metrics.loss == pytest.approx(loss.item())
    for k, accuracy in ((1, metrics.top1_accuracy), (5, metrics.top5_accuracy)):
        assert accuracy == top_k_accuracy_score(targets, logits, k=k)


def test_with_fewer_than_five_classes_the_top_five_are_all() -> None:
    metrics = measure(np.zeros((4, 3), np.float32), np.array([0, 1, 2, 0]))

    assert metrics.top1_accuracy == 0.5  # equals by smaller index: class 0
    assert metrics.top5_accuracy == 1.0
    assert metrics.loss == pytest.approx(math.log(3))


def test_a_certain_and_wrong_answer_has_a_finite_loss() -> None:
    logits = np.array([[5000.0, 0.0]], np.float32)

    assert math.isfinite(measure(logits, np.array([1])).loss)


def test_batches_make_no_difference_and_the_mode_comes_back() -> None:
    torch.manual_seed(0)
    network = build_network(NetworkSpec("resnet18", "imagenet", 3), size=64)
    classifier = ImageClassifier(network, Preprocessing(32, 32)).train()
    images = np.random.default_rng(0).integers(0, 256, (300, 32, 32, 3), np.uint8)

    predictions = evaluate(classifier, images, np.zeros(300, np.int64))

    assert classifier.training
    assert all(m.training for m in classifier.modules())
    tail = evaluate(classifier, images[290:], np.zeros(10, np.int64))
    # another batch size sums in another order
    np.testing.assert_allclose(predictions.logits[290:], tail.logits, atol=1e-5)
