"""`python -m serving` as a process: its first line, its exit codes, its end."""

import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from classifier.datasets.dataset import Dataset
from tests.conftest import (
    WAIT_SECONDS,
    RunningService,
    Store,
    read_url,
    serving,
    until,
    workers,
)
from tests.serving.load import load


def _start(store_uri: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "serving", "--drain-seconds", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MLFLOW_TRACKING_URI": store_uri},
    )


def test_a_running_service_answers_curl(
    service: RunningService, digits: Dataset
) -> None:
    command = ["curl", "-sS", "-F", f"image=@{digits.val.files[0]}"]

    done = subprocess.run(
        [*command, f"{service.url}/predict?version=v2"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert '"version":"2"' in done.stdout


def test_a_chunked_body_is_read(service: RunningService, digits: Dataset) -> None:
    data = digits.val.files[0].read_bytes()

    answer = requests.post(f"{service.url}/predict", data=iter([data[:50], data[50:]]))

    assert answer.status_code == 200
    assert answer.json()["results"][0]["top"]


def test_a_body_that_ends_early_harms_nobody(service: RunningService) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = (
            "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
        )
        connection.sendall(head.encode() + b"\xff\xd8\xff")
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(WAIT_SECONDS)
        assert b" 400 " in connection.recv(65536)

    assert requests.get(f"{service.url}/livez").status_code == 200


def test_several_workers_speak_once_when_all_are_ready(store: Store) -> None:
    with _start(store.uri, "--port", "0", "--workers", "2") as process:
        url = read_url(process)
        try:
            for _ in range(8):
                assert requests.get(f"{url}/readyz").status_code == 200
        finally:
            process.terminate()
        out, _ = process.communicate(timeout=WAIT_SECONDS)

    assert out == ""
    assert process.returncode == 0


def test_an_interrupted_service_ends_without_a_traceback(store: Store) -> None:
    with _start(store.uri, "--port", "0") as process:
        read_url(process)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=WAIT_SECONDS)

    assert process.returncode == 130
    assert "Traceback" not in error


def test_a_log_that_nobody_reads_holds_up_no_request(store: Store) -> None:
    with _start(store.uri, "--port", "0") as process:
        url = read_url(process)
        port = int(url.rpartition(":")[2])
        for _ in range(1500):  # 590 of gunicorn's lines fill a pipe
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                connection.sendall(b"GET /\1 HTTP/9.1\r\n\r\n")
                assert connection.recv(1) == b"H"

        assert _answers(port)
        process.terminate()
        _, error = process.communicate(timeout=WAIT_SECONDS)

    assert "gunicorn.error" in error


DEAF = """
import os, signal, sys, time
from serving.server.supervisor import Supervisor

def gunicorn(descriptor, line):
    line.say_ready()
    time.sleep(60)

for ignored in (signal.SIGINT, signal.SIGQUIT):  # as in the background of a shell
    signal.signal(ignored, signal.SIG_IGN)
service = Supervisor(host="127.0.0.1", port=0, workers=1, drain_seconds=0)
sys.exit(service.serve(gunicorn))
"""
"""A service whose gunicorn does not hear signals yet, so that they end it."""


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGQUIT, 131)],
)
def test_a_signal_at_the_start_ends_the_service_with_a_plain_code(
    number: signal.Signals, code: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", DEAF],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        process.communicate(timeout=WAIT_SECONDS)

    assert process.returncode == code


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--versions", "v9"], 2, "error: no version 'v9'"),
        (["--versions", "v9", "--workers", "3"], 2, "error: no version 'v9'"),
        (["--keys", "missing"], 2, "error: the keys in missing cannot be read"),
        (["--keys", "/dev/null"], 2, "error: /dev/null has no key"),
        (["--keys", __file__], 2, "test_gunicorn_server.py is not 'name predict|"),
        (["--model", "other"], 2, "error: no model 'other'"),
        (["--device", "cuda"], 3, "error: --device cuda was asked for"),
        (["--backend", "torch", "--device", "cuda"], 3, "error: --device cuda was"),
    ],
)
def test_what_cannot_be_served_ends_the_start_with_the_reason(
    store: Store, arguments: list[str], code: int, message: str
) -> None:
    with _start(store.uri, "--port", "0", *arguments) as process:
        out, error = process.communicate(timeout=WAIT_SECONDS)

    assert process.returncode == code
    assert out == ""
    assert message in error
    assert "Traceback" not in error


def test_a_listed_version_that_cannot_load_ends_the_start(
    store: Store, tmp_path: Path
) -> None:
    copy = store.copy(tmp_path / "store")
    copy.bundle("v2").graph.unlink()

    with _start(copy.uri, "--port", "0", "--versions", "v1,v2") as process:
        out, error = process.communicate(timeout=WAIT_SECONDS)

    assert (process.returncode, out) == (3, "")
    assert "error: version 2 cannot be loaded: model.onnx is missing" in error
    assert "Traceback" not in error


def test_a_missing_store_ends_the_start(tmp_path: Path) -> None:
    with _start(f"sqlite:///{tmp_path}/mlflow.db", "--port", "0") as process:
        _, error = process.communicate(timeout=WAIT_SECONDS)

    assert process.returncode == 3
    assert "error: there is no MLflow store" in error


def test_a_registry_that_is_down_ends_the_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    with _start(f"http://127.0.0.1:{port}", "--port", "0") as process:
        _, error = process.communicate(timeout=WAIT_SECONDS)

    assert process.returncode == 3
    assert "error: " in error
    assert "Traceback" not in error


def test_a_process_that_takes_anothers_place_waits_for_keys(
    store: Store, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"page predict {'0' * 64}\n")
    arguments = ("--port", "0", "--workers", "2", "--keys", str(keys))
    with _start(store.uri, *arguments) as process:
        url = read_url(process)
        keys.write_text("page pre")
        victim, other = workers(process.pid)
        os.kill(victim, signal.SIGKILL)
        assert process.stderr is not None
        for line in process.stderr:
            if "a worker could not start" in line:
                break

        keys.write_text(f"page predict {'0' * 64}\n")

        until(lambda: len({*workers(process.pid)} - {victim, other}) == 1)
        assert requests.get(f"{url}/readyz").status_code == 200
        process.terminate()
        process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0


def test_processes_whose_parent_is_killed_give_up_the_port_and_end_their_work(
    store: Store, digits: Dataset
) -> None:
    data = digits.val.files[0].read_bytes()
    with _start(store.uri, "--port", "0", "--workers", "2") as process:
        host, port = read_url(process).removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\n"
            length = f"Content-Length: {len(data)}\r\n\r\n"
            connection.sendall((head + length).encode() + data[:20])
            process.kill()

            until(lambda: not _accepts(host, int(port)))
            connection.sendall(data[20:])

            connection.settimeout(WAIT_SECONDS)
            assert connection.recv(12) == b"HTTP/1.1 200"


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port)).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return False
    return True


def test_open_files_that_run_out_end_no_process(store: Store) -> None:
    with _start(store.uri, "--port", "0") as process:
        url = read_url(process)
        (worker,) = workers(process.pid)
        limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (3, limits[1]))
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))):
            resource.prlimit(worker, resource.RLIMIT_NOFILE, limits)

            assert requests.get(f"{url}/livez").status_code == 200
        assert limits[0] == limits[1]
        assert workers(process.pid) == [worker]
        process.terminate()
        process.communicate(timeout=WAIT_SECONDS)


def test_a_taken_port_is_told_at_once(store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with _start(store.uri, "--port", port) as process:
            _, error = process.communicate(timeout=WAIT_SECONDS)

    assert process.returncode == 3
    assert f"error: cannot listen on 127.0.0.1 port {port}" in error


def test_who_asks_is_told_of_the_end_before_it_comes(
    store: Store, digits: Dataset
) -> None:
    data = digits.val.files[0].read_bytes()
    with _start(store.uri, "--port", "0", "--drain-seconds", "600") as process:
        url = read_url(process)
        process.terminate()
        until(lambda: requests.get(f"{url}/readyz").status_code == 503)

        answer = requests.post(f"{url}/predict", data=data)

        assert answer.status_code == 200
        assert requests.get(f"{url}/livez").status_code == 200
        process.terminate()  # the second ends it at once
        process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0


def test_a_connection_that_is_kept_does_not_hold_up_the_end(store: Store) -> None:
    with requests.Session() as session, _start(store.uri, "--port", "0") as process:
        assert session.get(f"{read_url(process)}/livez").status_code == 200
        process.terminate()
        process.communicate(timeout=20)  # gunicorn's own way takes 30

    assert process.returncode == 0


def test_what_is_served_changes_in_all_processes_at_once(
    store: Store, digits: Dataset
) -> None:
    data = digits.val.files[0].read_bytes()
    arguments = ("--port", "0", "--workers", "3", "--versions", "v1")

    with _start(store.uri, *arguments) as process:
        url = read_url(process)

        def ask(version: str) -> set[int]:
            """New connections, which go to any of the processes."""
            asked = f"{url}/predict?version={version}"
            return {requests.post(asked, data=data).status_code for _ in range(24)}

        assert ask("v2") == {404}
        assert requests.post(f"{url}/versions/v2").json()["state"] == "ready"
        assert ask("v2") == {200}
        assert requests.delete(f"{url}/versions/v1").json()["state"] == "available"
        assert ask("v1") == {404}
        assert requests.get(f"{url}/readyz").status_code == 200

        (victim, *others) = workers(process.pid)
        os.kill(victim, signal.SIGKILL)
        until(lambda: len({*workers(process.pid)} - {victim, *others}) == 1)
        # Three loaded it when it was added, the fourth is the newcomer. The others
        # end: who answers now is the newcomer, and those who learnt it from him.
        until(lambda: _loads(url, version="2") == 4)
        for other in others:
            os.kill(other, signal.SIGKILL)
        assert ask("v2") == {200}
        assert ask("v1") == {404}
        process.terminate()
        process.communicate(timeout=WAIT_SECONDS)


def test_new_processes_take_the_place_of_old_ones_and_no_request_fails(
    store: Store, digits: Dataset
) -> None:
    data = digits.val.files[0].read_bytes()
    with serving(store, "--workers", "2", "--drain-seconds", "0") as service:
        first = service.process.pid
        old = {*workers(first)}
        with load(service, data, clients=8) as clients:
            clients.wait_for(50)
            service.process.send_signal(signal.SIGHUP)
            until(lambda: old.isdisjoint(workers(first)))
            clients.wait_for(50)
        until(lambda: len(workers(first)) == 2)

    assert clients.lost == []
    assert {*clients.answered} == {200}
    assert clients.refused == 0


@pytest.mark.parametrize("worker", ["gthread", "gevent"])
def test_a_users_own_gunicorn_needs_an_event_loop(
    worker: str, store: Store, digits: Dataset
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["gunicorn", "-k", worker, "-b", f"127.0.0.1:{port}"]
    with subprocess.Popen(
        [sys.executable, "-m", *command, "serving.app:create_app()"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MLFLOW_TRACKING_URI": store.uri},
    ) as process:
        if worker == "gevent":
            until(lambda: _answers(port))
            data = digits.val.files[0].read_bytes()
            url = f"http://127.0.0.1:{port}/predict"
            assert requests.post(url, data=data).status_code == 200
            process.terminate()
        _, said = process.communicate(timeout=WAIT_SECONDS)

    assert (process.returncode, "python -m serving" in said) == (
        (0, False) if worker == "gevent" else (3, True)
    )


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except requests.ConnectionError:
        return False


def test_all_processes_count_together(store: Store, digits: Dataset) -> None:
    data = digits.val.files[0].read_bytes()
    with _start(store.uri, "--port", "0", "--workers", "2") as process:
        url = read_url(process)
        for _ in range(20):
            assert requests.post(f"{url}/predict", data=data).status_code == 200

        text = requests.get(f"{url}/metrics").text

        process.terminate()
        process.communicate(timeout=WAIT_SECONDS)
    (line,) = [
        line
        for line in text.splitlines()
        if line.startswith("serving_requests_total{") and "/predict" in line
    ]
    assert line.endswith(" 20.0")


def _loads(url: str, *, version: str) -> float:
    """Of a version, in all processes together."""
    text = requests.get(f"{url}/metrics").text
    lines = [line for line in text.splitlines() if "model_loads" in line]
    return sum(float(x.split()[-1]) for x in lines if f'version="{version}"' in x)
