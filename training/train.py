"""The story of a run: each epoch trains, measures, and publishes a version."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from classifier.bundle import NetworkSpec
from classifier.dataset import Dataset
from classifier.layouts import open_dataset
from classifier.network import ImageClassifier, build_network
from classifier.preprocessing import Preprocessing
from classifier.registry import Registry
from training.config import TrainingConfig
from training.device import Compute, choose_compute
from training.diagnosis import diagnose
from training.evaluate import evaluate
from training.export import export_parts
from training.history import EpochRecord, History
from training.image_cache import DecodedPart, decode_part
from training.layer_table import layer_table
from training.pictures import draw_pictures
from training.provenance import library_versions, run_tags
from training.publish import Publisher
from training.recipes import RECIPES, Recipe
from training.run_report import print_epoch, print_outcome, print_start
from training.steps import Trainer, check_finite
from training.tracking import RunTracker


@dataclass(frozen=True)
class _Setting:
    """All that is known before the first step."""

    config: TrainingConfig
    compute: Compute
    recipe: Recipe
    dataset: Dataset
    train: DecodedPart
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


def train(config: TrainingConfig, *, arguments: Sequence[str]) -> None:
    """Runs to the end; what it raises says what was wrong and what to do."""
    setting = _prepare(config)
    registry = Registry(create=True)
    classifier, val = setting.classifier, setting.val
    trainer = Trainer(
        classifier,
        setting.train,
        setting.recipe,
        compute=setting.compute,
        batch_size=config.batch_size,
        epochs=config.epochs,
        seed=config.seed,
    )
    parts = export_parts(
        classifier,
        labels=setting.dataset.labels,
        preprocessing=setting.preprocessing,
        network=setting.network,
    )
    tags = run_tags(arguments)
    with RunTracker(registry, experiment=setting.experiment, tags=tags) as run:
        _log_setting(run, setting)
        _print_setting(run, setting, store=registry.uri)
        publisher = Publisher(
            registry, run, setting.model, parts, val, setting.dataset_tags
        )
        history = History()
        for epoch in range(1, config.epochs + 1):
            training = trainer.run_epoch(epoch)
            predictions = evaluate(classifier, val.images, val.targets)
            check_finite(predictions.logits, epoch=epoch)
            record = EpochRecord(epoch, training, predictions.metrics)
            history.epochs.append(record)
            run.log_running(training.points)
            version = publisher.publish(classifier, record, predictions)
            print_epoch(record, epochs=config.epochs, version=version.number)
        _conclude(run, history, recipe=config.recipe, val_images=len(val))


def _prepare(config: TrainingConfig) -> _Setting:
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
    return _Setting(
        config=config,
        compute=compute,
        recipe=_recipe(config, dataset),
        dataset=dataset,
        train=train_part,
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


def _log_setting(run: RunTracker, setting: _Setting) -> None:
    asked = {k: v for k, v in asdict(setting.config).items() if k != "cache"}
    recipe = {f"recipe_{k}": v for k, v in asdict(setting.recipe).items()}
    versions = {f"version_{k}": v for k, v in library_versions().items()}
    run.log_params(
        {
            **asked,
            **recipe,
            **versions,
            **setting.dataset_tags,
            "lr": setting.recipe.lr,
            "model": setting.model,
            "experiment": setting.experiment,
            "device": setting.compute.device,
            "precision": setting.compute.precision,
            "classes": len(setting.dataset.labels),
            "training_images": len(setting.train),
            "validation_images": len(setting.val),
        }
    )
    run.log_dataset(
        name=setting.dataset.name,
        digest=setting.val.digest,
        source=setting.dataset.source,
        size=_sizes(setting),
    )
    run.log_text(layer_table(setting.classifier, setting.preprocessing), "layers.csv")


def _print_setting(run: RunTracker, setting: _Setting, *, store: str) -> None:
    spec, compute, config = setting.network, setting.compute, setting.config
    parameters = sum(p.numel() for p in setting.classifier.parameters())
    print_start(
        model=setting.model,
        network=f"{spec.architecture}, {spec.stem} stem, {parameters:,} parameters",
        run=f"{run.run_name} ({run.run_id})",
        store=store,
        images=f"{setting.dataset.name}: {_sizes(setting)}",
        compute=f"{compute.device}, {compute.precision}, batches of "
        f"{config.batch_size}, recipe {config.recipe}",
    )


def _sizes(setting: _Setting) -> str:
    return (
        f"{len(setting.train):,} training and {len(setting.val):,} validation images "
        f"of {len(setting.dataset.labels)} classes"
    )


def _conclude(
    run: RunTracker, history: History, *, recipe: str, val_images: int
) -> None:
    diagnosis = diagnose(history, recipe=recipe, val_images=val_images)
    run.log_text(diagnosis, "diagnosis.md")
    with tempfile.TemporaryDirectory(prefix="flipside-") as folder:
        draw_pictures(history, Path(folder))
        run.log_folder(Path(folder), "curves")
    print_outcome(diagnosis)
