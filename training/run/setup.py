"""The setup of a run: data, network, device and recipe, before the first step."""

import os
import shutil
import sysconfig
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from classifier.bundle.network import NetworkSpec
from classifier.bundle.preprocessing import Preprocessing
from classifier.datasets.dataset import Dataset
from classifier.datasets.source import open_dataset
from classifier.datasets.split import Split, Splitting
from classifier.networks.build import build_network, new_spec, usual_size
from classifier.networks.image_classifier import ImageClassifier
from training.compute import Compute, DeviceUnavailable, World, choose_compute
from training.config.settings import TrainingConfig
from training.data.decoded_images import (
    DecodedPart,
    decode_train_and_val,
    sample,
)
from training.data.near_duplicates import count_near_duplicates
from training.optimization.memory import most_images
from training.optimization.schedule import auto_batch_size, scaled_rate
from training.recipes import FULL_BATCH, RECIPES, Recipe
from training.reports.diagnosis import Sample
from training.run.start import Start, build_start, new_start, saved_start
from training.run.state import byte_size

LEAST_SAMPLE = 500
"""Least number of training images measured after each epoch; else a quarter of the
validation images. 2,500 of Tiny ImageNet have a standard error of at most 1 point."""

STEPS_WORTH_COMPILING = 2_000
"""On a GPU; a guess, not measured. Never on CPUs: docs/decisions.md."""


@dataclass(frozen=True, kw_only=True)
class RunSetup:
    config: TrainingConfig
    original: TrainingConfig
    """The settings when the run started. In a resumed run, `config` has the values
    that `auto` gave then."""

    compute: Compute
    compiled: bool
    recipe: Recipe
    dataset: Dataset
    train: DecodedPart
    train_sample: DecodedPart
    """A fixed part of `train`, evenly over the classes."""

    batch_size: int
    """The given size, or the one that `auto` gave."""

    val: DecodedPart
    start: Start
    weight_notes: tuple[str, ...]
    """Tensors that did not come from the weights to start from."""

    classifier: ImageClassifier

    @property
    def preprocessing(self) -> Preprocessing:
        return self.start.preprocessing

    @property
    def network(self) -> NetworkSpec:
        return self.start.spec

    @property
    def model(self) -> str:
        return self.config.model or f"{self.dataset.name}-{self.config.arch_in_names}"

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
    def measured_sample(self) -> Sample:
        """Facts about `train_sample` for the diagnosis."""
        targets = self.train_sample.targets
        return Sample(
            images=len(targets),
            classes=len(self.dataset.labels),
            chance=float(np.bincount(targets).max() / len(targets)),
        )

    @cached_property
    def near_duplicates(self) -> int | None:
        """Validation images that look like a training image.

        None where the data has parts of its own, whose makers saw to that.
        """
        if self.dataset.split is None:
            return None
        return count_near_duplicates(self.train.images, self.val.images)

    @property
    def notes(self) -> tuple[str, ...]:
        notes = self.dataset.notes
        if not self.near_duplicates:
            return notes
        return (
            *notes,
            f"{self.near_duplicates:,} of {len(self.val):,} validation images look "
            f"like a training image, which flatters the accuracy",
        )

    @property
    def has_top5(self) -> bool:
        """Whether five answers can miss the true class."""
        return len(self.dataset.labels) > 5

    @property
    def sizes(self) -> str:
        return (
            f"{len(self.train):,} training and {len(self.val):,} validation images "
            f"of {len(self.dataset.labels)} classes"
        )


def prepare(
    config: TrainingConfig,
    world: World,
    *,
    original: TrainingConfig | None = None,
    content: Mapping[str, Any] | None = None,
    split: Split | None = None,
    allowed: Collection[str] = (),
) -> RunSetup:
    """Opens and decodes the data, and builds the network.

    `original` defaults to `config`. A resumed run has the `content` of its state, the
    recorded `split`, and `allowed` functions that may build its network. Raises
    BadDataset or DeviceUnavailable, and as `new_start` and `build` do.
    """
    original = original or config
    compute = choose_compute(
        config.device,
        config.precision,
        local_rank=world.local_rank,
        local_size=world.local_size,
    )
    _check_compiler(config, original, world)
    dataset = open_dataset(
        config.data,
        cache=config.cache_folder,
        want_train=True,
        labels=config.labels_file,
        splitting=Splitting(val_fraction=config.val_fraction, recorded=split),
    )
    if content is None:
        allowed = {config.arch}
    # A state without an epoch has no weights: they are read again.
    if content is None or not content["records"]:
        start = new_start(config, dataset.labels)
    else:
        start = saved_start(content, config, classes=len(dataset.labels))
    network, weight_notes = build_start(
        start,
        seed=config.seed,
        allowed=frozenset(allowed),
        train_only=config.train_only,
    )
    preprocessing = start.preprocessing
    train, val = _decode(config, dataset, preprocessing)
    if config.precision == "auto":
        compute = compute.suited_to(network)
    elif original.precision == "auto":
        compute = replace(compute, reason="as the run began")
    classifier = ImageClassifier(network, preprocessing).to(compute.device)
    classifier = classifier.to(memory_format=torch.channels_last)
    batch_size = config.batch_size
    if batch_size == "auto":
        batch_size = _batch_size(classifier, train, compute, world)
    return RunSetup(
        config=config,
        original=original,
        compute=compute,
        compiled=_is_compiled(config, compute, world, steps=len(train) // batch_size),
        # A given batch size may exceed the number of images.
        recipe=_recipe(
            config, dataset, batch_size=min(batch_size, max(FULL_BATCH, len(train)))
        ),
        dataset=dataset,
        train=train,
        batch_size=batch_size,
        train_sample=sample(train, max(LEAST_SAMPLE, len(val) // 4)),
        val=val,
        start=start,
        weight_notes=tuple(weight_notes),
        classifier=classifier,
    )


def _batch_size(
    classifier: ImageClassifier, train: DecodedPart, compute: Compute, world: World
) -> int:
    most = FULL_BATCH
    # Other machines may have less memory, and all processes need the same batches.
    if world.size == world.local_size:
        size = train.images.shape[1]
        most = most_images(classifier, size, compute, processes=world.size)
    return auto_batch_size(len(train), processes=world.size, most=most)


def _decode(
    config: TrainingConfig, dataset: Dataset, preprocessing: Preprocessing
) -> tuple[DecodedPart, DecodedPart]:
    """The training and the validation images."""
    train = dataset.train
    assert train is not None
    if config.per_class is not None:
        train = train.first_per_class(config.per_class)
    return decode_train_and_val(
        train,
        dataset.val,
        config=config,
        labels=dataset.labels,
        preprocessing=preprocessing,
    )


def about_weight_bytes(config: TrainingConfig) -> int:
    """Estimated size of a version's weights, with 1,000 classes of 2 kB each."""
    spec = new_spec(config.arch, classes=1000, stem=config.stem)

    def build() -> nn.Module:
        size = config.image_size or usual_size(config.arch)
        return build_network(spec, size=size, allowed={config.arch})

    try:
        with torch.device("meta"):
            network = build()
    except NotImplementedError:  # RegNet computes its widths with tensors
        network = build()
    return byte_size(network.state_dict())


def _recipe(config: TrainingConfig, dataset: Dataset, *, batch_size: int) -> Recipe:
    recipe = RECIPES[config.recipe_name]
    lr = config.lr or scaled_rate(recipe, batch_size=batch_size)
    if not dataset.mirrored_is_same_class:
        recipe = replace(recipe, mirror=False)
    if config.warmup_epochs is not None:
        warm_up = min(1.0, config.warmup_epochs / config.epochs)
        recipe = replace(recipe, warm_up=warm_up)
    return replace(recipe, lr=lr, **config.recipe_changes)


def _check_compiler(
    config: TrainingConfig, original: TrainingConfig, world: World
) -> None:
    """Raises DeviceUnavailable if --compile on is not possible here."""
    if world.size > 1 and original.compile == "on":
        raise DeviceUnavailable(
            f"--compile on was asked for, and {world.size} processes were started, "
            f"whose steps are not compiled; leave the flag out, or start one process"
        )
    missing = None if world.size > 1 else _missing_to_compile()
    if config.compile == "on" and missing is not None:
        raise DeviceUnavailable(
            f"the steps are to be compiled, and torch needs {missing} for it, which "
            f"was not found; install gcc and Python's headers (python3-dev), or begin "
            f"a run without --compile on"
        )


def _is_compiled(
    config: TrainingConfig, compute: Compute, world: World, *, steps: int
) -> bool:
    # torch.compile with DistributedDataParallel and SyncBatchNorm was never tried.
    if world.size > 1:
        return False
    if config.compile != "auto":
        return config.compile == "on"
    is_worth_it = (
        compute.device.type == "cuda" and config.epochs * steps >= STEPS_WORTH_COMPILING
    )
    return is_worth_it and _missing_to_compile() is None


def _missing_to_compile() -> str | None:
    """The missing C compiler or header that torch.compile needs; None if none is."""
    named = os.environ.get("CC")
    compilers = (named,) if named else ("gcc", "clang")
    if not any(map(shutil.which, compilers)):
        return f"the C compiler {named} that CC names" if named else "a C compiler"
    header = Path(sysconfig.get_path("include"), "Python.h")
    return None if header.is_file() else str(header)
