"""A run's state: replaced whole, in room that was taken beforehand."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from classifier.store.location import StoreUnavailable
from training.run.state import (
    RunState,
    StateFolder,
    UnknownRun,
    byte_size,
    find_state,
    state_folder,
)

STATE = RunState(epochs_done=0, is_finished=False, started_ms=5, content={"lr": 0.1})


def _tensors(value: float) -> dict[str, Tensor]:
    return {"a": torch.full((300, 100), value), "b": torch.tensor(7)}


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    """As a run has it that was begun and has its first epoch yet to come."""
    (tmp_path / "r1").mkdir()
    folder = StateFolder(tmp_path / "r1", "r1")
    folder.write(STATE, {})
    folder.reserve(byte_size(_tensors(0)))
    return folder


def _write(folder: StateFolder, epoch: int) -> None:
    folder.write(replace(STATE, epochs_done=epoch), _tensors(epoch))


def _files(folder: StateFolder) -> set[str]:
    return {path.name for path in folder.folder.iterdir()}


ROOM = {"reserve", "state.json.partial"}


@contextmanager
def _no_file_beyond(size: int) -> Iterator[None]:
    """Of this process; RLIMIT_FSIZE, whose signal Python ignores."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


def test_the_state_after_the_last_epoch_is_read_as_it_was_written(
    folder: StateFolder,
) -> None:
    assert (folder.read(), folder.tensors()) == (STATE, {})

    for epoch in (1, 2):
        _write(folder, epoch)

    assert folder.read() == replace(STATE, epochs_done=2)
    assert {name: t.tolist() for name, t in folder.tensors().items()} == {
        name: t.tolist() for name, t in _tensors(2).items()
    }
    assert _files(folder) == {"state.json", "state-0002.safetensors", *ROOM}


def test_who_dies_between_tensors_and_json_leaves_the_state_before(
    folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Death(BaseException):
        pass

    def die(*_: object) -> None:
        raise Death

    _write(folder, 1)
    with monkeypatch.context() as patch:
        patch.setattr(StateFolder, "_write_json", die)
        with pytest.raises(Death):
            _write(folder, 2)

    assert folder.read().epochs_done == 1
    assert folder.tensors()["a"][0, 0] == 1
    _write(folder, 2)
    assert folder.tensors()["a"][0, 0] == 2
    assert _files(folder) == {"state.json", "state-0002.safetensors", *ROOM}


def test_writing_needs_no_room_that_was_not_taken(folder: StateFolder) -> None:
    """The blocks written to are those of the reserve: its inodes take turns."""
    for epoch in range(1, 5):
        reserves = {(folder.folder / name).stat().st_ino for name in ROOM}
        _write(folder, epoch)
        written = {
            (folder.folder / name).stat().st_ino
            for name in ("state.json", f"state-{epoch:04}.safetensors")
        }
        assert written == reserves

    size = (folder.folder / "state-0004.safetensors").stat().st_size
    assert 512 * (folder.folder / "reserve").stat().st_blocks >= size
    assert byte_size(_tensors(0)) <= size + 1000


def test_what_cannot_be_written_leaves_the_state_before_and_is_written_later(
    folder: StateFolder,
) -> None:
    _write(folder, 1)
    with _no_file_beyond(100_000), pytest.raises(OSError, match="too large"):
        _write(folder, 2)

    assert folder.read().epochs_done == 1
    assert folder.tensors()["a"][0, 0] == 1
    _write(folder, 2)
    assert folder.read().epochs_done == 2
    assert _files(folder) == {"state.json", "state-0002.safetensors", *ROOM}


def test_a_disk_without_room_is_told_before_the_first_step(folder: StateFolder) -> None:
    with _no_file_beyond(200_000), pytest.raises(OSError, match="too large"):
        folder.reserve(300_000)


def test_json_that_cannot_be_written_gives_the_tensors_room_back(
    folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    _write(folder, 1)
    reserve = (folder.folder / "reserve").stat().st_ino
    with monkeypatch.context() as patch:
        patch.setattr(StateFolder, "_write_json", fail)
        with pytest.raises(OSError, match="no space"):
            _write(folder, 2)

    assert (folder.folder / "reserve").stat().st_ino == reserve
    assert folder.read().epochs_done == 1


def test_a_finished_run_keeps_its_state_and_reserves_nothing(
    folder: StateFolder,
) -> None:
    _write(folder, 1)
    before = folder.tensors()

    folder.rewrite(replace(STATE, epochs_done=1, is_finished=True))
    folder.clear()

    assert folder.read().is_finished
    assert folder.tensors().keys() == before.keys()
    assert _files(folder) == {"state.json", "state-0001.safetensors"}


def test_one_process_holds_a_run_and_finds_its_workspace_empty(
    folder: StateFolder,
) -> None:
    (folder.workspace / "left").mkdir(parents=True)

    with folder.hold():
        assert list(folder.workspace.iterdir()) == []
        with (
            pytest.raises(StoreUnavailable, match="r1 is being trained by another"),
            folder.hold(),
        ):
            pass
    with folder.hold():
        pass

    assert not folder.workspace.exists()


def test_the_last_run_is_the_one_that_was_started_last(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with pytest.raises(UnknownRun, match="there is none; start one without --resume"):
        find_state(uri, "last")
    for run_id, started_ms in (("b", 3), ("c", 9), ("a", 5)):
        folder = state_folder(uri, run_id)
        folder.folder.mkdir(parents=True)
        folder.write(replace(STATE, started_ms=started_ms), {})
    (state_folder(uri, "d").folder).mkdir()  # a run that died before its first write

    assert find_state(uri, "last").run_id == "c"
    assert find_state(uri, "a").run_id == "a"
    with pytest.raises(UnknownRun, match=r"of run 'd' below .*; there is a, b, c; "):
        find_state(uri, "d")


def test_a_state_of_another_format_is_refused(folder: StateFolder) -> None:
    path = folder.folder / "state.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))

    with pytest.raises(UnknownRun, match="has format 2, this version reads 1"):
        folder.read()


def test_a_state_that_cannot_be_read_does_not_hide_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    for run_id, text in (("a", "{"), ("b", "{}"), ("c", "[]"), ("d", '{"format": 0}')):
        folder = state_folder(uri, run_id).folder
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(text)
    with pytest.raises(UnknownRun, match=r"'last' below .*; there is a, b, c, d; "):
        find_state(uri, "last")
    whole = state_folder(uri, "e")
    whole.folder.mkdir()
    whole.write(STATE, {})

    caplog.clear()
    assert find_state(uri, "last").run_id == "e"
    assert len(caplog.records) == 4
    with pytest.raises(UnknownRun, match=r"state of run a at .* is damaged"):
        find_state(uri, "a").read()


def test_whatever_ends_a_run_gives_its_room_back(folder: StateFolder) -> None:
    _write(folder, 1)

    with pytest.raises(KeyboardInterrupt), folder.release_reserve_on_error():
        raise KeyboardInterrupt

    assert _files(folder) == {"state.json", "state-0001.safetensors"}
    assert folder.tensors()["a"][0, 0] == 1
    folder.reserve(byte_size(_tensors(0)))
    _write(folder, 2)
    assert _files(folder) == {"state.json", "state-0002.safetensors", *ROOM}
