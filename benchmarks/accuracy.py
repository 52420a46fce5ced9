"""Validation accuracy of named settings, over seeds.

`--work` keeps the results of finished runs, and runs that were interrupted or stopped
by `--limit-minutes`; the same command resumes them after their last whole epoch. The
versions of a finished run, 45 MB each, are deleted.
"""

import argparse
import json
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.harness import machine, write_table
from benchmarks.training_programs import (
    ROOT,
    LoggedRun,
    ProgramStopped,
    existing_folder,
    read_store,
    resume_training,
    run_training,
    store_uri,
)
from classifier.datasets.dataset import part_digest
from classifier.datasets.source import open_dataset
from classifier.storage import default_cache, write_json
from classifier.store.versions import Version
from training.run.state import RunState, UnknownRun, find_state


@dataclass(frozen=True, kw_only=True)
class Result:
    """Result of one seed; accuracies are fractions."""

    last_top1: float
    last_top5: float
    best_top1: float
    best_top5: float
    best_epoch: float
    seconds: float
    """Seconds of the whole program, over all its interruptions."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """State of a run that may have been interrupted."""

    data: str
    """Digest of the images that the run began with."""

    made_by: tuple[str, ...] = ()
    """Commit and machine of the run; one entry for each change of either."""

    seconds: float = 0.0
    """Seconds so far, without processes that were killed with this program."""

    result: Result | None = None
    """None until the run is finished."""


class KeptRuns:
    """A folder with results of runs, and with stores of unfinished runs.

    A store of 200 versions takes 9 GB; it is deleted when its result is kept.
    """

    def __init__(
        self, folder: Path, *, data: Path, limit_minutes: float | None = None
    ) -> None:
        self._until = (
            None if limit_minutes is None else time.monotonic() + 60 * limit_minutes
        )
        self._folder = folder.absolute()
        self._data = data
        self._digest = _digest(data)
        self._maker = f"commit {_commit()} on {machine()}"

    def result(self, setting: str, seed: int) -> tuple[Result, tuple[str, ...]]:
        """The result, and the commits and machines that made it.

        The run is read if it is kept, resumed if it was interrupted, else started. A
        run on other images is started again. Raises ProgramStopped when the time is
        over; the next call resumes after the last whole epoch.
        """
        name = f"{setting.replace('--', '').replace(' ', '-')}-seed-{seed}"
        begun, kept = self._folder / name, self._folder / f"{name}.json"
        progress = _read(kept)
        if progress is None or progress.data != self._digest or not progress.result:
            progress = self._train(begun, [*shlex.split(setting), "--seed", str(seed)])
            _write(kept, progress)
        shutil.rmtree(begun, ignore_errors=True)
        assert progress.result is not None
        return progress.result, progress.made_by

    def _train(self, folder: Path, flags: list[str]) -> Progress:
        store, note = folder / "store", folder / "progress.json"
        progress, state = _read(note), _state(store)
        if state is None or progress is None or progress.data != self._digest:
            shutil.rmtree(folder, ignore_errors=True)
            progress, state = Progress(data=self._digest), None
        if self._maker not in progress.made_by:
            progress = replace(progress, made_by=(*progress.made_by, self._maker))
        _write(note, progress)
        started = time.monotonic()
        try:
            if state is None:
                logged = run_training(
                    self._data, *flags, store=store, until=self._until
                )
            elif state.is_finished:
                logged = read_store(store)
            else:
                logged = resume_training(store, until=self._until)
        finally:
            seconds = progress.seconds + time.monotonic() - started
            progress = replace(progress, seconds=seconds)
            _write(note, progress)
        return replace(progress, result=_result(logged, seconds))


def _digest(data: Path) -> str:
    """Digest of both parts, 10 s for Tiny ImageNet; a version has that of `val`."""
    dataset = open_dataset(str(data), cache=default_cache(), want_train=True)
    assert dataset.train is not None
    return "-".join(part_digest(part)[:32] for part in (dataset.train, dataset.val))


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short=10", "HEAD"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _state(store: Path) -> RunState | None:
    """State of the store's run; None if the run ended before it saved one."""
    try:
        return find_state(store_uri(store), "last").read()
    except UnknownRun:
        return None


def _result(logged: LoggedRun, seconds: float) -> Result:
    versions = logged.registry.versions(logged.registry.model_name(None))
    last = max(versions, key=_epoch)
    best = max(versions, key=lambda version: (_top(version, 1), -_epoch(version)))
    return Result(
        last_top1=_top(last, 1),
        last_top5=_top(last, 5),
        best_top1=_top(best, 1),
        best_top5=_top(best, 5),
        best_epoch=_epoch(best),
        seconds=seconds,
    )


def _epoch(version: Version) -> int:
    return int(version.tags["epoch"])


def _top(version: Version, k: int) -> float:
    return float(version.tags[f"val_top{k}_accuracy"])


def _read(file: Path) -> Progress | None:
    """The kept result; None if there is none, or if its format is older."""
    if not file.is_file():
        return None
    entry = json.loads(file.read_text())
    if "data" not in entry:
        return None
    result = entry["result"] and Result(**entry["result"])
    made_by = tuple(entry["made_by"])
    return Progress(**entry | {"result": result, "made_by": made_by})


def _write(file: Path, progress: Progress) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, asdict(progress))


SETTINGS = {
    "cpu": (
        "--device cpu --per-class 100 --epochs 8 --recipe plain",
        "--device cpu --per-class 100 --epochs 8 --recipe strong",
    ),
    "gpu16": (
        "--device cuda --epochs 16 --stem imagenet --recipe strong",
        "--device cuda --epochs 16 --stem small --recipe strong",
    ),
    "gpu50": ("--device cuda --epochs 50 --stem small --recipe strong",),
    "gpu200": ("--device cuda --epochs 200 --stem small --recipe strong",),
}

NOT_NOW = 3


def main() -> int:
    arguments = _arguments()
    runs = KeptRuns(
        arguments.work, data=arguments.data, limit_minutes=arguments.limit_minutes
    )
    rows, makers = [], []
    try:
        for setting in SETTINGS[arguments.set]:
            results = [runs.result(setting, seed) for seed in arguments.seeds]
            rows.append((f"`{setting}`", *_cells([result for result, _ in results])))
            makers += [made_by for _, made_by in results]
    except ProgramStopped as stopped:
        print(f"{stopped}; run the same command again", file=sys.stderr)
        return NOT_NOW
    write_table(
        f"Accuracy, {arguments.set}",
        (
            "setting",
            "last top-1",
            "last top-5",
            "best top-1",
            "top-5 of the best",
            "best epoch",
            "seconds",
        ),
        rows,
        note=(
            f"{arguments.data.name}, validation images, seeds "
            f"{', '.join(map(str, arguments.seeds))}: means, in brackets the least and "
            "most. The best is each run's version of highest top-1. It is chosen on "
            "the images it is measured on, so its accuracy is a little too high; that "
            "of the last version is not."
            f"{origins(makers)}"
        ),
    )
    return 0


def origins(makers: Iterable[tuple[str, ...]]) -> str:
    """A sentence about commits and machines, if the results have several."""
    each = sorted({maker for made_by in makers for maker in made_by})
    return "" if len(each) < 2 else f" Made by {', and by '.join(each)}."


def _cells(results: list[Result]) -> list[str]:
    return [
        *(
            _spread([getattr(result, name) for result in results], "{:.2%}".format)
            for name in ("last_top1", "last_top5", "best_top1", "best_top5")
        ),
        _spread([result.best_epoch for result in results], "{:.0f}".format),
        _spread([result.seconds for result in results], "{:.0f}".format),
    ]


def _spread(values: list[float], text: Callable[[float], str]) -> str:
    """The mean, with the least and the greatest value in brackets."""
    mean = text(statistics.mean(values))
    if len(values) == 1:
        return mean
    return f"{mean} ({text(min(values))} to {text(max(values))})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=_data, required=True, metavar="FOLDER|digits")
    add("--set", choices=tuple(SETTINGS), required=True)
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--work", type=Path, required=True, help="folder for runs and results")
    add(
        "--limit-minutes",
        type=float,
        metavar="N",
        help="then stop, keep the last whole epoch, and exit with 3",
    )
    return parser.parse_args()


def _data(text: str) -> Path:
    return Path(text) if text == "digits" else existing_folder(text)


if __name__ == "__main__":
    sys.exit(main())
