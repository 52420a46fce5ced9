"""The story of a run: each epoch trains, measures, and leaves a version."""

from collections.abc import Sequence
from contextlib import ExitStack

from classifier.store.location import store_uri
from classifier.store.registry import Registry
from training.compute import World, open_world
from training.config import ResumeConfig, TrainingConfig
from training.data.batches import Batches, batch_bounds
from training.evaluation.epoch import EpochResult
from training.evaluation.evaluate import evaluate
from training.optimization.trainer import Trainer, TrainingDiverged, check_finite
from training.publishing.export import state_of
from training.reports.console import print_finished, print_note
from training.run.preflight import (
    check_images,
    check_network,
    check_processes,
    check_store,
    size_notes,
)
from training.run.resume import Past, check_same_data, read_past, state_size
from training.run.run import open_run
from training.run.setup import Setting, about_weight_bytes, prepare
from training.run.state import find_state


def train(asked: TrainingConfig | ResumeConfig, *, arguments: Sequence[str]) -> None:
    """Runs to the end; what it raises says what was wrong and what to do."""
    with open_world() as world, ExitStack() as held:
        config, past = world.tell(lambda: _where_to_start(asked, held))
        if config is None:
            return
        setting = world.after_first(lambda: _prepare(config, past, world))
        with world.together():
            trainer = _trainer(setting, world)
        if past is not None:
            trainer.restore(past.tensors, epochs_done=past.epochs_done)
        epochs = range(1 + (past.epochs_done if past else 0), config.epochs + 1)
        if not world.is_first:
            for epoch in epochs:
                _train_and_ask(trainer, setting, world, epoch)
            return
        with open_run(
            setting,
            Registry(create=past is None),
            past,
            arguments=arguments,
            state_bytes=state_size(trainer.state(), setting),
        ) as run:
            if past is not None and past.history.epochs:
                run.publish_again(past.last_checkpoint(setting))
            for epoch in epochs:
                run.keep(_train_and_ask(trainer, setting, world, epoch))
            run.conclude(first_step_at=trainer.first_step_at)


def _where_to_start(
    asked: TrainingConfig | ResumeConfig, held: ExitStack
) -> tuple[TrainingConfig | None, Past | None]:
    """What to train and what was done of it; nothing at all of a finished run.

    A run that is gone on with is held from before its state is read. What is wrong with
    the store is found here: decoding may take minutes.
    """
    if isinstance(asked, TrainingConfig):
        _look_at_store(Registry(create=True), asked, epochs=asked.epochs)
        return asked, None
    folder = find_state(store_uri(), asked.run)
    held.enter_context(folder.hold())
    past = read_past(folder, asked)
    if past is None:
        folder.clear()
        print_finished(folder.run_id)
        return None, None
    left = past.config.epochs - past.epochs_done
    _look_at_store(Registry(), past.config, epochs=left)
    return past.config, past


def _look_at_store(registry: Registry, config: TrainingConfig, *, epochs: int) -> None:
    size = about_weight_bytes(config)
    for note in check_store(registry.uri, epochs=epochs, weight_bytes=size):
        print_note(note)


def _prepare(config: TrainingConfig, past: Past | None, world: World) -> Setting:
    """What is wrong with data or network is found here, before the first step."""
    setting = prepare(config, world, asked=past.asked if past else None)
    check_images(setting.train.targets, setting.dataset.labels)
    check_processes(
        world.size, batch_size=setting.batch_size, images=len(setting.train)
    )
    # Nothing of them can be changed in a run that goes on.
    if world.is_first and past is None:
        for note in _size_notes(setting, world):
            print_note(note)
    check_network(
        setting.classifier,
        setting.train.images,
        setting.train.targets,
        classes=len(setting.dataset.labels),
    )
    if past is not None:
        check_same_data(past, setting)
    return setting


def _size_notes(setting: Setting, world: World) -> list[str]:
    steps = batch_bounds(len(setting.train), setting.batch_size, least=2 * world.size)
    return size_notes(
        setting.train.targets,
        setting.dataset.labels,
        batch_size=setting.batch_size,
        processes=world.size,
        steps=len(steps),
        val_images=len(setting.val),
    )


def _trainer(setting: Setting, world: World) -> Trainer:
    config = setting.config
    batches = Batches(
        setting.train,
        batch_size=setting.batch_size,
        seed=config.seed,
        device=setting.compute.device,
        world=world,
    )
    return Trainer(
        setting.classifier,
        batches,
        setting.recipe,
        compute=setting.compute,
        epochs=config.epochs,
        world=world,
        compiled=setting.compiled,
    )


def _train_and_ask(
    trainer: Trainer, setting: Setting, world: World, epoch: int
) -> EpochResult:
    """An epoch, and its answers in fp32, by the weights that its version will have."""
    with world.together(TrainingDiverged):
        training = trainer.run_epoch(epoch)
        classifier = trainer.published()
        predictions, of_sample = (
            evaluate(classifier, part.images, part.targets, world=world)
            for part in (setting.val, setting.train_sample)
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
