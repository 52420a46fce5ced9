"""What the recipes reach: validation accuracy of named settings, over seeds.

A run's result is kept in `--work`, and so is a run that was interrupted, or stopped by
`--limit-minutes`: the same command goes on after its last whole epoch. The versions of
a finished run, 45 MB each, are not kept.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.arrange import existing_folder
from benchmarks.kept_runs import KeptRuns, Result
from benchmarks.programs import ProgramStopped
from benchmarks.report import write_table

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
            "most. The best is each run's version of highest top-1, chosen on the "
            "images it is measured on, and so a little flattered; the last is not."
            f"{origins(makers)}"
        ),
    )
    return 0


def origins(makers: Iterable[tuple[str, ...]]) -> str:
    """A sentence about who made the results, where it was not one and the same."""
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
    """The mean, and in brackets the least and most."""
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
