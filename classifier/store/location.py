"""Where MLflow's store is: what can be told without MLflow, which takes a second."""

import os
from pathlib import Path

from classifier.console.exits import NotNow

DEFAULT_STORE = "sqlite:///mlflow.db"


class StoreUnavailable(NotNow, RuntimeError):
    """There is no store, or it does not answer, or a version's files are away."""


def store_uri() -> str:
    """MLFLOW_TRACKING_URI, else MLflow's own default: ./mlflow.db."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE


def is_there_a_store() -> bool:
    """MLFLOW_TRACKING_URI names one, or ./mlflow.db is there."""
    default = sqlite_file(DEFAULT_STORE)
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or (
        default is not None and default.is_file()
    )


def sqlite_file(uri: str) -> Path | None:
    """The database's file, None where the store is not SQLite's."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").split("?")[0]).absolute()


def store_folder(uri: str) -> Path:
    """Where the store's own files lie; the working directory for a remote store."""
    file = sqlite_file(uri)
    return file.parent if file else Path.cwd()


def is_remote(uri: str) -> bool:
    """Whether a server keeps the store, artifacts and all."""
    return uri.startswith(("http://", "https://"))
