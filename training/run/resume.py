"""How a run continues from its saved state, and what happens when it is stopped."""

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from torch import Tensor

from classifier.console.exits import WrongUsage
from classifier.datasets.dataset import BadDataset
from classifier.datasets.split import Split
from classifier.store.location import StoreUnavailable
from training.compute import PeerLost
from training.config.commands import ResumeConfig
from training.config.launch import is_started_again, launch_name, program
from training.config.settings import TrainingConfig
from training.evaluation.epoch import Checkpoint, History
from training.evaluation.evaluate import Predictions
from training.optimization.trainer import below
from training.recipes import RECIPES
from training.run.setup import RunSetup
from training.run.state import (
    LOGITS,
    StateFolder,
    UnknownRun,
    find_launched,
    read_history,
)

COUNTS_FROM = "counts_from"
"""Key of the state's content for SavedRun.counts_from."""


class OtherFlags(WrongUsage, ValueError):
    """A flag beside --resume differs from the run's own."""


class NamelessLaunch(WrongUsage, RuntimeError):
    """torchrun started the processes again, and nothing says which run is theirs."""


@dataclass(frozen=True, kw_only=True)
class SavedRun:
    """A stopped run: its settings, history and tensors."""

    run_id: str
    started_ms: int
    original: TrainingConfig
    """The settings when the run started."""

    config: TrainingConfig
    """`original`, with the values that `auto` gave then."""

    history: History
    tensors: Mapping[str, Tensor]
    content: Mapping[str, Any]
    goes_further: bool
    """Whether more epochs were asked for than the run was to have."""

    split: Split | None = None
    """The split of images without parts, as the run recorded it at its start."""

    @property
    def counts_from(self) -> int:
        """Epochs that --stop-after does not count: those before it went further."""
        if self.goes_further:
            return self.epochs_done
        counts_from: int = self.content.get(COUNTS_FROM, 0)
        return counts_from

    @property
    def epochs_done(self) -> int:
        return len(self.history.epochs)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the network's tensors."""
        return sum(
            tensor.nbytes
            for name, tensor in self.tensors.items()
            if name.startswith("network/")
        )

    def last_checkpoint(self, setup: RunSetup) -> Checkpoint:
        """The last epoch's checkpoint, to publish its version if that is missing."""
        kind = "average/" if setup.recipe.average_epochs else "network/"
        return Checkpoint(
            record=self.history.epochs[-1],
            weights={k: v.numpy() for k, v in below(kind, self.tensors).items()},
            predictions=Predictions(self.tensors[LOGITS].numpy(), setup.val.targets),
        )


def run_of_launch(store_uri: str, config: TrainingConfig) -> ResumeConfig | None:
    """The run that this launch of torchrun began before its processes died.

    None for the first start: the run is to be begun. Raises NamelessLaunch for a later
    start of a launch without a name.
    """
    name = launch_name()
    if name is None:
        if is_started_again():
            raise NamelessLaunch(
                "torchrun started these processes again, and which run they began "
                "cannot be known: name the launch with --rdzv-id and --rdzv-backend "
                "c10d, or go on with --resume RUN_ID"
            )
        return None
    folder = find_launched(store_uri, name)
    if folder is None:
        return None
    return ResumeConfig(
        run=folder.run_id,
        allow_network=(config.arch,),
        given={
            field.name: value
            for field in fields(config)
            if (value := getattr(config, field.name)) != field.default
        },
    )


def read_saved_run(folder: StateFolder, resume: ResumeConfig) -> SavedRun | None:
    """None if the run is finished, and no more epochs are asked for.

    Raises OtherFlags if another flag differs, UnknownRun if a finished run's tensors
    were not kept.
    """
    state = folder.read()
    config = _original(state.content, resume)
    goes_further = config.epochs > state.content["config"]["epochs"]
    if state.is_finished and not goes_further:
        return None
    tensors = folder.tensors()
    if state.epochs_done and not tensors:
        raise UnknownRun(
            f"run {folder.run_id} is finished, and an earlier flipside kept nothing of "
            f"it to go on from; start a new run without --resume"
        )
    return SavedRun(
        run_id=folder.run_id,
        started_ms=state.started_ms,
        original=config,
        config=_resolved(config, state.content),
        history=read_history(state.content, tensors),
        tensors=tensors,
        content=state.content,
        goes_further=goes_further,
    )


def check_same_data(saved: SavedRun, setup: RunSetup) -> None:
    """Raises BadDataset if the images are not those that the run started with."""
    for part, digest in _digests(setup).items():
        if saved.content[part] != digest:
            raise BadDataset(
                f"the {part.removesuffix('_digest')} images at {setup.dataset.source}"
                f" are not those that run {saved.run_id} began with (digest "
                f"{digest[:12]}, was {saved.content[part][:12]}); put them back, or "
                f"start a new run"
            )


def settings_of(setup: RunSetup) -> dict[str, Any]:
    """The settings in the state's JSON, which are the same after every epoch."""
    return {
        "config": asdict(setup.original) | {"cache": None},
        "model": setup.model,
        "experiment": setup.experiment,
        "device": setup.compute.device.type,
        "precision": setup.compute.precision,
        "compiled": setup.compiled,
        "batch_size": setup.batch_size,
        "lr": setup.recipe.lr,
        **setup.start.to_json(),
        **_digests(setup),
    }


def _digests(setup: RunSetup) -> dict[str, str]:
    return {"train_digest": setup.train.digest, "val_digest": setup.val.digest}


def _original(content: Mapping[str, Any], resume: ResumeConfig) -> TrainingConfig:
    """The run's own settings. Raises OtherFlags if a flag given again differs."""
    config = TrainingConfig(**content["config"])
    of_run = asdict(config) | {key: content[key] for key in ("model", "experiment")}
    for name, value in resume.given.items():
        is_free = name == "cache" or (name == "epochs" and value > config.epochs)
        if not is_free and of_run[name] != value:
            flag = f"--{name.replace('_', '-')}"
            typed = flag if value is True else f"{flag} {value}"
            begun = f"with {of_run[name]}"
            if name == "lr" and config.lr is None:
                begun = f"with {_resolved(config, content).lr:g}, its recipe's"
            elif of_run[name] is None or of_run[name] is False:
                begun = "without it"
            raise OtherFlags(
                f"{typed} was asked for, but the run was begun {begun}; leave the flag "
                f"out, or start a new run without --resume"
            )
    given = {name: resume.given.get(name) for name in ("cache", "epochs")}
    epochs = given["epochs"] or config.epochs
    return replace(config, cache=given["cache"], epochs=epochs)


def _resolved(config: TrainingConfig, content: Mapping[str, Any]) -> TrainingConfig:
    """Settings with the values that `auto` and the recipe gave at the start."""
    return replace(
        config,
        device=content["device"],
        precision=content["precision"],
        compile="on" if content["compiled"] else "off",
        batch_size=content.get("batch_size", config.batch_size),
        # Older states lack it; then the rate did not depend on the batch size.
        lr=content.get("lr", config.lr or RECIPES[config.recipe_name].lr),
    )


SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def with_resume_hint(folder: StateFolder, *, epochs: int) -> Iterator[None]:
    """Adds a note "N of M epochs are kept; go on with ..." to the run's error.

    Adds nothing if the run has no saved state yet.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        kept = _kept(folder, epochs)
        if kept is None:
            raise
        raise KeyboardInterrupt(f"interrupted; {kept}") from error
    except (StoreUnavailable, PeerLost, OSError) as error:
        kept = _kept(folder, epochs)
        if kept is not None:
            error.add_note(kept)
        raise


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt as Ctrl-C does: clusters stop jobs with it.

    The previous handlers are restored at the end.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_more_signals() -> None:
    """After the first signal, further ones must not interrupt a write.

    torchrun sends SIGTERM after the terminal's SIGINT. Ctrl-\\ still kills.
    """
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            # Not SIG_IGN, which child processes would inherit.
            signal.signal(number, lambda *_: None)


def _kept(folder: StateFolder, epochs: int) -> str | None:
    try:
        done = folder.read().epochs_done
    except UnknownRun:
        return None
    return (
        f"{done} of {epochs} epochs are kept; go on with: {program()} --resume "
        f"{folder.run_id}"
    )
