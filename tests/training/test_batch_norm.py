"""Batch norm's statistics are those of the training images, where few steps were."""

import copy

import numpy as np
import pytest
import torch

from classifier.network import ImageClassifier, build_network
from classifier.preprocessing import Preprocessing
from tests.conftest import picture
from training.batch_norm import is_unsettled, take_statistics

IMAGES = np.stack([np.asarray(picture(16, 16, seed)) for seed in range(30)])


def _classifier(arch: str = "resnet18") -> ImageClassifier:
    torch.manual_seed(0)
    network = build_network(arch, classes=3, stem="imagenet")
    return ImageClassifier(network, Preprocessing(16, 16)).eval()


def test_statistics_are_the_mean_and_spread_of_all_images() -> None:
    classifier = _classifier()
    inputs = classifier.normalise(torch.from_numpy(IMAGES))
    before = classifier.network.get_submodule("conv1")(inputs).detach()

    take_statistics(classifier, IMAGES)

    norm = classifier.network.get_submodule("bn1")
    torch.testing.assert_close(norm.running_mean, before.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(norm.running_var, before.var(dim=(0, 2, 3)))
    assert norm.momentum == 0.1
    assert not classifier.network.training


def test_the_same_weights_and_images_give_the_same_statistics() -> None:
    once, again = _classifier(), _classifier()

    take_statistics(once, IMAGES)
    for _ in range(2):  # whatever was there before
        take_statistics(again, IMAGES)

    found = again.network.state_dict()
    for name, tensor in once.network.state_dict().items():
        assert torch.equal(tensor, found[name]), name


def test_a_network_without_batch_norm_stays_as_it_is() -> None:
    classifier = _classifier("tiny")
    before = copy.deepcopy(classifier.network.state_dict())

    take_statistics(classifier, IMAGES)

    for name, tensor in classifier.network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize(
    ("images", "steps", "expected"),
    [
        (200, 20, True),
        (200, 1, True),
        (100_000, 391, False),
        (100_000, 10, True),  # --batch-size 10000
        (4_866, 20, False),  # as many as auto takes whole batches of
    ],
)
def test_they_are_taken_where_an_epoch_leaves_them_unsettled(
    images: int, steps: int, expected: bool
) -> None:
    assert is_unsettled(images=images, steps=steps) == expected
