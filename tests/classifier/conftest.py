"""A function that opens a data set, and an empty registry."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from classifier.datasets.dataset import Dataset
from classifier.datasets.source import open_dataset
from classifier.store.registry import Registry

Open = Callable[..., Dataset]


@pytest.fixture
def open_(tmp_path: Path) -> Open:
    def open_it(source: Path | str, *, want_train: bool = True, **more: Any) -> Dataset:
        cache = tmp_path / "cache"
        return open_dataset(str(source), cache=cache, want_train=want_train, **more)

    return open_it


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", create=True)
