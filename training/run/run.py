"""An open run: it saves, publishes, logs and prints after each epoch."""

import functools
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.bundle.files import KEPT_IMAGES
from classifier.bundle.network import has_stems
from classifier.datasets.split import SPLIT
from classifier.hardware import process_started_at
from classifier.metrics import IntArray
from classifier.store.registry import Registry
from training.compute import explain_compute
from training.config.launch import launch_name
from training.data.decoded_images import DecodedPart, sample
from training.evaluation.epoch import Checkpoint, EpochResult, History, now_ms
from training.publishing.export import export_parts
from training.publishing.publish import Publisher
from training.publishing.tracking import (
    RunTracker,
    library_versions,
    run_tags,
)
from training.reports.console import print_epoch, print_start, print_text
from training.reports.diagnosis import diagnose
from training.reports.tables import layer_table
from training.run.background import Background, RetryPolicy
from training.run.resume import (
    COUNTS_FROM,
    SavedRun,
    ignore_more_signals,
    settings_of,
    with_resume_hint,
)
from training.run.setup import RunSetup
from training.run.state import (
    LAUNCH,
    RunState,
    StateFolder,
    answer_tensors,
    records_content,
    state_folder,
)

PROOF_IMAGES = 1_000
PROOF_BYTES = 32_000_000
"""Most images and bytes of KEPT_IMAGES."""


def log_setup(run: RunTracker, setup: RunSetup) -> None:
    settings = {k: v for k, v in asdict(setup.config).items() if k != "cache"}
    recipe = {f"recipe_{k}": v for k, v in asdict(setup.recipe).items()}
    versions = {f"version_{k}": v for k, v in library_versions().items()}
    if setup.near_duplicates is not None:
        settings["near_duplicates"] = setup.near_duplicates
    run.log_params(
        {
            **settings,
            **recipe,
            **versions,
            **setup.dataset_tags,
            "lr": setup.recipe.lr,
            "batch_size": setup.batch_size,
            "model": setup.model,
            "experiment": setup.experiment,
            "device": setup.compute.device,
            "precision": setup.compute.precision,
            "compile": setup.compiled,
            "classes": len(setup.dataset.labels),
            "training_images": len(setup.train),
            "validation_images": len(setup.val),
        }
    )
    run.log_dataset(
        name=setup.dataset.name,
        digest=setup.val.digest,
        source=setup.dataset.source,
        size=setup.sizes,
    )
    if setup.dataset.split is not None:
        run.log_text(setup.dataset.split, SPLIT)
    _log_proof_images(run, setup.val)
    run.log_text(layer_table(setup.classifier, setup.preprocessing), "layers.csv")


def _log_proof_images(run: RunTracker, val: DecodedPart) -> None:
    """A stratified sample of the validation images, as the network sees them."""
    one = math.prod(val.images.shape[1:])
    kept = sample(val, min(PROOF_IMAGES, PROOF_BYTES // one))
    place, name = KEPT_IMAGES.split("/")
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, name), kept.images)
        text = "".join(f"{name}\n" for name in kept.names)
        Path(folder, "names.txt").write_text(text, "utf-8", newline="")
        run.log_folder(Path(folder), place)


def print_setup(
    run: RunTracker, setup: RunSetup, *, store: str, epochs_done: int | None
) -> None:
    """`epochs_done` is None for a new run."""
    spec, compute, config = setup.network, setup.compute, setup.config
    parameters = sum(p.numel() for p in setup.classifier.parameters())
    stem = f"{spec.stem} stem, " if has_stems(spec.architecture) else ""
    network = f"{spec.architecture}, {stem}{parameters:,} parameters"
    steps = f"batches of {setup.batch_size}, recipe {config.recipe_name}"
    lines = [
        ("model", f"{setup.model}, {network}"),
        ("run", f"{run.run_name} ({run.run_id}) in {store}"),
        ("data", f"{setup.dataset.name}: {setup.sizes}"),
        *(("note", note) for note in setup.notes),
        ("compute", f"{explain_compute(compute)}, {steps}"),
    ]
    if epochs_done is not None:
        lines.append(("goes on", f"after epoch {epochs_done}"))
    print_start(lines, has_top5=setup.has_top5)


@dataclass
class Run:
    """The run as the first process keeps it; other processes have none."""

    setup: RunSetup
    tracker: RunTracker
    publisher: Publisher
    folder: StateFolder
    background: Background
    retry_policy: RetryPolicy
    history: History
    started_ms: int
    settings: Mapping[str, Any]
    """The part of the state that is the same after every epoch."""

    def keep(self, result: EpochResult) -> None:
        """Measures, saves and publishes in the background, after the previous epoch."""
        self.background.submit(functools.partial(self._keep, result))

    def publish_again(self, checkpoint: Checkpoint) -> None:
        """Publishes what a killed process left out of the last epoch's version."""
        self.background.submit(functools.partial(self._publish, checkpoint, True))

    def show_batch(self, images: NDArray[np.uint8], targets: IntArray) -> None:
        """Logs a picture of augmented images while the first epoch trains."""
        self.background.submit(functools.partial(self._show_batch, images, targets))

    def conclude(self, *, first_step_at: float | None, ended_early: str | None) -> None:
        """After the last epoch: logs diagnosis, pictures, times; ends the run."""
        self.background.wait()
        if ended_early is not None:
            print_text(f"\n{ended_early}")
            self.retry_policy.call(
                lambda is_retry: self.tracker.log_tags({"ended_early": ended_early}),
                action="log why it ended",
            )
        diagnosis = diagnose(
            self.history,
            recipe=self.setup.config.recipe_name,
            val_images=len(self.setup.val),
            sample=self.setup.measured_sample,
        )
        self.retry_policy.call(
            lambda is_retry: self._log_outcome(diagnosis, first_step_at),
            action="log the diagnosis",
        )
        self.retry_policy.call(
            lambda is_retry: self.tracker.finish(), action="end the run"
        )
        print_text(f"\n{diagnosis}", end="")

    def state(self, *, finished: bool) -> RunState:
        """The state after the epochs kept so far."""
        return RunState(
            epochs_done=len(self.history.epochs),
            is_finished=finished,
            started_ms=self.started_ms,
            content={**self.settings, **records_content(self.history.epochs)},
        )

    def _keep(self, result: EpochResult) -> None:
        checkpoint = result.checkpoint()
        predictions = checkpoint.predictions
        self.history.epochs.append(checkpoint.record)
        self.history.first_answers.append(predictions.first_answers)
        self.history.target_probabilities.append(predictions.target_probabilities)
        state = self.state(finished=False)
        tensors = {
            **result.training_state,
            **answer_tensors(
                self.history, predictions.logits, epochs=self.setup.config.epochs
            ),
        }
        # First the state: a lost version can be published again from it.
        self.retry_policy.call(
            lambda is_retry: self.folder.write(state, tensors),
            action=f"save epoch {result.epoch}",
        )
        self._publish(checkpoint, False)

    def _publish(self, checkpoint: Checkpoint, before: bool) -> None:
        record = checkpoint.record
        version = self.retry_policy.call(
            lambda is_retry: self.publisher.publish(
                checkpoint, again=is_retry or before
            ),
            action=f"publish epoch {record.epoch}",
        )
        print_epoch(
            record,
            epochs=self.setup.config.epochs,
            version=version.number,
            has_top5=self.setup.has_top5,
        )

    def _show_batch(self, images: NDArray[np.uint8], targets: IntArray) -> None:
        from training.reports.plots import draw_batch

        labels = self.setup.dataset.labels
        with tempfile.TemporaryDirectory(dir=self.folder.workspace) as folder:
            draw_batch(Path(folder), images, targets, labels=labels)
            self.retry_policy.call(
                lambda is_retry: self.tracker.log_folder(Path(folder), "pictures"),
                action="log a picture of a batch",
            )

    def _log_outcome(self, diagnosis: str, first_step_at: float | None) -> None:
        # matplotlib takes 0.5 s to import, which would delay the first step.
        from training.reports.plots import draw_pictures

        self.tracker.log_text(diagnosis, "diagnosis.md")
        with tempfile.TemporaryDirectory(dir=self.folder.workspace) as folder:
            draw_pictures(
                self.history,
                Path(folder),
                labels=self.setup.dataset.labels,
                val=self.setup.val,
            )
            self.tracker.log_folder(Path(folder), "pictures")
        # Tags, as a metric would get a second point if it is logged again.
        seconds = {
            "seconds_total": time.time() - process_started_at(),
            "seconds_publishing": self.background.seconds_busy,
            "seconds_waiting": self.background.seconds_waited,
        }
        if first_step_at is not None:
            seconds["seconds_to_first_step"] = first_step_at - process_started_at()
        self.tracker.log_tags({k: f"{v:.3f}" for k, v in seconds.items()})


@contextmanager
def open_run(
    setup: RunSetup,
    registry: Registry,
    saved: SavedRun | None,
    *,
    arguments: Sequence[str],
    state_bytes: int,
) -> Iterator[Run]:
    """Opens a new run, or the `saved` one, whose folder the caller has locked.

    Background jobs end before the run does. `state_bytes` is the size of an epoch's
    state.
    """
    parts = export_parts(
        setup.classifier,
        labels=setup.dataset.labels,
        preprocessing=setup.preprocessing,
        network=setup.network,
        cache=setup.config.cache_folder,
    )
    if saved is None:
        tracker = RunTracker.start(
            registry, experiment=setup.experiment, tags=run_tags(arguments)
        )
    else:
        tracker = RunTracker.reopen(registry, saved.run_id)
    folder = state_folder(registry.uri, tracker.run_id)
    with (
        with_resume_hint(folder, epochs=setup.config.epochs),
        folder.hold() if saved is None else nullcontext(),
        folder.release_reserve_on_error(),
    ):
        with tracker:
            publisher = Publisher(
                registry=registry,
                tracker=tracker,
                model=setup.model,
                parts=parts,
                val=setup.val,
                dataset_tags=setup.dataset_tags,
                workspace=folder.workspace,
            )
            run = _run(setup, publisher, folder, saved)
            if saved is None:
                log_setup(tracker, setup)
                folder.write(run.state(finished=False), {})
            elif saved.goes_further:
                tracker.log_tags({"epochs": setup.config.epochs})
                folder.rewrite(run.state(finished=False))
            folder.reserve(state_bytes)
            print_setup(
                tracker,
                setup,
                store=registry.uri,
                epochs_done=None if saved is None else saved.epochs_done,
            )
            with run.background:
                try:
                    yield run
                except BaseException:
                    run.retry_policy.stop.set()
                    ignore_more_signals()
                    raise
        # The last write: a finished run is resumed for more epochs only.
        folder.rewrite(run.state(finished=True))
        folder.clear()


def _run(
    setup: RunSetup, publisher: Publisher, folder: StateFolder, saved: SavedRun | None
) -> Run:
    return Run(
        setup=setup,
        tracker=publisher.tracker,
        publisher=publisher,
        folder=folder,
        background=Background("publish"),
        retry_policy=RetryPolicy(),
        history=History() if saved is None else saved.history,
        started_ms=now_ms() if saved is None else saved.started_ms,
        settings=settings_of(setup)
        | {
            COUNTS_FROM: saved.counts_from if saved else 0,
            LAUNCH: saved.content.get(LAUNCH) if saved else launch_name(),
        },
    )
