"""deploy/nginx: its limits fit the service's, and it loses no request of a replica."""

import json
import os
import re
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import serving.server
from serving.config import ServingConfig
from serving.http.bodies import MAX_BODY_BYTES, STALL_SECONDS
from tests.conftest import WAIT_SECONDS

CONF = (Path(__file__).parents[2] / "deploy" / "nginx" / "nginx.conf").read_text()

needs_nginx = pytest.mark.skipif(
    shutil.which("nginx") is None, reason="nginx is not installed: `make team-tools`"
)


def _values(name: str) -> list[str]:
    found = re.findall(rf"^\s*{name} (\S+?)(?: .*)?;", CONF, re.MULTILINE)
    assert found, name
    return found


def _seconds(name: str) -> float:
    return min(float(value.removesuffix("s")) for value in _values(name))


def test_its_limits_are_those_of_the_service_or_leave_it_the_last_word() -> None:
    config = ServingConfig()

    assert _values("client_max_body_size") == [f"{MAX_BODY_BYTES >> 20}m"]
    assert _seconds("client_body_timeout") == STALL_SECONDS
    assert _seconds("proxy_read_timeout") > config.timeout_seconds
    assert _seconds("proxy_next_upstream_timeout") > _seconds("proxy_read_timeout")


def test_it_is_the_first_to_close_an_idle_connection() -> None:
    """The module is not imported: it patches this process."""
    folder = Path(str(serving.server.__path__[0]))
    text = (folder / "gunicorn_conf.py").read_text()
    (kept,) = re.findall(r"^keepalive = (\d+)$", text, re.MULTILINE)

    assert _seconds("keepalive_timeout") < float(kept)


class _Replica(BaseHTTPRequestHandler):
    """Answers each request with the name of its server, after reading its body."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer()

    do_GET = do_POST  # noqa: N815

    def _answer(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        server.asked.append(self.headers["X-Request-ID"])
        if server.behaviour == "dies":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status = 503 if server.behaviour == "not ready" else 200
        body = server.name.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Replica)
        self.name, self.behaviour = name, "answers"
        self.asked: list[str] = []


@pytest.fixture(scope="module")
def started() -> Iterator[dict[str, _Server]]:
    servers = {name: _Server(name) for name in ("serving-1", "serving-2")}
    for server in servers.values():
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield servers
    for server in servers.values():
        server.shutdown()
        server.server_close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def _nginx(folder: Path, addresses: dict[str, str]) -> Iterator[str]:
    """nginx with the file's settings, on a free port; yields its URL."""
    port, text = _free_port(), CONF.replace("/tmp/", f"{folder}/")
    for name, address in addresses.items():
        text = text.replace(f"server {name}:8000", f"server {address}")
    text = text.replace("listen 8080", f"listen 127.0.0.1:{port}")
    if os.geteuid() == 0:  # its workers would be nobody, who cannot write here
        text = f"user root;\n{text}"
    conf = folder / "nginx.conf"
    conf.write_text(text)
    command = ["nginx", "-p", str(folder), "-c", str(conf), "-e", "stderr"]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stderr
    subprocess.run(command, check=True, timeout=WAIT_SECONDS)  # listens when it returns
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        subprocess.run([*command, "-s", "stop"], check=True, timeout=WAIT_SECONDS)


@pytest.fixture(scope="module")
def proxy(
    started: dict[str, _Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    addresses = {
        name: f"127.0.0.1:{server.server_port}" for name, server in started.items()
    }
    with _nginx(tmp_path_factory.mktemp("nginx"), addresses) as url:
        yield url


@pytest.fixture
def replicas(started: dict[str, _Server]) -> Iterator[dict[str, _Server]]:
    yield started
    for server in started.values():
        server.behaviour = "answers"
        server.asked.clear()


def _ask(
    url: str, *, body: bytes | None = None, method: str | None = None
) -> tuple[int, str]:
    request = urllib.request.Request(url, body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@needs_nginx
@pytest.mark.parametrize("behaviour", ["dies", "not ready"])
@pytest.mark.parametrize(
    "path", ["/predict", "/invocations", "/v2/models/m/versions/8/infer"]
)
def test_a_question_that_one_replica_leaves_is_answered_by_the_other(
    proxy: str, replicas: dict[str, _Server], path: str, behaviour: str
) -> None:
    replicas["serving-1"].behaviour = behaviour

    answers = [_ask(proxy + path, body=b"x" * 2_000_000) for _ in range(4)]

    assert answers == [(200, "serving-2")] * 4
    assert set(replicas["serving-1"].asked) <= set(replicas["serving-2"].asked)


@needs_nginx
def test_what_must_not_happen_twice_is_not_asked_twice(
    proxy: str, replicas: dict[str, _Server]
) -> None:
    for server in replicas.values():
        server.behaviour = "dies"

    status, _ = _ask(f"{proxy}/flagged", body=b"a picture")

    assert status == 503
    assert len([name for each in replicas.values() for name in each.asked]) == 1


@needs_nginx
def test_changes_of_one_replica_are_refused_and_looking_is_not(
    proxy: str, replicas: dict[str, _Server]
) -> None:
    for method, path in (
        ("POST", "/versions/v9"),
        ("DELETE", "/versions/v9"),
        ("POST", "/v2/repository/models/m/load"),
    ):
        status, text = _ask(proxy + path, body=b"", method=method)
        assert status == 403
        assert "move an alias" in str(json.loads(text)["error"])

    assert _ask(f"{proxy}/versions/v9")[0] == 200
    assert _ask(f"{proxy}/metrics")[0] == 404


@needs_nginx
def test_errors_of_nginx_itself_have_the_services_form(
    proxy: str, tmp_path: Path
) -> None:
    status, text = _ask(f"{proxy}/predict", body=b"x" * (MAX_BODY_BYTES + 1))
    assert (status, json.loads(text)["error"]["code"]) == (413, "body_too_large")

    nobody = f"127.0.0.1:{_free_port()}"
    with _nginx(tmp_path, {"serving-1": nobody, "serving-2": nobody}) as url:
        status, text = _ask(f"{url}/predict", body=b"x")
    assert (status, json.loads(text)["error"]["code"]) == (503, "not_ready")
