"""The store of the first wave, unpacked, with the answers of the code that made it."""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import Store
from tests.first_wave.make import ANSWERS, ARCHIVE, KEPT, MODEL, relocate


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy of one's own, in the working directory."""
    folder = tmp_path / "unpacked"
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    relocate(folder, KEPT, folder)
    made = Store(folder, MODEL)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.uri)
    monkeypatch.chdir(folder)
    return made


@pytest.fixture(scope="session")
def answers() -> Any:
    return json.loads(ANSWERS.read_text())


@pytest.fixture
def images(old: Store, answers: Any) -> list[Path]:
    """A validation image of each class."""
    return [old.folder / image for image in answers["images"]]


@pytest.fixture
def pixels(images: list[Path]) -> NDArray[np.uint8]:
    return np.stack([np.array(Image.open(file).convert("RGB")) for file in images])
