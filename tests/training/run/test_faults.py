"""A full disk, a server away, damaged files: told or mended, and no epoch is lost."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests

from classifier.bundle.files import read_bundle
from classifier.store.registry import Registry
from tests.mlflow_server import free_port, mlflow_server
from tests.training.conftest import EPOCHS
from tests.training.forked import ROOT, Accident, Forks
from tests.training.outcomes import Outcome, outcome_of
from training.__main__ import main
from training.evaluation.epoch import TrainingPass
from training.optimization.trainer import Trainer
from training.run.state import find_state

MODEL = "digits-tiny"
WAIT_SECONDS = 120.0


def test_a_disk_that_is_full_for_a_while_costs_nothing(
    forks: Forks, tiny_run: list[str], undisturbed: Outcome, tmp_path: Path
) -> None:
    """Once while a version is published, and once while a state is saved."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    accidents = [
        Accident(
            "after", "classifier.store.registry:Registry.register", 1, "full disk"
        ),
        Accident(
            "before", "training.publishing.publish:Publisher.publish", 2, "free disk"
        ),
        Accident("before", "training.run.state:StateFolder.write", 3, "full disk"),
        Accident("before", "training.run.state:StateFolder.write", 4, "free disk"),
    ]

    ended = forks.train(tiny_run, *accidents, uri=uri, at=tmp_path)

    assert ended.code == 0, ended.error
    assert "WARNING cannot publish epoch 1 yet: " in ended.error
    assert "WARNING cannot save epoch 2 yet: " in ended.error
    assert outcome_of(uri, MODEL) == undisturbed


@pytest.mark.parametrize(
    ("full", "kept"),
    [
        (Accident("after", "mlflow:MlflowClient.create_logged_model"), 1),
        (Accident("before", "training.run.state:StateFolder.write", count=2), 0),
    ],
)
def test_a_disk_that_stays_full_ends_the_run_which_goes_on_when_there_is_room(
    forks: Forks,
    tiny_run: list[str],
    undisturbed: Outcome,
    tmp_path: Path,
    full: Accident,
    kept: int,
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    full = replace(full, kind="full disk")

    ended = forks.train(tiny_run, full, uri=uri, at=tmp_path, retry_seconds=0)

    assert ended.code == 3
    assert "Traceback" not in ended.error
    how = f"{kept} of {EPOCHS} epochs are kept; go on with: python -m training --resume"
    assert ended.error.endswith(f"; {how} {find_state(uri, 'last').run_id}\n")
    given = ["--resume", "last", *tiny_run[-2:]]
    assert forks.train(given, uri=uri, at=tmp_path).code == 0
    assert outcome_of(uri, MODEL) == undisturbed


def test_a_server_that_goes_away_for_a_while_costs_nothing(
    forks: Forks,
    tiny_run: list[str],
    undisturbed: Outcome,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From a run that was killed and is gone on with, through the server as well."""
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)  # where the state of a remote store's run is kept
    death = Accident("after", "classifier.store.registry:Registry.register")
    resume = ["--resume", "last", *tiny_run[-2:]]

    with _store_server(port, tmp_path) as server:
        assert forks.train(tiny_run, death, uri=uri, at=tmp_path).code == -9
        process = _start_training(resume, uri)
        _wait_for_version(process, 2)
        os.killpg(server.pid, signal.SIGKILL)
    assert process.stderr is not None
    warning = process.stderr.readline()
    with _store_server(port, tmp_path):
        _, rest = process.communicate(timeout=WAIT_SECONDS)
        assert process.returncode == 0, warning + rest
        outcome = outcome_of(uri, MODEL)

    assert warning.startswith("WARNING cannot ")
    assert warning.endswith("; trying again for 600 s\n")
    assert "Traceback" not in rest
    assert outcome == undisturbed


def test_what_a_server_did_and_denied_is_not_done_twice(
    forks: Forks,
    tiny_run: list[str],
    undisturbed: Outcome,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy in front of it gives up too early, once for each thing that is made."""
    port = free_port()
    monkeypatch.chdir(tmp_path)  # where the state of a remote store's run is kept

    with _store_server(port, tmp_path), _giving_up(port) as proxy:
        ended = forks.train(tiny_run, uri=proxy, at=tmp_path)
        assert ended.code == 0, ended.error
        outcome = outcome_of(f"http://127.0.0.1:{port}", MODEL)

    assert ended.error.count("WARNING cannot publish epoch 1 yet: ") == 2
    assert outcome == undisturbed


@contextmanager
def _giving_up(port: int) -> Iterator[str]:
    """The address of a proxy that answers the first of each creation with a 502."""
    denied = ["/mlflow/logged-models", "/mlflow/model-versions/create"]

    class Proxy(BaseHTTPRequestHandler):
        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {"Content-Type": self.headers.get("Content-Type", "")}
            answer = requests.request(
                self.command,
                f"http://127.0.0.1:{port}{self.path}",
                data=body,
                headers=headers,
                timeout=WAIT_SECONDS,
            )
            status, content = answer.status_code, answer.content
            ending = next((each for each in denied if self.path.endswith(each)), None)
            if ending is not None and self.command == "POST":
                denied.remove(ending)
                status, content = 502, b"given up"
            self.send_response(status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        thread = Thread(target=proxy.serve_forever, name="proxy")
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_port}"
        finally:
            proxy.shutdown()
            thread.join(WAIT_SECONDS)
    assert denied == []


def test_a_loss_that_is_no_number_leaves_the_versions_before_and_their_state(
    tiny_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    run_epoch = Trainer.run_epoch

    def run_without_weights(trainer: Trainer, epoch: int) -> TrainingPass:
        if epoch == 2:
            for parameter in trainer.published().network.parameters():
                parameter.data.fill_(float("nan"))
            trainer.restore(trainer.state(), epochs_done=1)
        return run_epoch(trainer, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run_epoch", run_without_weights)
        assert main([*tiny_run, "--recipe", "plain"]) == 3

    registry = Registry(uri)
    (version,) = registry.versions(MODEL)
    read_bundle(registry.fetch(version))
    assert set(version.aliases) == {"best", "best-loss"}
    assert registry.client.get_run(version.run_id).info.status == "FAILED"
    assert find_state(uri, "last").read().epochs_done == 1
    assert main(["--resume", "last", *tiny_run[-2:]]) == 0
    assert len(registry.versions(MODEL)) == EPOCHS


def test_damaged_files_of_the_cache_are_made_again(
    forks: Forks, tiny_run: list[str], undisturbed: Outcome, tmp_path: Path
) -> None:
    """A bit in the middle of each file: images, index, graph, checksum."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    arguments = [*tiny_run[:-1], str(tmp_path / "cache")]
    death = Accident("after", "classifier.store.registry:Registry.register")
    assert forks.train(arguments, death, uri=uri, at=tmp_path).code == -9
    kept = [
        path
        for path in (tmp_path / "cache").rglob("*")
        if path.parent.parent.name in ("decoded", "graphs")
    ]
    for path in kept:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    ended = forks.train(["--resume", "last", *arguments[-2:]], uri=uri, at=tmp_path)

    assert ended.code == 0, ended.error
    assert ended.error.count("WARNING damaged folder=") == 3
    assert outcome_of(uri, MODEL) == undisturbed


def _start_training(arguments: list[str], uri: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "training", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MLFLOW_TRACKING_URI": uri, "OMP_NUM_THREADS": "1"},
    )


def _wait_for_version(process: subprocess.Popen[str], number: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.rstrip().endswith(f" v{number}"):
            return


def _store_server(
    port: int, folder: Path
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """`mlflow server`, with its store and artifacts in `folder`."""
    return mlflow_server(
        port,
        folder,
        database=f"sqlite:///{folder}/s.db",
        artifacts=("--artifacts-destination", str(folder / "artifacts")),
    )
