"""What tests of interrupted runs share: a process to fork from, and a run to equal."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.forked import Forks, open_forks
from tests.training.outcomes import Outcome, outcome_of

EPOCHS = 4


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with open_forks(tmp_path_factory.mktemp("forks")) as forks:
        yield forks


@pytest.fixture(scope="session")
def tiny_run(cache: Path) -> list[str]:
    """Arguments of a run of EPOCHS; the strong recipe publishes averaged weights."""
    given = ["--data", "digits", "--arch", "tiny", "--image-size", "16"]
    given += ["--batch-size", "128", "--device", "cpu", "--precision", "fp32"]
    return [*given, "--epochs", str(EPOCHS), "--cache", str(cache)]


@pytest.fixture(scope="session")
def undisturbed(
    forks: Forks, tiny_run: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    """Of the run that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    uri = f"sqlite:///{folder}/mlflow.db"
    ended = forks.train(tiny_run, uri=uri, at=folder)
    assert ended.code == 0, ended.error
    return outcome_of(uri, "digits-tiny")
