"""A store of eight versions, and commands that are killed at a step of theirs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from classifier.bundle.files import read_bundle
from classifier.store.logged_models import LoggedModels
from classifier.store.registry import Registry
from tests.classifier.upkeep.killed import Commands
from tests.conftest import Store

VERSIONS = 8


@pytest.fixture
def many(quantised_store: Store, tmp_path: Path) -> Store:
    """A copy of the store, with versions 3 to 8 of the same files in the same run.

    Version 2 has an int8 form; version 1 has the aliases.
    """
    made = quantised_store.copy(tmp_path / "many")
    grow(made, VERSIONS)
    for alias in ("best", "best-loss"):
        made.registry.set_alias(made.model, alias, "1")
    return made


def grow(store: Store, count: int) -> None:
    registry = store.registry
    first = registry.resolve(store.model, "1")
    assert first.model_id is not None
    assert first.run_id is not None
    logged = registry.client.get_logged_model(first.model_id)
    models = LoggedModels(
        registry, experiment_id=logged.experiment_id, run_id=first.run_id
    )
    bundle = read_bundle(registry.fetch(first))
    for epoch in range(3, count + 1):
        tags = {**first.tags, "epoch": str(epoch), "val_top1_accuracy": "0.01"}
        tags["val_loss"] = "9.0"
        model_id = models.add(bundle, name=f"epoch-{epoch:02}", tags={})
        registry.register(
            store.model, model_id=model_id, run_id=first.run_id, tags=tags
        )


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    with Commands() as running:
        yield running


@pytest.fixture
def empty(tmp_path: Path) -> Registry:
    """An empty store in a folder of its own."""
    folder = tmp_path / "other"
    folder.mkdir()
    return Registry(f"sqlite:///{folder / 'mlflow.db'}", create=True)
