"""The story of a run: each epoch trains, is evaluated, and becomes a version."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from classifier.datasets.split import SPLIT, read_split
from classifier.networks.build import load_tensors
from classifier.store.location import store_uri
from classifier.store.registry import Registry
from training.compute import World, open_world
from training.config.commands import ResumeConfig
from training.config.settings import TrainingConfig
from training.data.batches import Batches, balanced_weights, batch_bounds
from training.data.features import TrainingInputs, head_inputs
from training.evaluation.epoch import EpochResult
from training.evaluation.evaluate import evaluate
from training.optimization.schedule import head_rate
from training.optimization.trainer import (
    Trainer,
    TrainingDiverged,
    below,
    check_finite,
)
from training.publishing.export import state_of
from training.recipes import Recipe, for_features
from training.reports.console import print_note, print_text
from training.run.ending import Ending
from training.run.preflight import (
    check_images,
    check_network,
    check_processes,
    check_store,
    size_notes,
)
from training.run.resume import (
    SavedRun,
    check_same_data,
    read_saved_run,
    run_of_launch,
)
from training.run.run import open_run
from training.run.setup import RunSetup, about_weight_bytes, prepare
from training.run.state import find_state, state_size

NOTHING_LEFT = "nothing is left to resume"


def train(command: TrainingConfig | ResumeConfig, *, arguments: Sequence[str]) -> None:
    """Runs to the end. Each error's message says what is wrong and what to do."""
    with open_world() as world, ExitStack() as held:
        config, saved = world.broadcast_from_first(
            lambda: _open_saved_run(command, held)
        )
        if config is None:
            return
        allowed: tuple[str, ...] = (
            (command.arch,)
            if isinstance(command, TrainingConfig)
            else command.allow_network
        )
        setup = world.after_first(
            lambda: _prepare(config, saved, world, allowed=allowed)
        )
        if saved is not None and saved.epochs_done:
            # Before the features, which the layers below the head compute.
            weights = below("network/", saved.tensors)
            load_tensors(setup.classifier.network, weights)
        with world.together():
            inputs = _inputs(setup)
            setup = replace(setup, recipe=_recipe(setup, inputs))
            trainer = _trainer(setup, inputs, world)
        if saved is not None:
            trainer.restore(saved.tensors, epochs_done=saved.epochs_done)
        ending = _ending(config, saved)
        if not world.is_first:
            _train_epochs(trainer, inputs, world, ending, saved, keep=lambda _: None)
            return
        with open_run(
            setup,
            Registry(create=saved is None),
            saved,
            arguments=arguments,
            state_bytes=state_size(
                trainer.state(),
                epochs=config.epochs,
                images=len(setup.val),
                classes=len(setup.dataset.labels),
            ),
        ) as run:
            if saved is None and inputs.head is None:
                run.show_batch(*trainer.first_batch())
            elif saved is not None and saved.history.epochs:
                run.publish_again(saved.last_checkpoint(setup))
            ended_early = _train_epochs(
                trainer, inputs, world, ending, saved, keep=run.keep
            )
            run.conclude(first_step_at=trainer.first_step_at, ended_early=ended_early)


def _ending(config: TrainingConfig, saved: SavedRun | None) -> Ending:
    counted = saved.history.epochs[saved.counts_from :] if saved else []
    return Ending(
        config,
        accuracies=[record.val.top1_accuracy for record in counted],
        epochs_before=saved.counts_from if saved else 0,
    )


def _train_epochs(
    trainer: Trainer,
    inputs: TrainingInputs,
    world: World,
    ending: Ending,
    saved: SavedRun | None,
    *,
    keep: Callable[[EpochResult], None],
) -> str | None:
    """Trains the epochs that are left. Returns why it ended early, or None."""
    done = saved.epochs_done if saved else 0
    reason = ending.stalled(images=len(inputs.val)) if done else None
    for epoch in range(1 + done, ending.epochs + 1):
        if reason is not None:
            break
        result = _train_and_evaluate(trainer, inputs, world, epoch)
        keep(result)
        # Clocks differ, so the first process decides.
        reason = world.broadcast_from_first(partial(ending.after, result.predictions))
    return reason


def _open_saved_run(
    command: TrainingConfig | ResumeConfig, held: ExitStack
) -> tuple[TrainingConfig | None, SavedRun | None]:
    """The run's settings, and its saved state if it is resumed.

    Both are None for a finished run. A resumed run is locked before its state is read.
    The store is checked here, before decoding, which may take minutes.
    """
    ended = NOTHING_LEFT
    if isinstance(command, TrainingConfig):
        begun = run_of_launch(store_uri(), command)
        if begun is None:
            size = about_weight_bytes(command)
            _check_store(Registry(create=True), size, epochs=command.epochs)
            return command, None
        command, ended = begun, f"{NOTHING_LEFT}; another --rdzv-id begins a new run"
    folder = find_state(store_uri(), command.run)
    held.enter_context(folder.hold())
    saved = read_saved_run(folder, command)
    if saved is None:
        folder.clear()
        print_text(f"run {folder.run_id} is finished; {ended}")
        return None, None
    left = saved.config.epochs - saved.epochs_done
    registry = Registry()
    _check_store(registry, saved.weight_bytes, epochs=left)
    split = read_split(registry.text_of_run(saved.run_id, SPLIT))
    return saved.config, replace(saved, split=split)


def _check_store(registry: Registry, weight_bytes: int, *, epochs: int) -> None:
    for note in check_store(registry.uri, epochs=epochs, weight_bytes=weight_bytes):
        print_note(note)


def _prepare(
    config: TrainingConfig,
    saved: SavedRun | None,
    world: World,
    *,
    allowed: Sequence[str] = (),
) -> RunSetup:
    """Checks data and network, before the first step."""
    setup = prepare(
        config,
        world,
        original=saved.original if saved else None,
        content=saved.content if saved else None,
        split=saved.split if saved else None,
        allowed=allowed,
    )
    check_images(setup.train.targets, setup.dataset.labels)
    check_processes(world.size, batch_size=setup.batch_size, images=len(setup.train))
    # A resumed run cannot change its sizes.
    if world.is_first and saved is None:
        for note in (*setup.weight_notes, *_size_notes(setup, world)):
            print_note(note)
    check_network(
        setup.classifier,
        setup.train.images,
        setup.train.targets,
        classes=len(setup.dataset.labels),
    )
    if saved is not None:
        check_same_data(saved, setup)
    return setup


def _size_notes(setup: RunSetup, world: World) -> list[str]:
    steps = batch_bounds(len(setup.train), setup.batch_size, least=2 * world.size)
    return size_notes(
        setup.train.targets,
        setup.dataset.labels,
        batch_size=setup.batch_size,
        processes=world.size,
        steps=len(steps),
        val_images=len(setup.val),
    )


def _inputs(setup: RunSetup) -> TrainingInputs:
    """Images; features where the head alone learns from images as they are."""
    config = setup.config
    images = TrainingInputs(setup.train, setup.train_sample, setup.val)
    if config.train_only != "head" or config.augment:
        return images
    return head_inputs(setup.classifier, images) or images


def _recipe(setup: RunSetup, inputs: TrainingInputs) -> Recipe:
    """The recipe for these inputs: `finetune` has another one for a head alone."""
    if inputs.head is None:
        return setup.recipe
    recipe, config = for_features(setup.recipe), setup.config
    before, after = asdict(setup.recipe), asdict(recipe)
    if idle := [n for n in config.recipe_changes if before[n] != after[n]]:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        print_note(
            f"{flags}: no effect, as the head's inputs are computed once, of the "
            f"images as they are; --augment changes the images anew in each epoch"
        )
    if config.recipe_name == "finetune" and config.label_smoothing is None:
        recipe = replace(recipe, label_smoothing=0.0)
    if config.recipe_name == "finetune" and config.lr is None:
        features = cast("NDArray[np.float32]", inputs.train.images)
        rate = head_rate(features, batch_size=setup.batch_size)
        recipe = replace(recipe, lr=rate)
    return recipe


def _trainer(setup: RunSetup, inputs: TrainingInputs, world: World) -> Trainer:
    config = setup.config
    batches = Batches(
        inputs.train,
        batch_size=setup.batch_size,
        seed=config.seed,
        device=setup.compute.device,
        world=world,
        is_balanced=config.sampler == "balanced",
    )
    return Trainer(
        setup.classifier,
        batches,
        setup.recipe,
        compute=setup.compute,
        epochs=config.epochs,
        world=world,
        compiled=setup.compiled,
        head=inputs.head,
        class_weights=_class_weights(setup),
    )


def _class_weights(setup: RunSetup) -> Tensor | None:
    if setup.config.class_weights == "none":
        return None
    targets = torch.from_numpy(setup.train.targets)
    weights = balanced_weights(targets, classes=len(setup.dataset.labels))
    return weights.to(setup.compute.device)


def _train_and_evaluate(
    trainer: Trainer, inputs: TrainingInputs, world: World, epoch: int
) -> EpochResult:
    """One epoch, and the fp32 predictions of the weights that its version gets."""
    with world.together(TrainingDiverged):
        training = trainer.run_epoch(epoch)
        classifier = trainer.published()
        network: nn.Module = classifier
        if inputs.head is not None:
            network = classifier.network.get_submodule(inputs.head)
        predictions, of_sample = (
            evaluate(network, part.images, part.targets, world=world)
            for part in (inputs.val, inputs.train_sample)
        )
        check_finite(predictions.logits, epoch=epoch)
    return EpochResult(
        epoch=epoch,
        training=training,
        weights=state_of(classifier),
        predictions=predictions,
        of_sample=of_sample,
        training_state=trainer.state(),
    )
