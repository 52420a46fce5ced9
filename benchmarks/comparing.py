"""References for a comparison: the networks alone, and a script's loop."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import requests
from numpy.typing import NDArray

from benchmarks.bare_model import open_session
from benchmarks.harness import LOOK_SECONDS, cpu_seconds, descendants
from classifier.bundle.files import Bundle
from classifier.bundle.labels import Labels
from compare.collect.answer_store import AnswerStore
from compare.collect.schema import ServedVersion, TopAnswer
from compare.results.folder import RUN
from compare.results.record import Record, open_folder

BATCH = 32


@dataclass(frozen=True)
class Spent:
    """Time for all images and both versions."""

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Spread:
    """Core-seconds of a command for few images and for more."""

    few: int
    more: int
    few_seconds: float
    more_seconds: float

    @property
    def each(self) -> float:
        """Of an image more."""
        return (self.more_seconds - self.few_seconds) / (self.more - self.few)

    @property
    def at_start(self) -> float:
        """Of a command for no image."""
        return self.few_seconds - self.few * self.each


class BothNetworks:
    """Both networks in this process, on all usable cores, with decoded images."""

    def __init__(self, bundles: Sequence[Bundle], files: Sequence[Path]) -> None:
        self._sessions = [open_session(bundle) for bundle in bundles]
        decode = bundles[0].preprocessing.image
        self._images: NDArray[np.uint8] = np.stack(
            [decode(file.read_bytes()) for file in files]
        )

    def measure(self) -> Spent:
        for session in self._sessions:  # memory for this size
            session.run(["logits"], {"images": self._images[:BATCH]})
        wall, cpu = time.perf_counter(), time.process_time()
        for session in self._sessions:
            for start in range(0, len(self._images), BATCH):
                batch = self._images[start : start + BATCH]
                session.run(["logits"], {"images": batch})
        return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def core_seconds(arguments: Sequence[str], environment: Mapping[str, str]) -> float:
    """Core-seconds of `python ARGUMENTS` with all that it starts; it must end with 0.

    Wall time would be that of the machine's other work. Workers of Ray are nobody's
    children at the end, so the sum is read meanwhile; its largest value counts.
    """
    most = 0.0
    with subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
        start_new_session=True,  # descendants() asks for it
    ) as process:
        while process.poll() is None:
            most = max(most, cpu_seconds(descendants(process.pid)))
            time.sleep(LOOK_SECONDS)
    if process.returncode != 0:
        sys.exit(f"error: {arguments} ended with {process.returncode}")
    return most


@contextmanager
def running_service(store: str, versions: Sequence[str]) -> Iterator[str]:
    """Yield the URL of a service as a user starts it."""
    command = [sys.executable, "-m", "serving", "--port", "0"]
    command += ["--versions", ",".join(versions), "--drain-seconds", "0"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "MLFLOW_TRACKING_URI": store},
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith("serving on "):
                sys.exit("error: the service did not start")
            yield line.removeprefix("serving on ").strip()
        finally:
            process.terminate()


def ask_by_hand(url: str, files: Sequence[Path], *, field: str) -> float:
    """Seconds for a script's loop: one image a POST, one after the other.

    It uses requests.post() as scripts do, which opens a connection for each call.
    """
    started = time.perf_counter()
    for file in files:
        with file.open("rb") as image:
            answer = requests.post(url, files={field: image}, timeout=60)
        answer.raise_for_status()
        answer.json()
    return time.perf_counter() - started


CLASSES, IMAGES_A_REQUEST = 200, 32


def write_comparison(folder: Path, images: int) -> None:
    """Write the folder of a finished comparison, for `--from`, without pictures."""
    labels = Labels.from_ids([f"n{index:08}" for index in range(CLASSES)])
    a, b = (
        ServedVersion("made-up", number, labels, f"run-{number}", int(number), "d")
        for number in ("1", "2")
    )
    names = tuple(f"val_{image}.JPEG" for image in range(images))
    record = Record(
        a=a,
        b=b,
        data_name="made-up",
        data_digest="d",
        names=names,
        class_ids=tuple(labels.ids[image % CLASSES] for image in range(images)),
        available=images,
    )
    open_folder(folder, record, fresh=False)
    rng = np.random.default_rng(0)
    with AnswerStore(folder) as store:
        for start in range(0, images, IMAGES_A_REQUEST):
            batch = enumerate(names[start : start + IMAGES_A_REQUEST], start)
            store.add(
                {
                    name: (_answer(rng, image), _answer(rng, image))
                    for image, name in batch
                }
            )
    facts = {"probe": {"images": 100, "differing": 0}}
    (folder / RUN).write_text(json.dumps(facts))


def _answer(rng: np.random.Generator, image: int) -> TopAnswer:
    """An answer; in a third of them the truth, `image` modulo 200, is first."""
    indices = rng.choice(CLASSES, 5, replace=False)
    if rng.random() < 1 / 3:
        indices = (indices - indices[0] + image) % CLASSES
    probabilities = np.sort(rng.random(5) / 5)[::-1].round(7)
    return TopAnswer(tuple(indices.tolist()), tuple(probabilities.tolist()))
