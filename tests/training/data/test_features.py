"""Features: inputs of the head."""

import numpy as np
import pytest
import torch

from classifier.bundle.preprocessing import Preprocessing
from classifier.networks.build import build_network, new_spec
from classifier.networks.image_classifier import ImageClassifier
from training.data.decoded_images import DecodedPart
from training.data.features import TrainingInputs, head_inputs

RNG = np.random.default_rng(0)


def classifier_of(name: str) -> ImageClassifier:
    torch.manual_seed(0)
    spec = new_spec(name, classes=3, stem="imagenet")
    return ImageClassifier(build_network(spec, size=32), Preprocessing(32, 32))


def part(count: int) -> DecodedPart:
    return DecodedPart(
        names=tuple(map(str, range(count))),
        images=RNG.integers(0, 256, (count, 32, 32, 3), np.uint8),
        targets=np.arange(count) % 3,
        digest="",
    )


def test_the_head_of_the_features_gives_the_networks_logits() -> None:
    classifier = classifier_of("mobilenet_v3_small")
    images = TrainingInputs(train=part(70), train_sample=part(6), val=part(9))

    features = head_inputs(classifier, images)

    assert features is not None
    assert features.head == "classifier.3"
    assert features.train.names == images.train.names
    head = classifier.network.get_submodule(features.head)
    with torch.inference_mode():
        logits = head(torch.from_numpy(features.val.images))
        expected = classifier.eval()(torch.from_numpy(images.val.images))
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("name", ["squeezenet1_1", "googlenet"])
def test_a_network_without_a_plain_head_has_no_features(name: str) -> None:
    images = TrainingInputs(train=part(4), train_sample=part(4), val=part(4))

    assert head_inputs(classifier_of(name), images) is None
