"""What the tests of the service share: a pool with both versions of the store."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from serving.app import create_app
from serving.config import ServingConfig
from serving.metrics import Metrics
from serving.versions.loading import open_pool
from serving.versions.pool import PredictorPool
from tests.conftest import Store
from tests.serving.pools import four_versions


@pytest.fixture(scope="module")
def pool(store: Store) -> Iterator[PredictorPool]:
    """Both versions, loaded; not to be changed by what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store.uri)
        pool = open_pool(ServingConfig(versions="v1,v2"), Metrics())
    pool.load_wanted()
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def app(pool: PredictorPool) -> Flask:
    return create_app(ServingConfig(), pool=pool)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def copy(store: Store, tmp_path: Path) -> Store:
    """A store of its own, with four versions of the same files."""
    return four_versions(store, tmp_path / "store")
