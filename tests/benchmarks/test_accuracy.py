"""Results of runs: kept, resumed, made again for other images, and their makers."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import accuracy
from benchmarks.accuracy import KeptRuns, origins
from benchmarks.training_programs import (
    LoggedRun,
    ProgramStopped,
    read_store,
    store_uri,
)
from tests.conftest import encoded, picture
from training.__main__ import main
from training.optimization.trainer import Trainer


def test_a_note_names_commits_and_machines_if_there_are_several() -> None:
    assert origins([("commit 1 on A",), ("commit 1 on A",)]) == ""
    assert origins([("commit 2 on A",), ("commit 1 on A", "commit 1 on B")]) == (
        " Made by commit 1 on A, and by commit 1 on B, and by commit 2 on A."
    )


SETTING = (
    "--arch tiny --image-size 16 --epochs 3 --batch-size 128 --device cpu "
    "--precision fp32"
)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Train in this process, which is faster; the first argument of each run."""
    began: list[str] = []

    def run(arguments: list[str], store: Path) -> LoggedRun:
        began.append(arguments[0])
        store.mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", store_uri(store))
        if main(arguments) == 130:
            raise ProgramStopped("stopped")
        return read_store(store)

    def begin(data: Path, *flags: str, store: Path, until: float | None) -> LoggedRun:
        return run(["--data", str(data), *flags], store)

    def resume(store: Path, *, until: float | None) -> LoggedRun:
        return run(["--resume", "last"], store)

    # Pictures take 3 s, and no result depends on them.
    monkeypatch.setattr("training.reports.plots.draw_pictures", lambda *_, **__: None)
    monkeypatch.setattr(accuracy, "run_training", begin)
    monkeypatch.setattr(accuracy, "resume_training", resume)
    return began


def _stop_before(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run_epoch = Trainer.run_epoch

    def stop(self: Trainer, number: int) -> Any:
        if number == epoch:
            raise KeyboardInterrupt
        return run_epoch(self, number)

    monkeypatch.setattr(Trainer, "run_epoch", stop)


def test_a_resumed_run_has_the_result_of_an_uninterrupted_one(
    here: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, work = Path("digits"), tmp_path / "pieces"
    whole, _ = KeptRuns(tmp_path / "whole", data=data).result(SETTING, 0)

    with monkeypatch.context() as patch:
        _stop_before(2, patch)
        with pytest.raises(ProgramStopped):
            KeptRuns(work, data=data).result(SETTING, 0)
    result, _ = KeptRuns(work, data=data).result(SETTING, 0)

    assert here == ["--data", "--data", "--resume"]
    for name in ("last_top1", "last_top5", "best_top1", "best_top5", "best_epoch"):
        assert getattr(result, name) == getattr(whole, name), name
    (left,) = work.iterdir()
    assert left.suffix == ".json"


def test_a_finished_run_without_a_kept_result_is_read_and_not_run_again(
    here: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(accuracy, "_result", die)
        with pytest.raises(KeyboardInterrupt):
            KeptRuns(tmp_path, data=Path("digits")).result(SETTING, 0)
    result, _ = KeptRuns(tmp_path, data=Path("digits")).result(SETTING, 0)

    assert here == ["--data"]
    assert 0 < result.best_top1 <= 1


def test_a_kept_result_is_made_again_for_other_images(
    here: list[str], folders: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"

    for _ in range(2):
        KeptRuns(work, data=folders).result(SETTING, 0)
    (folders / "train" / "rose" / "0.png").write_bytes(encoded(picture(seed=5), "PNG"))
    for _ in range(2):
        KeptRuns(work, data=folders).result(SETTING, 0)

    assert here == ["--data", "--data"]


def test_commit_and_machine_are_kept_with_a_result(
    here: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for commit, epoch in (("1", 2), ("2", 3), ("2", 9)):
        with monkeypatch.context() as patch:
            patch.setattr(accuracy, "_commit", lambda commit=commit: commit)
            patch.setattr(accuracy, "machine", lambda: "a machine")
            runs = KeptRuns(tmp_path, data=Path("digits"))
            _stop_before(epoch, patch)
            if epoch < 9:
                with pytest.raises(ProgramStopped):
                    runs.result(SETTING, 0)
    _, made_by = runs.result(SETTING, 0)

    assert made_by == ("commit 1 on a machine", "commit 2 on a machine")
