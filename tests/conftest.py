"""Fixtures of many tests: images, data sets, a store with two versions, a service."""

import os
import select
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from classifier.bundle.files import Bundle, read_bundle
from classifier.datasets.dataset import Dataset
from classifier.datasets.source import open_dataset
from classifier.store.registry import Registry
from compare.__main__ import main as compare
from training.config.commands import QuantizeConfig
from training.config.settings import TrainingConfig
from training.publishing.quantization import quantise_version
from training.train import train

if TYPE_CHECKING:
    from selenium import webdriver

WAIT_SECONDS = 60.0
"""Longest wait for anything that should come at once; only a hang waits for it."""


@dataclass(frozen=True)
class Store:
    """An MLflow store in a folder, with versions 1 and 2 of one model in it."""

    folder: Path
    model: str

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    @property
    def registry(self) -> Registry:
        return Registry(self.uri)

    def bundle(self, version: str) -> Bundle:
        registry = self.registry
        return read_bundle(registry.fetch(registry.resolve(self.model, version)))

    def copy(self, folder: Path) -> "Store":
        """A copy in a new folder, which a test may change."""
        shutil.copytree(self.folder, folder)
        with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
            for table, path in (  # columns with absolute paths
                ("experiments", "artifact_location"),
                ("logged_models", "artifact_location"),
                ("model_versions", "storage_location"),
                ("runs", "artifact_uri"),
            ):
                database.execute(
                    f"UPDATE {table} SET {path} = replace({path}, ?, ?)",
                    (str(self.folder), str(folder)),
                )
        return Store(folder, self.model)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session", autouse=True)
def _environment(cache: Path) -> Iterator[None]:
    """No test reads or writes the user's store, cache or settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache.parent / "xdg"))
        # The same tests run with and without a GPU.
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        for name in [*os.environ]:
            if name.startswith(("SERVING_", "MLFLOW_TRACKING", "MLFLOW_REGISTRY")):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def digits(cache: Path) -> Dataset:
    return open_dataset("digits", cache=cache, want_train=True)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Store:
    """Two epochs of the tiny network on the digits."""
    folder = tmp_path_factory.mktemp("store")
    config = TrainingConfig(
        data="digits",
        arch="tiny",
        epochs=2,
        image_size=16,
        batch_size=64,
        recipe="plain",
        lr=0.1,
        device="cpu",
        precision="fp32",
        cache=cache,
    )
    made = Store(folder, "digits-tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", made.uri)
        train(config, arguments=["--data", "digits", "--arch", "tiny"])
    return made


@pytest.fixture(scope="session")
def quantised_store(
    store: Store, tmp_path_factory: pytest.TempPathFactory, cache: Path
) -> Store:
    """A copy of the store whose version 2 has an int8 form."""
    made = store.copy(tmp_path_factory.mktemp("quantised") / "store")
    config = QuantizeConfig(version="v2", data="digits", cache=cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", made.uri)
        quantise_version(config, arguments=["--quantize", "v2", "--data", "digits"])
    return made


@dataclass(frozen=True)
class RunningService:
    url: str
    process: subprocess.Popen[str]


@contextmanager
def serving(store: Store | str, *arguments: str) -> Iterator[RunningService]:
    """Run `python -m serving` of a store, or of an address, on a free port; it must end
    with exit code 0."""
    uri = store if isinstance(store, str) else store.uri
    command = [sys.executable, "-m", "serving", "--port", "0", *arguments]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield RunningService(read_url(process), process)
            process.terminate()
            assert process.wait(WAIT_SECONDS) == 0
        finally:
            if process.poll() is None:
                process.kill()


@pytest.fixture(scope="session")
def service(store: Store) -> Iterator[RunningService]:
    """A service of both versions."""
    with serving(store, "--versions", "v1,v2", "--drain-seconds", "0") as service:
        yield service


@pytest.fixture(scope="session")
def compared_store(
    store: Store, service: RunningService, tmp_path_factory: pytest.TempPathFactory
) -> Store:
    """A copy of the store, with a comparison of its versions in MLflow."""
    folder = tmp_path_factory.mktemp("compared-store")
    made = store.copy(folder / "store")
    command = ["--a", "v1", "--b", "v2", "--url", service.url, "--limit", "200"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", made.uri)
        assert compare([*command, "--out", str(folder / "compare-v1-v2")]) == 0
    return made


def read_url(process: subprocess.Popen[str], *, seconds: float = WAIT_SECONDS) -> str:
    """The address in the first line that a service prints when it is ready."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    assert ready, "the service printed nothing"
    line = process.stdout.readline()
    assert line.startswith("serving on http://"), line
    return line.removeprefix("serving on ").strip()


def until(is_so: Callable[[], bool], *, seconds: float = WAIT_SECONDS) -> None:
    """Wait until `is_so` holds; only a fault waits for so many seconds."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline


def children(process: int) -> list[int]:
    """Processes that this one started, in any of its threads."""
    found = []
    with suppress(OSError):  # the process has ended
        for file in Path(f"/proc/{process}/task").glob("*/children"):
            found += [int(child) for child in file.read_text().split()]
    return found


def workers(process: int) -> list[int]:
    """The workers of a service: gunicorn's children, whose parent is `process`."""
    return [worker for gunicorn in children(process) for worker in children(gunicorn)]


def npy(array: NDArray[Any]) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def picture(height: int = 24, width: int = 32, seed: int = 0) -> Image.Image:
    """A smooth coloured image: JPEG leaves it nearly as it is."""
    rows, columns = np.mgrid[0:height, 0:width]
    channels = [
        127 + 120 * np.sin((seed + 1) * (place + 1) + rows / 9 + columns / (7 + place))
        for place in range(3)
    ]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def driver() -> Iterator["webdriver.Chrome"]:
    """A browser, shared by the tests of a module."""
    from tests.serving.browser_page import CHROMIUM, DRIVER, open_browser

    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs chromium and chromedriver (Debian: chromium-driver)")
    with open_browser(CHROMIUM, DRIVER) as driver:
        yield driver


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Tiny ImageNet's layout with two classes."""
    root = tmp_path / "tiny-imagenet-200"
    jpeg = encoded(picture())
    for class_id in ("n02", "n01"):
        images = root / "train" / class_id / "images"
        images.mkdir(parents=True)
        (images.parent / f"{class_id}_boxes.txt").write_text("x\t0\t0\t1\t1\n")
        for number in range(3):
            (images / f"{class_id}_{number}.JPEG").write_bytes(jpeg)
    images = root / "val" / "images"
    images.mkdir(parents=True)
    for number in range(4):
        (images / f"val_{number}.JPEG").write_bytes(jpeg)
    lines = [f"val_{n}.JPEG\tn0{2 - n % 2}\t0\t0\t62\t62\n" for n in range(4)]
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "words.txt").write_text(
        "n01\tgoldfish, Carassius auratus\nn02\ttench\nn99\tx\n"
    )
    return root


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A folder of class folders, with the same file names in each class."""
    root = tmp_path / "my flowers"
    for part in ("train", "val"):
        for class_id in ("rose", "daisy"):
            folder = root / part / class_id
            folder.mkdir(parents=True)
            for number in range(2):
                (folder / f"{number}.png").write_bytes(encoded(picture(), "PNG"))
            (folder / "notes.txt").write_text("no image")
    return root
