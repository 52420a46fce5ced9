"""What the recipes reach: validation accuracy of named settings, over seeds.

A run's result is kept in `--work`, so that what was interrupted, or has to be done in
pieces, goes on where it stopped; its versions, 45 MB each, are not.
"""

import argparse
import json
import shlex
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.arrange import existing_folder
from benchmarks.programs import run_training
from benchmarks.report import write_table
from classifier.versions import Version

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


@dataclass(frozen=True, kw_only=True)
class Result:
    """Of one seed; accuracies are fractions."""

    last_top1: float
    last_top5: float
    best_top1: float
    best_top5: float
    best_epoch: float
    seconds: float
    """Of the whole program."""


def main() -> None:
    arguments = _arguments()
    rows = []
    for setting in SETTINGS[arguments.set]:
        results = [
            _result(setting, seed, data=arguments.data, work=arguments.work)
            for seed in arguments.seeds
        ]
        rows.append((f"`{setting}`", *_cells(results)))
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
            "most. The best is each run's version of highest top-1, chosen on the "
            "images it is measured on, and so a little flattered; the last is not."
        ),
    )


def _result(setting: str, seed: int, *, data: Path, work: Path) -> Result:
    """As kept in `work`, or run now."""
    kept = work / f"{setting.replace('--', '').replace(' ', '-')}-seed-{seed}.json"
    if not kept.is_file():
        result = _run(setting, seed, data)
        work.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(asdict(result)))
    return Result(**json.loads(kept.read_text()))


def _run(setting: str, seed: int, data: Path) -> Result:
    with tempfile.TemporaryDirectory(prefix="flipside-bench-") as folder:
        started = time.perf_counter()
        logged = run_training(
            data,
            *(*shlex.split(setting), "--seed", str(seed)),
            store=Path(folder) / "store",
        )
        seconds = time.perf_counter() - started
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
    """The mean, and in brackets the least and most."""
    mean = text(statistics.mean(values))
    if len(values) == 1:
        return mean
    return f"{mean} ({text(min(values))} to {text(max(values))})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=existing_folder, required=True, metavar="FOLDER")
    add("--set", choices=tuple(SETTINGS), required=True)
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--work", type=Path, required=True, help="folder for the results of runs")
    return parser.parse_args()


if __name__ == "__main__":
    main()
