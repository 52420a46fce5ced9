"""Training against conventional training: the same network, batches and images.

`--device cpu` measures a part of the data, `--device cuda` all of it. Both programs run
alternately, in stores of their own, on one folder of links.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import has_table, write_table
from benchmarks.training_programs import (
    Cost,
    arrange,
    count_images,
    existing_folder,
    run_conventional,
    run_training,
    training_cost,
)
from classifier.hardware import usable_cores

UNKNOWN = "not measured: the run does not log it"


@dataclass(frozen=True)
class Round:
    """One round: both programs, one after the other."""

    ours: Cost
    theirs: Cost


def rate_row(
    label: str, rounds: list[Round], of: Callable[[Cost], float], wanted: str = ""
) -> tuple[str, ...]:
    ratios = [of(round_.ours) / of(round_.theirs) for round_ in rounds]
    return (
        label,
        f"{statistics.median(of(round_.ours) for round_ in rounds):,.0f}",
        f"{statistics.median(of(round_.theirs) for round_ in rounds):,.0f}",
        f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})",
        wanted and f"at least {wanted}",
    )


def publishing_rows(rounds: list[Round], *, wanted: str) -> list[tuple[str, ...]]:
    """Shares of an epoch's wall time."""
    kinds: list[tuple[str, Callable[[Cost], float | None], str]] = [
        ("training stood still for publishing", lambda c: c.waiting_seconds, wanted),
        ("logging and publishing were busy", lambda c: c.publishing_seconds, ""),
        (
            "all that is not training steps",
            lambda c: c.epoch_seconds - c.training_seconds,
            "",
        ),
    ]
    return [
        (
            f"{label}, share of time",
            _share([round_.ours for round_ in rounds], seconds),
            _share([round_.theirs for round_ in rounds], seconds),
            "",
            goal,
        )
        for label, seconds, goal in kinds
    ]


def _share(costs: list[Cost], seconds: Callable[[Cost], float | None]) -> str:
    shares = [
        value / cost.epoch_seconds
        for cost in costs
        if (value := seconds(cost)) is not None
    ]
    return f"{statistics.median(shares):.1%}" if shares else UNKNOWN


def first_step_row(rounds: list[Round]) -> tuple[str, ...]:
    """Medians of the rounds after the first, which fills the caches."""
    cells = []
    for costs in ([r.ours for r in rounds[1:]], [r.theirs for r in rounds[1:]]):
        seconds = [
            cost.first_step_seconds
            for cost in costs
            if cost.first_step_seconds is not None
        ]
        cells.append(f"{statistics.median(seconds):.1f}" if seconds else UNKNOWN)
    if len(rounds) < 2:
        cells = ["not measured: takes two rounds"] * 2
    return ("start to first step, cache warm, s", *cells, "", "at most 5")


HEADER = ("", "flipside", "conventional", "ratio", "wanted")
CPU_TITLE = "Training on a CPU"
GPU_TITLE = "Training on one GPU"
NETWORK = "resnet18"
"""The one under these titles, and with a small stem; others are named behind them."""

CPU_DEFAULTS = {"per_class": 20, "val_per_class": 10, "epochs": 5}
GPU_DEFAULTS = {"epochs": 16}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Size of a benchmark; a whole one stays below 12 minutes on two cores."""

    data: Path
    device: str
    arch: str
    per_class: int | None
    val_per_class: int | None
    epochs: int
    conventional_epochs: int
    rounds: int
    batch_size: int
    workers: int
    steps_limit: int | None

    def __post_init__(self) -> None:
        if min(self.epochs, self.conventional_epochs) < 2:
            raise ValueError("epochs must be at least 2: the first is left out")

    def common(self) -> tuple[str, ...]:
        return (
            *("--device", self.device, "--arch", self.arch),
            *("--batch-size", str(self.batch_size)),
        )

    def title(self) -> str:
        title = CPU_TITLE if self.device == "cpu" else GPU_TITLE
        return title if self.arch == NETWORK else f"{title}, {self.arch}"


def main() -> None:
    plan = _plan()
    if plan.device == "cpu":
        _measure_cpu(plan)
        if not torch.cuda.is_available() and not has_table(GPU_TITLE):
            _say_no_gpu()
    elif torch.cuda.is_available():
        _measure_gpu(plan)
    else:
        _say_no_gpu()


def _measure_cpu(plan: Plan) -> None:
    with _workplace(plan) as (data, work):
        rounds = _rounds(plan, data, work, stem="imagenet")
    write_table(
        plan.title(),
        HEADER,
        [
            rate_row("training alone, images/s", rounds, lambda c: c.training_rate),
            rate_row("whole epochs, images/s", rounds, lambda c: c.epoch_rate, "2.2"),
            *publishing_rows(rounds, wanted="at most 3 %"),
            first_step_row(rounds),
        ],
        note=_note(plan, data_images=rounds[0].ours.images),
    )


def _measure_gpu(plan: Plan) -> None:
    with _workplace(plan) as (data, work):
        rounds = _rounds(plan, data, work, stem="imagenet")
        images = rounds[0].ours.images
        small = (
            [_train(plan, data, work / "small", stem="small", images=images)]
            if plan.arch == NETWORK
            else []
        )
    whole = "whole epochs, images/s, --stem"
    wanted = "60,000 and 10"
    write_table(
        plan.title(),
        HEADER,
        [
            rate_row("training alone, images/s", rounds, lambda c: c.training_rate),
            rate_row(f"{whole} imagenet", rounds, lambda c: c.epoch_rate, wanted),
            *(
                (f"{whole} small", f"{cost.epoch_rate:,.0f}", "", "", "15,000")
                for cost in small
            ),
            *publishing_rows(rounds, wanted="at most 10 %"),
            first_step_row(rounds),
        ],
        note=_note(plan, data_images=images),
    )


def _say_no_gpu() -> None:
    rows = [
        (f"whole epochs, images/s, --stem {stem}", "not measured: no GPU", "", "", goal)
        for stem, goal in (("imagenet", "60,000 and 10"), ("small", "15,000"))
    ]
    write_table(GPU_TITLE, HEADER, rows)


@contextmanager
def _workplace(plan: Plan) -> Iterator[tuple[Path, Path]]:
    """Yield the folder of links and one for stores; both are deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="flipside-bench-") as folder:
        work = Path(folder)
        data = arrange(
            str(plan.data),
            work / "data",
            per_class=plan.per_class,
            val_per_class=plan.val_per_class,
        )
        yield data, work


def _rounds(plan: Plan, data: Path, work: Path, *, stem: str) -> list[Round]:
    images = count_images(data / "train")
    rounds = []
    for number in range(1, plan.rounds + 1):
        ours = _train(plan, data, work / f"ours-{number}", stem=stem, images=images)
        theirs = run_conventional(
            data,
            *plan.common(),
            *("--epochs", str(plan.conventional_epochs)),
            *("--workers", str(plan.workers)),
            *(("--steps-limit", str(plan.steps_limit)) if plan.steps_limit else ()),
            store=work / f"theirs-{number}",
        )
        rounds.append(Round(ours, theirs))
    return rounds


def _train(plan: Plan, data: Path, store: Path, *, stem: str, images: int) -> Cost:
    logged = run_training(
        data,
        *plan.common(),
        *("--epochs", str(plan.epochs), "--recipe", "plain", "--stem", stem),
        *("--cache", str(store.parent / "cache")),
        store=store,
    )
    return training_cost(logged, images=images)


def _note(plan: Plan, *, data_images: int) -> str:
    limit = f", {plan.steps_limit} steps an epoch" if plan.steps_limit else ""
    return (
        f"{plan.arch}, batches of {plan.batch_size}, {data_images:,} images an epoch, "
        f"no augmentation; flipside {plan.epochs} epochs in its default precision, "
        f"conventional {plan.conventional_epochs} in fp32 with {plan.workers} workers"
        f"{limit}; medians of {plan.rounds} alternate rounds, ratios with their least "
        "and most. The first epoch of each run is left out; flipside's whole epochs "
        "run from the end of the first to the registration of the last version. Work "
        "that is done once, before the first step and after the last version "
        "(diagnosis, pictures), is in no rate and no share."
    )


def _plan() -> Plan:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=existing_folder, required=True, metavar="FOLDER")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--arch", default=NETWORK, help="a network of torchvision; default %(default)s")
    add("--per-class", type=int, help="default 20 on a CPU, all on a GPU")
    add("--val-per-class", type=int, help="default 10 on a CPU, all on a GPU")
    add("--epochs", type=int, help="flipside's; default 5 on a CPU, 16 on a GPU")
    add("--conventional-epochs", type=int, default=3)
    add("--rounds", type=int, default=2)
    add("--batch-size", type=int, default=256)
    add("--workers", type=int, default=min(16, usable_cores()), help="DataLoader's")
    add("--steps-limit", type=int, help="of a conventional epoch")
    given: dict[str, Any] = vars(parser.parse_args())
    defaults = CPU_DEFAULTS if given["device"] == "cpu" else GPU_DEFAULTS
    absent = {name: value for name, value in defaults.items() if given[name] is None}
    try:
        return Plan(**{**given, **absent})
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
