"""The state from which a run can resume: one JSON and one safetensors file.

The JSON names the tensors' file and is replaced atomically, so a process that dies
while it writes leaves the previous state. Disk space for the next tensors is reserved
in advance, so a full disk cannot lose a trained epoch.
"""

import contextlib
import fcntl
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors.torch import load_file, save
from torch import Tensor

from classifier.console.exits import WrongUsage
from classifier.storage import partial_name, take_room, write_in_reserve
from classifier.store.location import StoreUnavailable, store_folder
from training.evaluation.epoch import EpochRecord, History

STATE = "state.json"
PARTIAL = partial_name(STATE)
RESERVE = "reserve"
JSON_ROOM = 1 << 18
"""Bytes an epoch may add to the JSON: 100,000 images in batches of 32 add 60 kB."""

FORMAT = 1

FIRST_ANSWERS = "validation/first_answers"
TARGET_PROBABILITIES = "validation/target_probabilities"
LOGITS = "validation/logits"

_RECORDS = TypeAdapter(list[EpochRecord])

LAUNCH = "launch"
"""Key of the state's content for the launch of torchrun that began the run."""

logger = logging.getLogger(__name__)


class UnknownRun(WrongUsage, LookupError):
    """No readable training state of the run is here."""


@dataclass(frozen=True)
class RunState:
    """A run's state after its last whole epoch, without the tensors."""

    epochs_done: int
    is_finished: bool
    started_ms: int
    content: Mapping[str, Any]
    """Settings (run/resume.py) and epoch records."""


class StateFolder:
    """The folder with the state of one run."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self.folder = folder
        self.run_id = run_id

    @property
    def workspace(self) -> Path:
        """Temporary files on the store's disk; emptied when the run is opened."""
        return self.folder / "workspace"

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Locks the run; the kernel releases the lock when this process dies.

        Raises StoreUnavailable if another process trains this run.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreUnavailable(
                    f"run {self.run_id} is being trained by another process; wait for "
                    f"it, or stop it"
                ) from error
            shutil.rmtree(self.workspace, ignore_errors=True)
            self.workspace.mkdir()
            try:
                yield
            finally:
                shutil.rmtree(self.workspace, ignore_errors=True)

    @contextmanager
    def release_reserve_on_error(self) -> Iterator[None]:
        """On error, deletes the reserved files; resuming reserves them again."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):
                self._remove(RESERVE, PARTIAL)
            raise

    def read(self) -> RunState:
        """Raises UnknownRun if there is no readable state."""
        try:
            entry = json.loads((self.folder / STATE).read_text("utf-8"))
            if entry["format"] != FORMAT:
                raise UnknownRun(
                    f"the state of run {self.run_id} has format {entry['format']}, this"
                    f" version reads {FORMAT}; resume it with the version that began it"
                )
            return RunState(
                epochs_done=entry["epochs_done"],
                is_finished=entry["finished"],
                started_ms=entry["started_ms"],
                content=entry["content"],
            )
        except FileNotFoundError as error:
            raise UnknownRun(
                f"run {self.run_id} has no training state at {self.folder}; --resume "
                f"goes on with runs of this store, in the folder they were started in"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise UnknownRun(
                f"the state of run {self.run_id} at {self.folder / STATE} is damaged "
                f"({error!r}); start a new run without --resume"
            ) from error

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the state; empty before the first epoch."""
        name = self._tensors_name()
        return {} if name is None else load_file(self.folder / name)

    def rewrite(self, state: RunState) -> None:
        """Replaces the JSON alone; the tensors stay."""
        self._write_json(state, self._tensors_name())

    def write(self, state: RunState, tensors: Mapping[str, Tensor]) -> None:
        """Replaces the state. After an OSError the previous state is still there."""
        name = None
        if tensors:
            name = f"state-{state.epochs_done:04}.safetensors"
            data = save(dict(tensors))
            write_in_reserve(self.folder / name, data, self.folder / RESERVE)
        try:
            self._write_json(state, name)
        except OSError:
            if name is not None:  # the retry uses its space
                (self.folder / name).replace(self.folder / RESERVE)
            raise
        for old in self.folder.glob("state-*.safetensors"):
            if old.name != name:
                old.replace(self.folder / RESERVE)
        with contextlib.suppress(OSError):  # the next write raises it
            self._reserve_again(name)

    def clear(self) -> None:
        """Deletes what a finished run reserved. Idempotent.

        Its state stays, so that it can be trained further.
        """
        self._remove(RESERVE, PARTIAL)

    def reserve(self, size: int) -> None:
        """Reserves disk space for tensors of `size` bytes and for the JSON.

        Raises OSError if the disk is full.
        """
        take_room(self.folder / RESERVE, size)
        take_room(self.folder / PARTIAL, JSON_ROOM)

    def _tensors_name(self) -> str | None:
        name: str | None = json.loads((self.folder / STATE).read_text("utf-8"))[
            "tensors"
        ]
        return name

    def _remove(self, *names: str) -> None:
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def _reserve_again(self, name: str | None) -> None:
        """Reserves space for the next state, larger by one epoch's record."""
        take_room(
            self.folder / PARTIAL, (self.folder / STATE).stat().st_size + JSON_ROOM
        )
        if name is not None and not (self.folder / RESERVE).exists():
            take_room(self.folder / RESERVE, (self.folder / name).stat().st_size)

    def _write_json(self, state: RunState, tensors: str | None) -> None:
        entry = {
            "format": FORMAT,
            "run_id": self.run_id,
            "epochs_done": state.epochs_done,
            "finished": state.is_finished,
            "started_ms": state.started_ms,
            "tensors": tensors,
            "content": state.content,
        }
        data = json.dumps(entry).encode()
        write_in_reserve(self.folder / STATE, data, self.folder / PARTIAL)


def state_folder(store_uri: str, run_id: str) -> StateFolder:
    return StateFolder(_states(store_uri) / run_id, run_id)


def find_state(store_uri: str, run: str) -> StateFolder:
    """The state of `run`; `last` is the newest run with a readable state.

    Raises UnknownRun, which lists the runs.
    """
    folders = _folders(store_uri)
    if run == "last" and (newest := _newest(folders)):
        return newest
    for folder in folders:
        if folder.run_id == run:
            return folder
    there = ", ".join(folder.run_id for folder in folders) or "none"
    raise UnknownRun(
        f"no training state of run {run!r} below {_states(store_uri)}; there is "
        f"{there}; start one without --resume"
    )


def find_launched(store_uri: str, launch: str) -> StateFolder | None:
    """The state of the run that this launch of torchrun began; None if none is there.

    A launch is one run, however often its processes are started.
    """
    return _newest(
        _folders(store_uri), lambda state: state.content.get(LAUNCH) == launch
    )


def _folders(store_uri: str) -> list[StateFolder]:
    return [
        StateFolder(path.parent, path.parent.name)
        for path in sorted(_states(store_uri).glob(f"*/{STATE}"))
    ]


def _newest(
    folders: Sequence[StateFolder],
    is_meant: Callable[[RunState], bool] = lambda state: True,
) -> StateFolder | None:
    """The folder of the newest run that `is_meant`; unreadable ones hide no others."""
    started = {}
    for folder in folders:
        try:
            state = folder.read()
        except (UnknownRun, OSError) as error:
            logger.warning("left out run=%s: %s", folder.run_id, error)
            continue
        if is_meant(state):
            started[state.started_ms] = folder
    return started[max(started)] if started else None


def _states(store_uri: str) -> Path:
    """A local folder even if the store is a server: states are too large to send."""
    return store_folder(store_uri) / "mlruns" / "training-state"


def records_content(records: Sequence[EpochRecord]) -> dict[str, Any]:
    """The part of the state's content that grows with each epoch."""
    return {"records": _RECORDS.dump_python(list(records), mode="json")}


def answer_tensors(
    history: History, logits: NDArray[np.float32], *, epochs: int
) -> dict[str, Tensor]:
    """Top-1 answers and target probabilities of each epoch, and the last logits.

    The size is the same after each of the `epochs`.
    """
    tensors = _empty_answers(epochs=epochs, images=len(logits))
    for name, rows in (
        (FIRST_ANSWERS, history.first_answers),
        (TARGET_PROBABILITIES, history.target_probabilities),
    ):
        tensors[name].numpy()[: len(history.epochs)] = rows
    return {**tensors, LOGITS: torch.from_numpy(logits)}


def state_size(
    training_state: Mapping[str, Tensor], *, epochs: int, images: int, classes: int
) -> int:
    """Bytes of the file of an epoch's state, known before the first epoch."""
    answers = _empty_answers(epochs=epochs, images=images)
    logits = torch.empty(images, classes)
    return byte_size({**training_state, **answers, LOGITS: logits})


def _empty_answers(*, epochs: int, images: int) -> dict[str, Tensor]:
    return {
        FIRST_ANSWERS: torch.full((epochs, images), -1, dtype=torch.int32),
        TARGET_PROBABILITIES: torch.zeros(epochs, images),
    }


def read_history(content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> History:
    """The history that `records_content` and `answer_tensors` wrote."""
    records = _RECORDS.validate_python(content["records"])
    if not records:
        return History()
    done = len(records)
    # Copies: the tensors map a file into which later states are written.
    return History(
        records,
        list(tensors[FIRST_ANSWERS][:done].numpy().astype(np.int64)),
        list(tensors[TARGET_PROBABILITIES][:done].numpy().copy()),
    )


def byte_size(tensors: Mapping[str, Tensor]) -> int:
    """Size of their safetensors file, or slightly more: the header is estimated."""
    names = sum(len(name) + 120 for name in tensors)
    return names + sum(t.numel() * t.element_size() for t in tensors.values())
