"""Time to import an ONNX file as a version, and from then to its first answer.

The file is torchvision's network as torch.onnx writes it, with 1,000 classes at 224
pixels. Each round has a new store, and imports it twice with the one command: into no
store, and into the one that exists then. A service of that store, started between the
two, is asked for the second version as soon as the command has ended. A script that
calls `mlflow.onnx.log_model` stores the same file twice; it proves and serves nothing.
"""

import argparse
import statistics
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import models

from benchmarks.comparing import ask_by_hand, running_service
from benchmarks.harness import watch, write_table

ROUNDS = 5
CLASSES, SIZE = 1000, 224
NETWORKS = ("squeezenet1_1", "resnet18")

NEW = "import, new store"
AGAIN = "import, store exists"
ANSWER = "end of that import to the first answer of a running service"
SERVED = "import into a store that exists, and first answer"
THEIRS = "`mlflow.onnx.log_model` in a script, new store"
THEIRS_AGAIN = "`mlflow.onnx.log_model` in a script, store exists"
WANTED = dict.fromkeys((NEW, AGAIN, SERVED), "at most 5")

Seconds = Mapping[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for network in NETWORKS:
            file = _write_file(network, Path(folder))
            megabytes = file.stat().st_size / 1e6
            measured = [_round(file) for _ in range(rounds)]
            rows += table_rows(f"{network}, {megabytes:.0f} MB", measured)
    write_table(
        "Importing an ONNX file",
        ("network", "", f"seconds, median of {rounds}", "least and most", "wanted"),
        rows,
    )


def table_rows(network: str, rounds: Sequence[Seconds]) -> list[tuple[str, ...]]:
    values: dict[str, list[float]] = defaultdict(list)
    for seconds in rounds:
        for name, value in seconds.items():
            values[name].append(value)
    return [
        (
            network,
            name,
            f"{statistics.median(found):.2f}",
            f"{min(found):.2f} to {max(found):.2f}",
            WANTED.get(name, ""),
        )
        for name, found in values.items()
    ]


def _write_file(network: str, folder: Path) -> Path:
    """The network's ONNX file, with labels and an image beside it."""
    file = folder / f"{network}.onnx"
    torch.manual_seed(0)
    with warnings.catch_warnings():  # the exporter's, about itself
        warnings.simplefilter("ignore")
        torch.onnx.export(
            models.get_model(network, num_classes=CLASSES).eval(),
            (torch.zeros(2, 3, SIZE, SIZE),),
            file,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("N")},),
            external_data=False,
            verbose=False,
        )
    lines = "".join(f"class {index}\n" for index in range(CLASSES))
    (folder / "labels.txt").write_text(lines)
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "image.jpg")
    return file


def _round(file: Path) -> Seconds:
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as theirs:
        store = f"sqlite:///{ours}/mlflow.db"
        seconds = {NEW: _import(file, store)}
        with running_service(store, ["all"]) as url:
            seconds[AGAIN] = _import(file, store)
            seconds[ANSWER] = ask_by_hand(
                f"{url}/predict?version=v2",
                [file.with_name("image.jpg")],
                field="image",
            )
        seconds[SERVED] = seconds[AGAIN] + seconds[ANSWER]
        for name in (THEIRS, THEIRS_AGAIN):
            script = ["-m", "benchmarks.peers.mlflow_onnx", theirs, str(file)]
            seconds[name] = watch(script).seconds
    return seconds


def _import(file: Path, store: str) -> float:
    command = ["-m", "training", "--import", str(file), "--model", "imported"]
    command += ["--labels", str(file.with_name("labels.txt"))]
    return watch(command, environment={"MLFLOW_TRACKING_URI": store}).seconds


if __name__ == "__main__":
    main()
