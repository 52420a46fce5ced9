"""A network with the normalisation before it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision

from classifier.bundle.files import BrokenBundle
from classifier.bundle.network import NetworkSpec
from classifier.bundle.preprocessing import Preprocessing
from classifier.networks.image_classifier import ImageClassifier
from tests.conftest import Store


def test_images_are_normalised_as_torchvision_does_it() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    preprocessing = Preprocessing(8, 8)
    classifier = ImageClassifier(torch.nn.Identity(), preprocessing)

    inputs = classifier(torch.from_numpy(images))

    normalise = torchvision.transforms.Normalize(preprocessing.mean, preprocessing.std)
    expected = normalise(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)
    torch.testing.assert_close(inputs, expected, atol=1e-5, rtol=0)  # other fp32 order


def test_weights_of_another_network_are_a_broken_bundle(store: Store) -> None:
    bundle = replace(store.bundle("v1"), network=NetworkSpec("tiny", "imagenet", 11))

    with pytest.raises(BrokenBundle, match=r"weights\.safetensors does not fit"):
        ImageClassifier.from_bundle(bundle)
