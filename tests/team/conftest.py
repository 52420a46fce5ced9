"""Fixtures of a team's deployment; its programs are installed by `make team-tools`."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mlflow_server import free_port
from tests.team.parts import Tracking, object_store, postgres
from training.config.settings import TrainingConfig
from training.train import train

KINDS = ("proxied", "direct")


@dataclass
class Team:
    """PostgreSQL, an object store, and an MLflow server for each way to its files."""

    servers: dict[str, Tracking]
    stops: dict[str, ExitStack]

    def uri(self, kind: str) -> str:
        return self.servers[kind].uri

    def stop(self, kind: str) -> None:
        self.stops[kind].close()

    def start(self, kind: str) -> None:
        self.stops[kind].enter_context(self.servers[kind].running())


@pytest.fixture(scope="session")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        database = stack.enter_context(postgres(*KINDS))
        variables = stack.enter_context(object_store(folder))
        for name, value in variables.items():
            patch.setenv(name, value)
        servers = {
            kind: Tracking(free_port(), folder, f"{database}/{kind}", kind, variables)
            for kind in KINDS
        }
        stops = {kind: stack.enter_context(ExitStack()) for kind in KINDS}
        made = Team(servers, stops)
        for kind in KINDS:
            made.start(kind)
        yield made


@pytest.fixture(scope="session")
def trained(team: Team, cache: Path) -> Mapping[str, str]:
    """A model of three versions in each store, by its kind."""
    models = {kind: f"digits-{kind}" for kind in KINDS}
    for kind, model in models.items():
        config = TrainingConfig(
            data="digits",
            arch="tiny",
            epochs=3,
            image_size=16,
            batch_size=64,
            recipe="plain",
            lr=0.1,
            device="cpu",
            precision="fp32",
            cache=cache,
            model=model,
            experiment=f"train-{kind}",
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", team.uri(kind))
            train(config, arguments=["--data", "digits", "--arch", "tiny"])
    return models


@pytest.fixture(autouse=True)
def _few_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.team)
