"""Experiments: the place of their artifacts, and experiments that are refused."""

from pathlib import Path

import pytest

from classifier.store.location import StoreUnavailable
from classifier.store.logged_models import open_experiment
from classifier.store.registry import Registry


def test_a_new_experiment_keeps_its_artifacts_beside_the_store(
    registry: Registry, tmp_path: Path
) -> None:
    made = open_experiment(registry, "compare", advice="")

    assert open_experiment(registry, "compare", advice="") == made
    location = registry.client.get_experiment(made).artifact_location
    assert location.removeprefix("file://") == str(tmp_path / "mlruns" / "compare")


def test_a_deleted_experiment_is_refused_with_the_advice(registry: Registry) -> None:
    made = open_experiment(registry, "compare", advice="")
    registry.client.delete_experiment(made)

    with pytest.raises(StoreUnavailable, match=f"--experiment-id {made}`, or wait"):
        open_experiment(registry, "compare", advice="wait")


def test_an_experiment_whose_artifacts_only_a_server_can_write_is_refused(
    registry: Registry,
) -> None:
    registry.client.create_experiment("compare", "mlflow-artifacts:/1")

    with pytest.raises(StoreUnavailable, match="keeps its artifacts on a server"):
        open_experiment(registry, "compare", advice="wait")
