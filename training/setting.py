"""All that is known of a run before its first step."""

import shutil
from dataclasses import dataclass, replace

import numpy as np
import torch

from classifier.bundle import NetworkSpec
from classifier.dataset import Dataset
from classifier.layouts import open_dataset
from classifier.network import ImageClassifier, build_network
from classifier.preprocessing import Preprocessing
from training.config import TrainingConfig
from training.device import Compute, DeviceUnavailable, choose_compute
from training.image_cache import DecodedPart, decode_part
from training.recipes import RECIPES, Recipe

LEAST_SAMPLE = 500
"""Training images measured after each epoch are a quarter of the validation images, and
no fewer than this: 2,500 of Tiny ImageNet have a standard error of 1 point at most."""

STEPS_WORTH_COMPILING = 2_000
"""On a GPU, a guess: none was at hand. On CPUs it never is: docs/decisions.md."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    config: TrainingConfig
    compute: Compute
    compiled: bool
    recipe: Recipe
    dataset: Dataset
    train: DecodedPart
    train_sample: DecodedPart
    """A fixed part of `train`, of all classes alike."""

    val: DecodedPart
    preprocessing: Preprocessing
    network: NetworkSpec
    classifier: ImageClassifier

    @property
    def model(self) -> str:
        return self.config.model or f"{self.dataset.name}-{self.config.arch}"

    @property
    def experiment(self) -> str:
        return self.config.experiment or self.dataset.name

    @property
    def dataset_tags(self) -> dict[str, str]:
        return {
            "dataset_name": self.dataset.name,
            "dataset_digest": self.val.digest,
            "dataset_source": self.dataset.source,
        }

    @property
    def sizes(self) -> str:
        return (
            f"{len(self.train):,} training and {len(self.val):,} validation images "
            f"of {len(self.dataset.labels)} classes"
        )


def prepare(config: TrainingConfig) -> Setting:
    """BadDataset, DeviceUnavailable; decodes what is not decoded yet."""
    compute = choose_compute(config.device, config.precision)
    cache = config.cache_folder
    dataset = open_dataset(config.data, cache=cache, want_train=True)
    assert dataset.train is not None
    train_images = dataset.train
    if config.per_class is not None:
        train_images = train_images.first_per_class(config.per_class)
    preprocessing = Preprocessing(config.image_size, config.image_size)
    train_part, val = (
        decode_part(
            part,
            what=what,
            labels=dataset.labels,
            preprocessing=preprocessing,
            cache=cache,
            skip_broken=config.skip_broken,
        )
        for what, part in (("train", train_images), ("val", dataset.val))
    )
    torch.manual_seed(config.seed)
    spec = NetworkSpec(config.arch, config.stem, len(dataset.labels))
    network = build_network(spec.architecture, classes=spec.classes, stem=spec.stem)
    classifier = ImageClassifier(network, preprocessing).to(compute.device)
    return Setting(
        config=config,
        compute=compute,
        compiled=_is_compiled(config, compute, len(train_part)),
        recipe=_recipe(config, dataset),
        dataset=dataset,
        train=train_part,
        train_sample=_sample(train_part, max(LEAST_SAMPLE, len(val) // 4)),
        val=val,
        preprocessing=preprocessing,
        network=spec,
        classifier=classifier.to(memory_format=torch.channels_last),
    )


def _recipe(config: TrainingConfig, dataset: Dataset) -> Recipe:
    recipe = RECIPES[config.recipe]
    if config.lr is not None:
        recipe = replace(recipe, lr=config.lr)
    if not dataset.mirrored_is_same_class:
        recipe = replace(recipe, mirror=False)
    return recipe


def _is_compiled(config: TrainingConfig, compute: Compute, images: int) -> bool:
    has_compiler = any(map(shutil.which, ("cc", "gcc", "clang")))
    if config.compile == "on" and not has_compiler:
        raise DeviceUnavailable(
            "--compile on was asked for, and torch needs a C compiler for it, of which "
            "none was found; install gcc, or leave the flag out"
        )
    if config.compile != "auto":
        return config.compile == "on"
    steps = config.epochs * images // config.batch_size
    is_worth_it = compute.device.type == "cuda" and steps >= STEPS_WORTH_COMPILING
    return is_worth_it and has_compiler


def _sample(part: DecodedPart, count: int) -> DecodedPart:
    """Evenly over the part, which lies in the order of classes."""
    count = min(count, len(part))
    positions = np.linspace(0, len(part) - 1, count).astype(np.int64)
    return DecodedPart(
        names=tuple(part.names[position] for position in positions),
        images=part.images[positions],
        targets=part.targets[positions],
        digest=part.digest,
    )
