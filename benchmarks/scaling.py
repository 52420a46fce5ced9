"""Images per second as the data grows: 5, 50 and 500 images per class."""

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks.harness import write_table
from benchmarks.training_programs import (
    arrange,
    count_images,
    existing_folder,
    run_training,
)

CPU_EPOCHS = "5:11,50:3,500:2"
"""An epoch of 100,000 images is four minutes on two cores."""

GPU_EPOCHS = "5:40,50:10,500:5"


def main() -> None:
    arguments = _arguments()
    epochs: dict[int, int] = arguments.epochs
    rates: dict[int, list[float]] = {per_class: [] for per_class in epochs}
    images = {}
    with tempfile.TemporaryDirectory(prefix="flipside-bench-") as folder:
        # Up and down, so that a machine that slows down affects each size alike.
        sizes = sorted(epochs)
        for turn, per_class in enumerate([*sizes, *sizes[-2::-1]]):
            data = Path(folder) / str(turn)
            data = arrange(
                str(arguments.data), data, per_class=per_class, val_per_class=2
            )
            images[per_class] = count_images(data / "train")
            rates[per_class] += _rates(arguments, data, epochs=epochs[per_class])
    seconds = {size: 1 / statistics.median(rates[size]) for size in sizes}
    write_table(
        f"Cost per image as the data grows, {arguments.device}",
        ("images per class", "images", "epochs measured", "ms per image", "ratio"),
        [
            (
                str(size),
                f"{images[size]:,}",
                str(len(rates[size])),
                f"{1000 * seconds[size]:.3f}",
                f"{seconds[size] / seconds[sizes[0]]:.2f}",
            )
            for size in sizes
        ],
        note=(
            f"Training steps of `--recipe plain --stem {arguments.stem}`, batches of "
            "256, median over epochs; the first epoch of each run is left out. "
            "Wanted: ratios of 0.9 to 1.1."
        ),
    )


def _rates(arguments: argparse.Namespace, data: Path, *, epochs: int) -> list[float]:
    """Images per second without the first epoch, which warms up."""
    logged = run_training(
        data,
        *("--epochs", str(epochs), "--recipe", "plain", "--stem", arguments.stem),
        *("--device", arguments.device, "--cache", str(data.parent / "cache")),
        store=data.parent / "store",
    )
    return logged.values("images_per_second")[1:]


def plan(text: str) -> dict[int, int]:
    """argparse's type of `--epochs`: images per class -> epochs, two or more."""
    pairs = [pair.split(":") for pair in text.split(",")]
    epochs = {int(per_class): int(count) for per_class, count in pairs}
    if min(epochs.values()) < 2:
        raise argparse.ArgumentTypeError(
            f"{text!r} has a run of one epoch, and the first is left out; ask for 2"
        )
    return epochs


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=existing_folder, required=True, metavar="FOLDER")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--stem", choices=("imagenet", "small"), default="imagenet")
    parser.add_argument(
        "--epochs",
        type=plan,
        metavar="PER_CLASS:EPOCHS,...",
        help=f"default {CPU_EPOCHS}, on a GPU {GPU_EPOCHS}",
    )
    arguments = parser.parse_args()
    if arguments.epochs is None:
        on_cpu = arguments.device == "cpu"
        arguments.epochs = plan(CPU_EPOCHS if on_cpu else GPU_EPOCHS)
    return arguments


if __name__ == "__main__":
    main()
