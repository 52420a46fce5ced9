"""The story of a run: each epoch trains, measures, and leaves a version."""

from collections.abc import Sequence
from contextlib import ExitStack

from classifier.registry import Registry
from training.batches import Batches
from training.calibration import calibrate
from training.checkpoint import Checkpoint
from training.config import ResumeConfig, TrainingConfig
from training.evaluate import evaluate
from training.export import state_of
from training.history import EpochRecord
from training.preflight import check_images, check_network, check_store
from training.resume import Past, check_same_data, read_past
from training.run import open_run
from training.run_report import print_finished, print_note
from training.run_state import byte_size, find_state
from training.setting import Setting, prepare
from training.steps import Trainer, TrainingDiverged, check_finite
from training.world import World, following, open_world


def train(asked: TrainingConfig | ResumeConfig, *, arguments: Sequence[str]) -> None:
    """Runs to the end; what it raises says what was wrong and what to do."""
    with open_world(device=_device(asked)) as world, ExitStack() as held:
        config, past = world.tell(lambda: _where_to_start(asked, held))
        if config is None:
            return
        setting = world.after_first(lambda: _prepare(config, past))
        trainer = _trainer(setting, world)
        if past is not None:
            trainer.restore(past.tensors, epochs_done=past.epochs_done)
        first, last = 1 + (past.epochs_done if past else 0), config.epochs
        if not world.is_first:
            with following(TrainingDiverged):
                for epoch in range(first, last + 1):
                    _train_and_measure(trainer, setting, world, epoch)
            return
        registry = Registry(create=True)
        state = trainer.state()
        for note in check_store(
            registry.uri,
            epochs=last - first + 1,
            weight_bytes=byte_size(setting.classifier.network.state_dict()),
        ):
            print_note(note)
        size = byte_size(state)
        with open_run(
            setting, registry, past, arguments=arguments, state_size=size
        ) as run:
            if past is not None and past.history.epochs:
                run.publish_again(past.last_checkpoint(setting))
            for epoch in range(first, last + 1):
                run.keep(_train_and_measure(trainer, setting, world, epoch))
            run.conclude(first_step_at=trainer.first_step_at)


def _where_to_start(
    asked: TrainingConfig | ResumeConfig, held: ExitStack
) -> tuple[TrainingConfig | None, Past | None]:
    """What to train and what was done of it; nothing at all of a finished run.

    A run that is gone on with is held from before its state is read.
    """
    registry = Registry(create=True)
    if isinstance(asked, TrainingConfig):
        return asked, None
    folder = find_state(registry.uri, asked.run)
    held.enter_context(folder.hold())
    past = read_past(folder, asked)
    if past is None:
        folder.clear()
        print_finished(folder.run_id)
        return None, None
    return past.config, past


def _prepare(config: TrainingConfig, past: Past | None) -> Setting:
    """What is wrong with data or network is found here, before the first step."""
    setting = prepare(config)
    check_images(setting.train.targets, setting.dataset.labels)
    check_network(
        setting.classifier,
        setting.train.images,
        setting.train.targets,
        classes=len(setting.dataset.labels),
    )
    if past is not None:
        check_same_data(past, setting)
    return setting


def _trainer(setting: Setting, world: World) -> Trainer:
    config = setting.config
    batches = Batches(
        setting.train,
        batch_size=config.batch_size,
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


def _train_and_measure(
    trainer: Trainer, setting: Setting, world: World, epoch: int
) -> Checkpoint:
    """An epoch; measured in fp32, with the weights that its version will have."""
    training = trainer.run_epoch(epoch)
    classifier = trainer.published()
    predictions, of_sample = (
        evaluate(classifier, part.images, part.targets, world=world)
        for part in (setting.val, setting.train_sample)
    )
    check_finite(predictions.logits, epoch=epoch)
    record = EpochRecord(
        epoch=epoch,
        training=training,
        val=predictions.metrics,
        train_subset=of_sample.metrics,
        calibration=calibrate(predictions.logits, predictions.targets),
    )
    return Checkpoint(
        record=record,
        weights=state_of(classifier),
        predictions=predictions,
        training_state=trainer.state(),
    )


def _device(asked: TrainingConfig | ResumeConfig) -> str:
    if isinstance(asked, TrainingConfig):
        return asked.device
    return str(asked.given.get("device", "auto"))
