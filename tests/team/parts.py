"""The parts of a team's deployment, each a real process on a free loopback port."""

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import read_url, until
from tests.mlflow_server import free_port, mlflow_server, wait_until_it_answers

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

BUCKET = "flipside"

LONG_SECONDS = 180.0
"""Several processes that start at once on two cores take long."""

POSTGRES = Path("/usr/lib/postgresql/15/bin")
"""Where Debian keeps the programs that are not meant for users."""


@contextmanager
def process(
    command: Sequence[str], log: Path, *, user: str | None = None, **options: object
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended, with all that it started, at the end of the block."""
    with (
        log.open("ab") as output,
        subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            process_group=0,
            user=user,
            group=user,
            **options,  # type: ignore[call-overload]  # of Popen
        ) as running,
    ):
        try:
            yield running
        finally:
            end(running, signal.SIGINT)


def end(running: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """SIGINT lets PostgreSQL go without waiting for its clients."""
    with suppress(ProcessLookupError):
        os.killpg(running.pid, number)
    try:
        running.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait(10)


@contextmanager
def postgres(*databases: str) -> Iterator[str]:
    """The server's address. PostgreSQL refuses to run as root."""
    is_root = os.geteuid() == 0
    user = "postgres" if is_root else None
    # pytest's own folders are closed to other users.
    with tempfile.TemporaryDirectory(prefix="flipside-postgres-") as name:
        folder, port = Path(name), free_port()
        if is_root:
            owner = pwd.getpwnam("postgres")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        data = str(folder / "data")
        subprocess.run(
            [
                *(POSTGRES / "initdb", "-D", data, "-U", "flipside", "--auth=trust"),
                *("--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            user=user,
            group=user,
            cwd=folder,
        )
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": name,
            "fsync": "off",  # no test cuts the power
            "max_connections": 200,
        }
        options = [f"--{key}={value}" for key, value in settings.items()]
        command = [str(POSTGRES / "postgres"), "-D", data, *options]
        with process(command, folder / "log", user=user, cwd=folder):
            ready = [POSTGRES / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
            until(lambda: _is_ok([str(part) for part in ready]))
            server = ("-h", "127.0.0.1", "-p", str(port), "-U", "flipside")
            for name in databases:
                subprocess.run([POSTGRES / "createdb", *server, name], check=True)
            yield f"postgresql+psycopg2://flipside@127.0.0.1:{port}"


def _is_ok(command: list[str]) -> bool:
    return subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 0


@contextmanager
def object_store(folder: Path) -> Iterator[dict[str, str]]:
    """Variables with which MLflow and boto3 reach a bucket behind the S3 protocol."""
    import boto3

    port = free_port()
    program = str(Path(sys.executable).with_name("moto_server"))
    variables = {
        "AWS_ACCESS_KEY_ID": "team",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }
    command = [program, "-H", "127.0.0.1", "-p", str(port)]
    with process(command, folder / "moto.log"):
        wait_until_it_answers(variables["MLFLOW_S3_ENDPOINT_URL"])
        boto3.client(
            "s3",
            endpoint_url=variables["MLFLOW_S3_ENDPOINT_URL"],
            aws_access_key_id="team",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        ).create_bucket(Bucket=BUCKET)
        yield variables


@dataclass(frozen=True)
class Tracking:
    """An MLflow server's address, and how to start it again there."""

    port: int
    folder: Path
    database: str
    kind: str
    """`proxied`: the server passes files on; `direct`: clients read them from S3."""

    environment: Mapping[str, str]

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        places = {
            "proxied": ("--artifacts-destination", f"s3://{BUCKET}/proxied"),
            "direct": (
                *("--no-serve-artifacts", "--default-artifact-root"),
                f"s3://{BUCKET}/direct",
            ),
        }
        with mlflow_server(
            self.port,
            self.folder,
            database=self.database,
            artifacts=places[self.kind],
            environment={**os.environ, **self.environment},
        ) as server:
            yield server


@dataclass
class Replica:
    """`python -m serving` with a cache of its own, as on a machine of its own."""

    port: int
    tracking: str
    arguments: tuple[str, ...]
    folder: Path
    running: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "serving", "--port", str(self.port)]
        environment = {
            **os.environ,
            "MLFLOW_TRACKING_URI": self.tracking,
            "XDG_CACHE_HOME": str(self.folder),
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        }
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.running = subprocess.Popen(
                [*command, *self.arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                process_group=0,
            )
        read_url(self.running, seconds=LONG_SECONDS)

    def kill(self) -> None:
        """At once, with all its workers, as a machine that loses its power."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        if self.running is not None:
            self._end(signal.SIGTERM)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def _end(self, number: signal.Signals) -> None:
        assert self.running is not None
        with suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(self.running.pid, number)
            self.running.send_signal(number)
        self.running.wait(LONG_SECONDS)
        assert self.running.stdout is not None
        self.running.stdout.close()
        self.running = None


@contextmanager
def replicas(
    tracking: str, folder: Path, *arguments: str, count: int = 2
) -> Iterator[list[Replica]]:
    made = [
        Replica(free_port(), tracking, arguments, folder / f"replica-{number}")
        for number in range(1, count + 1)
    ]
    try:
        for replica in made:
            replica.start()
        yield made
    finally:
        for replica in made:
            replica.stop()


@dataclass(frozen=True)
class Proxy:
    url: str
    access_log: Path

    def answered(self) -> list[int]:
        """Status of each request so far."""
        return [int(line) for line in self.access_log.read_text().split()]


@contextmanager
def nginx(behind: Sequence[Replica], folder: Path) -> Iterator[Proxy]:
    """nginx with the file of deploy/, other addresses, and a log of status codes."""
    port = free_port()
    proxy = Proxy(f"http://127.0.0.1:{port}", folder / "access.log")
    text = (DEPLOY / "nginx" / "nginx.conf").read_text()
    for number, replica in enumerate(behind, 1):
        text = text.replace(f"serving-{number}:8000", f"127.0.0.1:{replica.port}")
    text = text.replace("listen 8080", f"listen 127.0.0.1:{port}")
    text = text.replace("/tmp/", f"{folder}/").replace("auto;", "1;", 1)
    log = f"log_format status '$status'; access_log {proxy.access_log} status;"
    text = re.sub(r"access_log off;.*", log, text)
    config = folder / "nginx.conf"
    config.write_text(f"daemon off;\n{text}")
    command = [str(shutil.which("nginx", path=_PATH)), "-c", str(config)]
    with process(command, folder / "nginx.log"):
        wait_until_it_answers(f"{proxy.url}/readyz")
        yield proxy


@contextmanager
def prometheus(scraped: Sequence[Replica], folder: Path) -> Iterator[str]:
    """Prometheus with the rules of deploy/; it looks every 200 ms."""
    port = free_port()
    rules = DEPLOY / "prometheus" / "alerts.yml"
    targets = ", ".join(f"127.0.0.1:{replica.port}" for replica in scraped)
    config = folder / "prometheus.yml"
    config.write_text(
        f"global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n"
        f"rule_files: [{rules}]\n"
        f"scrape_configs:\n"
        f"  - job_name: serving\n"
        f"    static_configs: [{{targets: [{targets}]}}]\n"
    )
    command = ["prometheus", f"--config.file={config}"]
    command += [f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}"]
    with process(command, folder / "prometheus.log"):
        wait_until_it_answers(f"http://127.0.0.1:{port}/-/ready")
        yield f"http://127.0.0.1:{port}"


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
"""Debian keeps nginx where users do not look."""
