"""Epochs of training: batches, running averages, determinism, divergence."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from classifier.bundle.network import NetworkSpec
from classifier.bundle.preprocessing import Preprocessing
from classifier.networks.build import build_network
from classifier.networks.image_classifier import ImageClassifier
from training.compute import Compute, World
from training.data.augmentations import Mixed
from training.data.batches import Batches
from training.data.decoded_images import DecodedPart
from training.optimization.trainer import Trainer, TrainingDiverged, losses_of
from training.recipes import RECIPES, Recipe

CPU = Compute(torch.device("cpu"), "fp32")


def _part(count: int = 50, size: int = 16) -> DecodedPart:
    rng = np.random.default_rng(0)
    return DecodedPart(
        names=tuple(map(str, range(count))),
        images=rng.integers(0, 256, (count, size, size, 3), np.uint8),
        targets=rng.integers(0, 6, count),
        digest="",
    )


def _trainer(
    recipe: Recipe,
    *,
    seed: int = 0,
    batch_size: int = 4,
    arch: str = "tiny",
    size: int = 16,
    compute: Compute = CPU,
) -> Trainer:
    torch.manual_seed(0)
    # The small stem costs ResNet-18 ten times as much.
    stem = "small" if arch == "tiny" else "imagenet"
    network = build_network(NetworkSpec(arch, stem, 6), size=64)
    return Trainer(
        ImageClassifier(network, Preprocessing(size, size)),
        _batches(batch_size, seed, size),
        recipe,
        compute=compute,
        epochs=2,
    )


def _batches(batch_size: int, seed: int, size: int) -> Batches:
    return Batches(
        _part(size=size),
        batch_size=batch_size,
        seed=seed,
        device=torch.device("cpu"),
        world=World(),
    )


def test_running_points_come_every_ten_steps_and_at_the_end_of_an_epoch() -> None:
    trainer = _trainer(RECIPES["plain"])

    first, second = trainer.run_epoch(1), trainer.run_epoch(2)

    # 50 images in batches of 4: 13 steps
    assert [point.step for point in first.points] == [10, 13]
    assert [point.step for point in second.points] == [23, 26]
    assert [point.seen for point in first.points] == [0.8, 1.0]
    assert first.metrics == first.points[-1].metrics


def test_the_average_of_an_epoch_is_over_its_images() -> None:
    recipe = replace(RECIPES["plain"], lr=1e-9)  # the network stays as it is
    trainer = _trainer(recipe)
    torch.manual_seed(0)
    network = build_network(NetworkSpec("tiny", "small", 6), size=64)
    classifier = ImageClassifier(network, Preprocessing(16, 16))
    part = _part()
    logits = classifier(torch.from_numpy(part.images))
    targets = torch.from_numpy(part.targets)

    metrics = trainer.run_epoch(1).metrics

    loss = torch.nn.functional.cross_entropy(logits, targets).item()
    assert metrics.loss == pytest.approx(loss, rel=1e-4)
    right = (logits.argmax(1) == targets).float().mean().item()
    assert metrics.top1_accuracy == pytest.approx(right)
    top5 = (logits.topk(5).indices == targets[:, None]).any(1).float().mean().item()
    assert metrics.top5_accuracy == pytest.approx(top5)


def test_the_same_seed_gives_the_same_run_and_another_one_another() -> None:
    def metrics(seed: int) -> list[float]:
        trainer = _trainer(RECIPES["strong"], seed=seed)
        return [trainer.run_epoch(epoch).metrics.loss for epoch in (1, 2)]

    assert metrics(0) == metrics(0)
    assert metrics(0) != metrics(1)


def test_a_loss_that_is_no_number_stops_the_run_and_says_what_to_do() -> None:
    trainer = _trainer(replace(RECIPES["plain"], lr=1e30))

    with pytest.raises(TrainingDiverged, match="lower --lr"):
        trainer.run_epoch(1)


def test_bf16_steps_train_an_fp32_network() -> None:
    bf16 = Compute(torch.device("cpu"), "bf16")
    trainer = _trainer(RECIPES["plain"], compute=bf16)
    before = trainer.state()

    loss = trainer.run_epoch(1).metrics.loss

    weights = _weights(trainer.state())
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    for name, tensor in weights.items():
        assert not torch.equal(tensor, before[name]), name
    fp32 = _trainer(RECIPES["plain"]).run_epoch(1).metrics.loss
    assert loss != fp32
    assert loss == pytest.approx(fp32, rel=0.05)  # bf16 keeps 2 to 3 digits


def _weights(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return {k: v for k, v in state.items() if k.startswith("network/")}


@pytest.mark.parametrize(
    ("arch", "size", "batch_size"),
    [("tiny", 16, 4), ("resnet18", 32, 20)],  # 13 steps; 3 with batch norm
)
def test_a_trainer_that_goes_on_from_a_state_takes_the_same_steps(
    arch: str, size: int, batch_size: int
) -> None:
    recipe = replace(RECIPES["strong"], average_every=2, cutmix=0.5)
    whole, resumed = (
        _trainer(recipe, arch=arch, size=size, batch_size=batch_size) for _ in range(2)
    )
    whole.run_epoch(1)
    whole.published()
    resumed.restore(whole.state(), epochs_done=1)

    expected, found = whole.run_epoch(2), resumed.run_epoch(2)

    assert found.metrics == expected.metrics
    assert [p.step for p in found.points] == [p.step for p in expected.points]
    state = resumed.state()
    for name, tensor in whole.state().items():
        assert torch.equal(tensor, state[name]), name


def test_what_is_published_is_the_average_of_the_weights_and_trains_no_further() -> (
    None
):
    trainer = _trainer(replace(RECIPES["strong"], average_epochs=0.5, average_every=1))
    trainer.run_epoch(1)

    state = trainer.state()
    published = trainer.published().network.state_dict()

    assert torch.equal(published["0.weight"], state["average/0.weight"])
    assert not torch.equal(published["0.weight"], state["network/0.weight"])


@pytest.mark.parametrize("recipe", ["plain", "strong"])
def test_what_is_published_with_few_steps_has_settled_statistics_and_is_kept(
    recipe: str,
) -> None:
    """Of 3 steps: by momentum the statistics would be 73 % of their start."""
    trainer = _trainer(RECIPES[recipe], arch="resnet18", size=32, batch_size=20)
    trainer.run_epoch(1)

    published = trainer.published()
    state = trainer.state()

    first = published.network.get_submodule("conv1")
    inputs = published.normalise(torch.from_numpy(_part(size=32).images))
    means = first(inputs).mean(dim=(0, 2, 3))
    weights = published.network.state_dict()
    torch.testing.assert_close(weights["bn1.running_mean"], means)
    kind = "average" if recipe == "strong" else "network"
    for name, tensor in weights.items():
        assert torch.equal(tensor, state[f"{kind}/{name}"]), name


def test_without_an_average_the_weights_themselves_are_published() -> None:
    trainer = _trainer(RECIPES["plain"])
    trainer.run_epoch(1)

    published = trainer.published().network.state_dict()

    assert torch.equal(published["0.weight"], trainer.state()["network/0.weight"])


def test_images_of_two_classes_are_learned_as_both() -> None:
    logits = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    targets, others = torch.tensor([0, 1, 2]), torch.tensor([3, 4, 5])
    share = torch.tensor([1.0, 0.75, 0.0])
    examples = Mixed(
        inputs=torch.empty(0), targets=targets, other_targets=others, share=share
    )

    losses = losses_of(logits, examples, label_smoothing=0.1)

    first, second = (
        cross_entropy(logits, classes, label_smoothing=0.1, reduction="none")
        for classes in (targets, others)
    )
    expected = [first[0], 0.75 * first[1] + 0.25 * second[1], second[2]]
    torch.testing.assert_close(losses, torch.stack(expected))


def test_the_loss_of_an_image_is_weighted_by_its_class() -> None:
    logits = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    targets, others = torch.tensor([0, 1]), torch.tensor([3, 4])
    weights = torch.tensor([0.5, 2.0, 1.0, 3.0, 1.0, 1.0])
    share = torch.tensor([1.0, 0.25])
    examples = Mixed(
        inputs=torch.empty(0), targets=targets, other_targets=others, share=share
    )

    losses = losses_of(logits, examples, label_smoothing=0.1, class_weights=weights)

    first, second = (
        cross_entropy(logits, classes, label_smoothing=0.1, reduction="none")
        for classes in (targets, others)
    )
    expected = [0.5 * first[0], 0.25 * 2 * first[1] + 0.75 * second[1]]
    torch.testing.assert_close(losses, torch.stack(expected))


@pytest.mark.parametrize("recipe", ["plain", "strong"])
def test_the_first_batch_is_shown_as_it_is_learned_and_changes_nothing(
    recipe: str,
) -> None:
    shown, other = (_trainer(RECIPES[recipe]) for _ in range(2))

    images, targets = shown.first_batch()

    order = torch.randperm(50, generator=_batches(4, 0, 16).generator(1))[:4]
    part = _part()
    assert targets.tolist() == part.targets[order.numpy()].tolist()
    assert images.shape == (4, 16, 16, 3)
    is_as_it_was = np.array_equal(images, part.images[order.numpy()])
    assert is_as_it_was == (recipe == "plain")
    assert shown.run_epoch(1).metrics == other.run_epoch(1).metrics
