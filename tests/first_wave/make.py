"""Makes first_wave.tar.xz and answers.json; README.md says how to run it.

It uses none of this project's code but by command lines, HTTP and MLflow, so that the
code of an earlier commit can be asked.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

ARCHIVE = Path(__file__).with_name("first_wave.tar.xz")
ANSWERS = Path(__file__).with_name("answers.json")
KEPT = Path("/store")
"""The folder's name in all that is kept."""

MODEL = "photos-tiny"
TRAIN, VAL = 16, 6
"""Images a class."""

TRAINING = (
    "--arch tiny --image-size 8 --epochs 3 --recipe plain --batch-size 8 --lr 0.06 "
    "--device cpu --precision fp32"
)
STOPPED = """
import importlib, runpy, sys
module, _, path = {0!r}.partition(":")
owner, name = path.split(".")
owner = getattr(importlib.import_module(module), owner)
called, calls = getattr(owner, name), []
def stopping(*arguments, **named):
    calls.append(0)
    if len(calls) == {1}:
        raise KeyboardInterrupt
    return called(*arguments, **named)
setattr(owner, name, stopping)
runpy.run_module({2!r}, run_name="__main__", alter_sys=True)
"""
"""A program that Ctrl-C interrupts at a call of one of its methods."""


def main(folder: Path) -> None:
    folder.mkdir()
    os.chdir(folder)
    os.environ |= {"XDG_CACHE_HOME": str(folder / "cache"), "LOGNAME": "flipside"}
    write_photos(folder / "photos")
    run(
        *("training", "--data", str(folder / "photos"), *TRAINING.split()),
        stops_in="training.optimization.trainer:Trainer.run_epoch",
        at=3,
    )
    run("training", "--quantize", "v1", "--data", "photos")
    run("compare", "--a", "v1", "--b", "v2", "--no-mlflow")
    run(
        *("compare", "--a", "v2", "--b", "v1.int8", "--no-mlflow"),
        *("--batch-size", "8"),
        stops_in="compare.collect.answer_store:AnswerStore.add",
        at=4,
    )
    keep(folder)
    relocate(folder, KEPT, folder)
    ANSWERS.write_text(json.dumps(record(folder), separators=(",", ":")) + "\n")


def write_photos(folder: Path) -> None:
    """Digits of scikit-learn as PNG files of 8 x 8 pixels."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    counts = dict.fromkeys(range(10), 0)
    for pixels, target in zip(digits.images, digits.target, strict=True):
        number = counts[int(target)]
        counts[int(target)] += 1
        if number >= TRAIN + VAL:
            continue
        part = "train" if number < TRAIN else "val"
        file = folder / part / f"digit_{target}" / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15).astype("uint8")).save(file)


def run(module: str, *flags: str, stops_in: str = "", at: int = 0) -> str:
    """The output of `python -m MODULE FLAGS`; interrupted at a call of `stops_in`."""
    command = ["-m", module]
    if stops_in:
        command = ["-c", STOPPED.format(stops_in, at, module)]
    done = subprocess.run(
        [sys.executable, *command, *flags], stdout=subprocess.PIPE, text=True
    )
    print(done.stdout)
    assert done.returncode == (130 if stops_in else 0)
    return done.stdout


def record(folder: Path) -> dict[str, Any]:
    """All that the tests ask for again."""
    images = sorted(folder.glob(f"photos/val/*/{TRAIN}.png"))
    return {
        "images": [str(image.relative_to(folder)) for image in images],
        "logits": {version: logits(version, images) for version in ("1", "2")},
        "probabilities": {
            "onnx": served(images, "onnx", "v1", "v2", "v1.int8"),
            "torch": served(images, "torch", "v1", "v2"),
        },
        "evaluated": {
            version: run("training", "--evaluate", version, "--data", "photos")
            for version in ("v1", "v2")
        },
        "resumed": resumed(),
    }


def logits(version: str, images: Sequence[Path]) -> Any:
    """The answer of `mlflow.pyfunc` to pixels of the version's size."""
    import mlflow.pyfunc
    import numpy as np
    from PIL import Image

    pixels = [np.array(Image.open(image).convert("RGB")) for image in images]
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    model = mlflow.pyfunc.load_model(f"models:/{MODEL}/{version}")
    return model.predict(np.stack(pixels))["logits"].tolist()


def served(images: Sequence[Path], backend: str, *versions: str) -> Any:
    """Probabilities [images, versions, classes] that the service answers."""
    with service("--backend", backend, "--versions", ",".join(versions)) as url:
        return [ask(url, image, versions) for image in images]


def ask(url: str, image: Path, versions: Sequence[str]) -> list[list[float]]:
    asked = "&".join(f"version={version}" for version in versions)
    request = urllib.request.Request(
        f"{url}/predict?{asked}&top_k=10",
        data=image.read_bytes(),
        headers={"Content-Type": "image/png"},
    )
    with urllib.request.urlopen(request) as answer:
        results = json.load(answer)["results"]
    return [
        [
            entry["probability"]
            for entry in sorted(result["top"], key=lambda entry: entry["index"])
        ]
        for result in results
    ]


@contextmanager
def service(*flags: str) -> Iterator[str]:
    command = [sys.executable, "-m", "serving", "--port", "0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().removeprefix("serving on ").strip()
        process.terminate()


def resumed() -> dict[str, float]:
    """Measures of the third version, which the interrupted run makes at last."""
    from mlflow import MlflowClient

    run("training", "--resume", "last")
    tags = MlflowClient("sqlite:///mlflow.db").get_model_version(MODEL, "3").tags
    return {key: float(tags[key]) for key in ("val_loss", "val_top1_accuracy")}


def keep(folder: Path) -> None:
    """Packs the folder under the name KEPT, without caches and reports."""
    shutil.rmtree(folder / "cache")
    (folder / "compare-v1-v2" / "report.html").unlink()  # --from draws it again
    relocate(folder, folder, KEPT)
    with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, file.name)


def relocate(folder: Path, old: Path, new: Path) -> None:
    """Writes `new` for `old` in the database, JSON files and MLmodels of `folder`."""
    for file in (*folder.rglob("*.json"), *folder.rglob("MLmodel")):
        text = file.read_text()
        if str(old) in text:
            file.write_text(text.replace(str(old), str(new)))
    store = sqlite3.connect(folder / "mlflow.db", isolation_level=None)
    with closing(store) as database:
        for table, column in text_columns(database):
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?) "
                f"WHERE instr({column}, ?)",
                (str(old), str(new), str(old)),
            )
        database.execute("VACUUM")


def text_columns(database: sqlite3.Connection) -> list[tuple[str, str]]:
    """Table and column of all text."""
    tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
    return [
        (table, column)
        for (table,) in database.execute(tables).fetchall()
        for _, column, kind, *_ in database.execute(f"PRAGMA table_info({table})")
        if kind.startswith(("VARCHAR", "TEXT"))
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
