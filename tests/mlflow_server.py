"""`mlflow server` as a process, and a store behind it that was made without."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from tests.conftest import WAIT_SECONDS, Store

TRIES = 120


@contextmanager
def mlflow_server(
    port: int,
    folder: Path,
    *,
    database: str,
    artifacts: tuple[str, ...],
    environment: Mapping[str, str] = os.environ,
) -> Iterator[subprocess.Popen[bytes]]:
    """The server, once it listens; its log is in `folder`."""
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--port", str(port), "--backend-store-uri", database, *artifacts]
    with (
        open(folder / f"mlflow-{port}.log", "ab") as log,
        subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, env=environment
        ) as process,
    ):
        try:
            wait_until_it_answers(f"http://127.0.0.1:{port}/health", process)
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_until_it_answers(
    url: str, process: "subprocess.Popen[bytes] | None" = None
) -> None:
    """Whatever the answer is. Fails at once if the process has ended."""

    retry = Retry(total=4, backoff_factor=0.1)  # for 1.5 s
    for _ in range(TRIES):
        assert process is None or process.poll() is None, "the server has ended"
        with requests.Session() as session, suppress(requests.ConnectionError):
            session.mount("http://", HTTPAdapter(max_retries=retry))
            session.get(url, timeout=WAIT_SECONDS)
            return
    raise AssertionError(f"{url} does not answer")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served_remotely(store: Store, folder: Path, port: int) -> Iterator[str]:
    """The address of a server of a copy of `store`, whose files only it can read."""
    if not folder.exists():
        _hide_files(store.copy(folder))
    with mlflow_server(
        port,
        folder,
        database=f"sqlite:///{folder}/mlflow.db",
        artifacts=("--artifacts-destination", str(folder / "mlruns")),
    ):
        yield f"http://127.0.0.1:{port}"


def _hide_files(copy: Store) -> None:
    with closing(sqlite3.connect(copy.folder / "mlflow.db")) as database, database:
        for table, path in (
            ("experiments", "artifact_location"),
            ("logged_models", "artifact_location"),
            ("model_versions", "storage_location"),
            ("runs", "artifact_uri"),
        ):
            database.execute(
                f"UPDATE {table} SET {path} = replace({path}, ?, 'mlflow-artifacts:')",
                (str(copy.folder / "mlruns"),),
            )
