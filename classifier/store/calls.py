"""Calls of MLflow: its errors in words, its retries, and its environment variables."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
from mlflow import environment_variables
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from classifier.console.exits import WrongUsage
from classifier.store.location import StoreUnavailable
from classifier.store.maintenance.database import SchemaMismatch

RETRIES_VARIABLE = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"


class BadVariable(WrongUsage, ValueError):
    """An environment variable of MLflow's has a value of another type."""


def check_variables() -> None:
    """Raises BadVariable for a variable that MLflow could not read when it needs it.

    MLflow reads some at each request, and raises a bare ValueError.
    """
    for name in sorted(name for name in os.environ if name.startswith("MLFLOW_")):
        variable = getattr(environment_variables, name, None)
        if variable is None:  # of a plugin, or of another version
            continue
        try:
            variable.get()
        except ValueError as error:
            raise BadVariable(
                f"MLflow cannot read the environment variable {name}: {error}; correct "
                f"it, or unset it"
            ) from error


@contextmanager
def global_store(uri: str) -> Iterator[None]:
    """Set MLflow's global store for the block.

    MLflow looks up the logged model of a new version there, not in its client's store
    (a TODO in its sqlalchemy_store.py, 3.17).
    """
    if mlflow.get_tracking_uri() == uri:
        yield
        return
    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # which also removes the variable
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


@contextmanager
def sent_once() -> Iterator[None]:
    """Keep MLflow from repeating requests, so that nothing is created twice.

    MLflow repeats a POST after a 502 or a lost answer, although the server may have
    carried it out. Our callers look first before they retry. MLflow reads the variable
    at each request (mlflow/utils/rest_utils.py, 3.17).
    """
    before = os.environ.get(RETRIES_VARIABLE)
    os.environ[RETRIES_VARIABLE] = "0"
    try:
        yield
    finally:
        del os.environ[RETRIES_VARIABLE]
        if before is not None:
            os.environ[RETRIES_VARIABLE] = before


@contextmanager
def store_call(doing: str) -> Iterator[None]:
    """Raises StoreUnavailable, with `doing`, for errors of MLflow and its database."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, SchemaMismatch) as error:
        reason = str(error).splitlines()[0]
        raise StoreUnavailable(f"cannot {doing}: {reason}") from error
    except ModuleNotFoundError as error:
        raise StoreUnavailable(
            f"cannot {doing}: it takes the library {error.name!r}, which is not "
            f"installed; install it, or name another driver, as in "
            f"postgresql+psycopg2://"
        ) from error
