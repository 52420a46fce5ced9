"""The address of MLflow's store. Imports no MLflow, which would take a second."""

import os
from pathlib import Path
from urllib.parse import unquote, urlparse

from classifier.console.exits import NotNow

DEFAULT_STORE = "sqlite:///mlflow.db"


class StoreUnavailable(NotNow, RuntimeError):
    """The store is absent or does not answer, or a version's files are absent."""


class FilesAbsent(StoreUnavailable):
    """The store answers, but a version's files are not where it says."""


def store_uri() -> str:
    """MLFLOW_TRACKING_URI, else MLflow's own default: ./mlflow.db."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE


def is_there_a_store() -> bool:
    """Whether MLFLOW_TRACKING_URI is set or ./mlflow.db exists."""
    default = sqlite_file(DEFAULT_STORE)
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or (
        default is not None and default.is_file()
    )


def sqlite_file(uri: str) -> Path | None:
    """The database file, or None if the store is not SQLite."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").split("?")[0]).absolute()


def store_folder(uri: str) -> Path:
    """The folder of the store's files; for a remote store the working directory."""
    file = sqlite_file(uri)
    return file.parent if file else Path.cwd()


def is_remote(uri: str) -> bool:
    """Whether a server keeps the store, artifacts and all."""
    return uri.startswith(("http://", "https://"))


def local_folder(location: str) -> Path | None:
    """The folder of an address of MLflow's artifacts; None if it is not a local one.

    ValueError if it is no address, such as half of an IPv6 one.
    """
    url = urlparse(location)
    return Path(unquote(url.path)) if url.scheme in ("", "file") else None
