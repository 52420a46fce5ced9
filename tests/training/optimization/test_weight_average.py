"""The average of a network's weights: its arithmetic, and that it can be resumed."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from classifier.bundle.network import NetworkSpec
from classifier.bundle.preprocessing import Preprocessing
from classifier.networks.build import build_network
from classifier.networks.image_classifier import ImageClassifier
from tests.conftest import picture
from training.compute import Compute, World
from training.data.batches import Batches
from training.data.decoded_images import DecodedPart
from training.optimization.trainer import Trainer
from training.optimization.weight_average import (
    WeightAverage,
    is_unsettled,
    take_statistics,
)
from training.recipes import RECIPES


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def _train_a_step(network: nn.Module) -> None:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    network(torch.randn(8, 3, 5, 5)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_an_average_follows_its_formula_and_forgets_its_start() -> None:
    network = _network()
    average = WeightAverage(network, decay=0.3)
    expected = copy.deepcopy(network.state_dict())

    for update in range(12):
        _train_a_step(network)
        average.update(network)
        decay = min(0.3, (1 + update) / (10 + update))
        for name, current in network.state_dict().items():
            if current.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * current

    expected["1.num_batches_tracked"] = torch.tensor(12)
    torch.testing.assert_close(dict(average.state), dict(expected))
    _network().load_state_dict(dict(average.state))


def test_batch_norms_statistics_are_averaged_too() -> None:
    network = _network()
    average = WeightAverage(network, decay=0.9)

    _train_a_step(network)
    average.update(network)

    before = torch.zeros(4)
    after = network.state_dict()["1.running_mean"]
    torch.testing.assert_close(
        average.state["1.running_mean"], torch.lerp(before, after, 0.9)
    )


def test_only_every_nth_step_counts() -> None:
    network, last = _network(), _network()
    each = WeightAverage(last, decay=0.5)
    third = WeightAverage(network, decay=0.5, every=3)

    for step in range(1, 8):
        _train_a_step(network)
        third.update(network)
        if step % 3 == 0:
            each.update(network)

    torch.testing.assert_close(dict(third.state), dict(each.state), rtol=0, atol=0)


def test_a_resumed_average_goes_on_as_if_it_had_never_stopped() -> None:
    network = _network()
    average = WeightAverage(network, decay=0.9, every=2)
    for _ in range(5):
        _train_a_step(network)
        average.update(network)
    saved = {name: tensor.clone() for name, tensor in average.state.items()}

    resumed = WeightAverage(_network(), decay=0.9, every=2)
    resumed.restore(saved, steps=5)
    for _ in range(5):
        _train_a_step(network)
        average.update(network)
        resumed.update(network)

    torch.testing.assert_close(dict(resumed.state), dict(average.state), rtol=0, atol=0)
    assert not torch.equal(saved["0.weight"], resumed.state["0.weight"])


def test_an_average_is_not_moved_by_the_network_itself() -> None:
    network = _network()
    average = WeightAverage(network, decay=0.9)
    before = {name: tensor.clone() for name, tensor in average.state.items()}

    _train_a_step(network)

    torch.testing.assert_close(dict(average.state), before, rtol=0, atol=0)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_each_epoch_however_short_publishes_other_weights(steps: int) -> None:
    trainer = _trainer(steps)
    published = [_published(trainer)]

    for epoch in (1, 2, 3):
        trainer.run_epoch(epoch)
        published.append(_published(trainer))

    for before, after in pairwise(published):
        assert not torch.equal(before, after)


def _trainer(steps: int) -> Trainer:
    """A trainer whose epochs have `steps` steps."""
    rng = np.random.default_rng(0)
    part = DecodedPart(
        names=tuple(map(str, range(4 * steps))),
        images=rng.integers(0, 256, (4 * steps, 16, 16, 3), np.uint8),
        targets=rng.integers(0, 6, 4 * steps),
        digest="",
    )
    cpu = torch.device("cpu")
    torch.manual_seed(0)
    network = build_network(NetworkSpec("tiny", "small", 6), size=64)
    return Trainer(
        ImageClassifier(network, Preprocessing(16, 16)),
        Batches(part, batch_size=4, seed=0, device=cpu, world=World()),
        RECIPES["strong"],
        compute=Compute(cpu, "fp32"),
        epochs=3,
    )


def _published(trainer: Trainer) -> Tensor:
    weight: Tensor = trainer.published().network.state_dict()["0.weight"]
    return weight.clone()


IMAGES = np.stack([np.asarray(picture(16, 16, seed)) for seed in range(30)])


def _classifier(arch: str = "resnet18") -> ImageClassifier:
    torch.manual_seed(0)
    network = build_network(NetworkSpec(arch, "imagenet", 3), size=64)
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
