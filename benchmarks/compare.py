"""Time of a comparison, against the networks alone and against a script's loop.

The service and the client share the cores that the networks alone have. Each round
measures the networks, a comparison, and the networks again; a ratio is of what was
measured at nearly the same time.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # `python benchmarks/compare.py`: this file would hide compare/
    sys.path[0] = str(Path(__file__).parents[1])

from benchmarks.comparing import (
    BothNetworks,
    Spent,
    Spread,
    ask_by_hand,
    core_seconds,
    running_service,
    write_comparison,
)
from benchmarks.contestants import PEERS, Contest
from benchmarks.harness import WatchedRun, watch, write_table
from benchmarks.servers import Launch, running
from benchmarks.training_programs import existing_folder
from classifier.bundle.files import Bundle, read_bundle
from classifier.datasets.source import open_dataset
from classifier.store.location import sqlite_file, store_uri
from classifier.store.registry import Registry

HEADER = ("", "measured", "least and most", "wanted")
GROWTH_HEADER = ("answers", "seconds", "ms per answer", "memory, MB")


ENGINES_HEADER = (
    *("", "images/s a core", "of the networks alone", "core-seconds to start"),
    "wanted",
)
HTTP, RAY = "by HTTP, a service of its own", "--engine ray"


@dataclass(frozen=True)
class Round:
    """One round: all contestants, one after the other."""

    bare: Spent
    """Mean of the measurements before and after."""

    compared: WatchedRun
    redrawn: WatchedRun
    by_hand_seconds: float
    """Seconds for as many images as were compared, at the rate of BY_HAND images."""

    from_flask_seconds: float
    """The same with a Flask server written by hand."""


def comparison_rows(rounds: Sequence[Round]) -> list[tuple[str, ...]]:
    bare = [one.bare for one in rounds]
    whole = [one.compared for one in rounds]
    asking = [_asking_seconds(run) for run in whole]
    return [
        _row("the networks alone, s", [b.seconds for b in bare], "{:.1f}"),
        _row("the whole command, s", [run.seconds for run in whole], "{:.1f}"),
        _row(
            "the whole command, of the networks alone",
            [run.seconds / b.seconds for run, b in zip(whole, bare, strict=True)],
            "{:.2f}",
            "at most 1.20",
        ),
        _row(
            "first to last answer, of the networks alone",
            [seconds / b.seconds for seconds, b in zip(asking, bare, strict=True)],
            "{:.2f}",
        ),
        _row(
            "start of the command to its first answers, s",
            [run.first_line_at or 0.0 for run in whole],
            "{:.1f}",
        ),
        _row(
            "last answer to the end, s",
            [run.seconds - (run.last_line_at or 0.0) for run in whole],
            "{:.1f}",
        ),
        _row(
            "core-seconds of service and client, of the networks alone",
            [r.cpu_seconds / b.cpu_seconds for r, b in zip(whole, bare, strict=True)],
            "{:.2f}",
        ),
        _row(
            "memory of the client, MB",
            [run.peak_bytes / 1e6 for run in whole],
            "{:.0f}",
            "at most 400",
        ),
        _row(
            "all reports from kept answers, s",
            [one.redrawn.seconds for one in rounds],
            "{:.1f}",
            "at most 6",
        ),
        _row(
            "a script's loop, times as long",
            [one.by_hand_seconds / one.compared.seconds for one in rounds],
            "{:.1f}",
            "at least 5",
        ),
        _row(
            "a script's loop and a Flask server by hand, times as long",
            [one.from_flask_seconds / one.compared.seconds for one in rounds],
            "{:.1f}",
            "at least 5",
        ),
    ]


def _row(
    name: str, values: Sequence[float], form: str, wanted: str = ""
) -> tuple[str, ...]:
    ends = f"{form.format(min(values))} to {form.format(max(values))}"
    return name, form.format(statistics.median(values)), ends, wanted


def growth_rows(grown: Mapping[int, WatchedRun]) -> list[tuple[str, ...]]:
    return [
        (
            f"{images:,}",
            f"{run.seconds:.1f}",
            f"{1000 * run.seconds / images:.3f}",
            f"{run.peak_bytes / 1e6:.0f}",
        )
        for images, run in grown.items()
    ]


def _asking_seconds(run: WatchedRun) -> float:
    """Seconds from the first batch's answers to the last's."""
    if run.first_line_at is None or run.last_line_at is None:
        return 0.0
    return run.last_line_at - run.first_line_at


def engine_rows(bare: float, spent: Mapping[str, Spread]) -> list[tuple[str, ...]]:
    """`bare` is the networks' own core-seconds an image."""
    rows: list[tuple[str, ...]] = [
        ("the networks alone", f"{1 / bare:.0f}", "1.00", "", "")
    ]
    for name, spread in spent.items():
        each = spread.each
        wanted = "at least 0.85" if name == RAY else ""
        start = f"{spread.at_start:.0f}"
        rows.append((name, f"{1 / each:.0f}", f"{bare / each:.2f}", start, wanted))
    return rows


BY_HAND = 400
"""Images that the script's loop sends to each version."""

MADE_UP = (1_000, 10_000, 100_000)
"""Numbers of answers in the folders that are drawn again."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    store: str
    model: str | None
    a: str
    b: str
    data: Path
    rounds: int
    more: int
    only_engines: bool


def main() -> None:
    plan = _plan()
    with tempfile.TemporaryDirectory(prefix="flipside-bench-") as work:
        _compare_engines(plan, Path(work))
    if plan.only_engines:
        return
    with tempfile.TemporaryDirectory(prefix="flipside-bench-") as work:
        rounds = _measure(plan, Path(work))
        grown = _grow(Path(work))
    images = rounds[0].compared.lines
    load = os.getloadavg()[2]
    note = (
        f"{images:,} images, {plan.a} and {plan.b} of one model, {plan.rounds} rounds; "
        "medians, ratios of what was measured at nearly the same time. `python -m "
        "compare` starts its own service, asks, probes, measures latency and draws all "
        "reports; the networks alone are ONNX Runtime in one process, batches of 32, "
        "images decoded before. The script calls requests.post() with one image "
        f"after the other, {BY_HAND} by each version, of this project's service and of "
        "Flask with torch under gunicorn (benchmarks/peers/flask_app.py). Load of the "
        f"machine over the last 15 minutes: {load:.1f}."
    )
    write_table("Compare", HEADER, comparison_rows(rounds), note=note)
    write_table(
        "Compare as the answers grow",
        GROWTH_HEADER,
        growth_rows(grown),
        note="`--from` over made-up answers by 200 classes, without pictures; memory "
        "is the process's highest.",
    )


def _compare_engines(plan: Plan, work: Path) -> None:
    """Both ways to the same answers, and the networks alone."""
    few, more = plan.more // 5, plan.more
    files = open_dataset(str(plan.data), cache=work, want_train=False).val.files
    bare = BothNetworks(_bundles(plan), files[:more]).measure().cpu_seconds / more
    spent = {}
    for name, engine in ((HTTP, "http"), (RAY, "ray")):
        seconds = [
            core_seconds(
                [
                    *_arguments(plan, work / f"{engine}-{images}"),
                    *("--engine", engine, "--limit", str(images)),
                ],
                {"MLFLOW_TRACKING_URI": plan.store},
            )
            for images in (few, more)
        ]
        spent[name] = Spread(few, more, *seconds)
    load = os.getloadavg()[2]
    note = (
        f"{plan.a} and {plan.b}; core-seconds of a command with all its processes, for "
        f"{few:,} and for {more:,} images: the difference is what an image more takes, "
        "with decoding, kept answers, image statistics and reports. The networks alone "
        "have images that are decoded. Shards ask as the first row does. Load of the "
        f"machine over the last 15 minutes: {load:.1f}."
    )
    rows = engine_rows(bare, spent)
    write_table("Compare without HTTP", ENGINES_HEADER, rows, note=note)


def _bundles(plan: Plan) -> list[Bundle]:
    registry = Registry(plan.store)
    model = registry.model_name(plan.model)
    versions = [registry.resolve(model, asked) for asked in (plan.a, plan.b)]
    return [read_bundle(registry.fetch(version)) for version in versions]


def _measure(plan: Plan, work: Path) -> list[Round]:
    model = Registry(plan.store).model_name(plan.model)
    bundles = _bundles(plan)
    files = open_dataset(str(plan.data), cache=work, want_train=False).val.files
    networks = BothNetworks(bundles, files)
    rounds = []
    for number in range(plan.rounds):
        before = networks.measure()
        folder = work / f"round-{number}"
        compared = _compare(plan, folder)
        after = networks.measure()
        redrawn = watch(["-m", "compare", "--from", str(folder)])
        some = files[:BY_HAND]
        every = len(files) / len(some)
        flask = PEERS["flask"](
            Contest(store=plan.store, model=model, bundle=bundles[0].folder, work=work)
        )
        rounds.append(
            Round(
                bare=_mean(before, after),
                compared=compared,
                redrawn=redrawn,
                by_hand_seconds=every * _by_hand(plan, some),
                from_flask_seconds=every * _from_flask(flask, some, work),
            )
        )
    return rounds


def _by_hand(plan: Plan, files: Sequence[Path]) -> float:
    """Seconds of a script's loop over both versions of this project's service."""
    asked = [plan.a, plan.b]
    with running_service(plan.store, asked) as url:
        return sum(
            ask_by_hand(f"{url}/predict?version={version}", files, field="image")
            for version in asked
        )


def _from_flask(launch: Launch, files: Sequence[Path], work: Path) -> float:
    """Seconds of the loop for two versions of a server that serves one version."""
    probe = files[0].read_bytes()
    with running(launch, log=work / "flask.log", probe=probe) as server:
        return 2 * ask_by_hand(server.launch.url, files, field="file")


def _compare(plan: Plan, folder: Path) -> WatchedRun:
    return watch(
        _arguments(plan, folder),
        environment={"MLFLOW_TRACKING_URI": plan.store},
        file=folder / "answers.jsonl",
    )


def _arguments(plan: Plan, folder: Path) -> list[str]:
    arguments = ["-m", "compare", "--a", plan.a, "--b", plan.b, "--no-mlflow"]
    arguments += ["--data", str(plan.data), "--out", str(folder)]
    return arguments if plan.model is None else [*arguments, "--model", plan.model]


def _grow(work: Path) -> dict[int, WatchedRun]:
    grown = {}
    for images in MADE_UP:
        folder = work / f"made-up-{images}"
        write_comparison(folder, images)
        grown[images] = watch(["-m", "compare", "--from", str(folder)])
    return grown


def _mean(one: Spent, other: Spent) -> Spent:
    return Spent(
        (one.seconds + other.seconds) / 2, (one.cpu_seconds + other.cpu_seconds) / 2
    )


def _plan() -> Plan:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--store", default=store_uri(), metavar="URI", help="MLFLOW_TRACKING_URI")
    add("--model", help="registered model; the only one if there is one")
    add("--a", default="v1", help="by number: an alias is looked up first")
    add("--b", default="v2")
    add("--data", type=existing_folder, required=True, help="tiny-imagenet-200")
    add("--rounds", type=int, default=3)
    add("--more", type=int, default=10_000, help="images of the ways without HTTP")
    add("--only-engines", action="store_true", help="measure HTTP and Ray Data alone")
    given = vars(parser.parse_args())
    file = sqlite_file(given["store"])
    store = given.pop("store") if file is None else f"sqlite:///{file}"
    return Plan(**{**given, "store": store})


if __name__ == "__main__":
    main()
