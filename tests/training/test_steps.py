"""Epochs of training: batches, running averages, determinism, divergence."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from classifier.network import ImageClassifier, build_network
from classifier.preprocessing import Preprocessing
from training.device import Compute
from training.image_cache import DecodedPart
from training.recipes import RECIPES, Recipe
from training.steps import Trainer, TrainingDiverged, batch_bounds

CPU = Compute(torch.device("cpu"), "fp32")


def _part(count: int = 50) -> DecodedPart:
    rng = np.random.default_rng(0)
    return DecodedPart(
        names=tuple(map(str, range(count))),
        images=rng.integers(0, 256, (count, 16, 16, 3), np.uint8),
        targets=rng.integers(0, 6, count),
        digest="",
    )


def _trainer(recipe: Recipe, *, seed: int = 0, batch_size: int = 4) -> Trainer:
    torch.manual_seed(0)
    network = build_network("tiny", classes=6, stem="small")
    return Trainer(
        ImageClassifier(network, Preprocessing(16, 16)),
        _part(),
        recipe,
        compute=CPU,
        batch_size=batch_size,
        epochs=2,
        seed=seed,
    )


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [
        (10, 4, [4, 4, 2]),
        (8, 4, [4, 4]),
        (9, 4, [4, 5]),  # one image alone would leave batch norm nothing to average
        (3, 256, [3]),
        (1, 256, [1]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_every_image_is_in_one_batch_and_the_smaller_last_one_is_kept(
    count: int, size: int, sizes: list[int]
) -> None:
    bounds = batch_bounds(count, size)

    assert [end - start for start, end in bounds] == sizes
    assert [start for start, _ in bounds[1:]] == [end for _, end in bounds[:-1]]


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
    network = build_network("tiny", classes=6, stem="small")
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


def test_bf16_steps_train_an_fp32_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network("tiny", classes=6, stem="small")
    trainer = Trainer(
        ImageClassifier(network, Preprocessing(16, 16)),
        _part(),
        RECIPES["plain"],
        compute=Compute(torch.device("cpu"), "bf16"),
        batch_size=8,
        epochs=1,
        seed=0,
    )

    trainer.run_epoch(1)

    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
