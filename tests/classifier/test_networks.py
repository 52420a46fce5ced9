"""Networks by name, and the normalisation before them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision

from classifier.bundle.files import BrokenBundle, NetworkSpec
from classifier.bundle.preprocessing import Preprocessing
from classifier.networks import ImageClassifier, build_network
from tests.conftest import Store


def test_both_stems_have_torchvisions_state_dict_names() -> None:
    theirs = torchvision.models.resnet18(num_classes=7).state_dict()

    for stem in ("imagenet", "small"):
        ours = build_network("resnet18", classes=7, stem=stem).state_dict()
        assert list(ours) == list(theirs)


def test_the_small_stem_keeps_the_resolution() -> None:
    network = build_network("resnet18", classes=7, stem="small").eval()
    shapes = []
    network.get_submodule("layer1").register_forward_hook(
        lambda _m, _i, o: shapes.append(o.shape[2:])
    )

    network(torch.zeros(1, 3, 32, 32))

    assert shapes == [(32, 32)]


def test_unknown_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="there are resnet18, tiny"):
        build_network("resnet19", classes=2, stem="imagenet")


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
