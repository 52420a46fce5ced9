"""deploy/compose: what it names is there, and fits the programs that it starts."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.cli import server as mlflow_server
from mlflow.server.security_utils import is_allowed_host_header
from sqlalchemy import make_url

from serving.config import ServingConfig, config_from_environment
from serving.http.auth import read_keys
from training.config.commands import parse_arguments

FOLDER = Path(__file__).parents[2] / "deploy" / "compose"
TEXT = (FOLDER / "compose.yaml").read_text()
VARIABLE = re.compile(r"\$\{(\w+)(:[-?+])?([^}]*)\}")


def read_compose(values: dict[str, str]) -> dict[str, Any]:
    document: dict[str, Any] = _interpolated(yaml.safe_load(TEXT), values)
    return document


def _interpolated(node: Any, values: dict[str, str]) -> Any:
    """As docker compose does: `${A}`, `${A:-else}`, `${A:?needed}`, `${A:+then}`."""
    if isinstance(node, dict):
        return {key: _interpolated(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_interpolated(each, values) for each in node]

    def replace(found: re.Match[str]) -> str:
        value, operator, word = values.get(found[1], ""), found[2], found[3]
        if operator == ":+":
            return word if value else ""
        assert value or operator in (":-", None), f"{found[1]} is needed"
        return value or (word if operator == ":-" else "")

    return VARIABLE.sub(replace, node) if isinstance(node, str) else node


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the folder, with the secrets that secrets.sh makes."""
    copy = tmp_path_factory.mktemp("deploy") / "compose"
    ignored = shutil.ignore_patterns("secrets", ".env")
    shutil.copytree(FOLDER, copy, ignore=ignored)
    subprocess.run([copy / "secrets.sh"], check=True, stdout=subprocess.DEVNULL)
    return copy


@pytest.fixture(scope="module")
def values(made: Path) -> dict[str, str]:
    """What .env sets."""
    lines = (made / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and line[0] != "#")


@pytest.fixture(scope="module")
def compose(values: dict[str, str]) -> dict[str, Any]:
    return read_compose(values)


def test_every_variable_is_in_the_example_of_settings() -> None:
    example = (FOLDER / "example.env").read_text()

    for name in {found[0] for found in VARIABLE.findall(TEXT)}:
        assert re.search(rf"^#?{name}=", example, re.MULTILINE), name


def test_each_secret_is_made_anew_and_no_placeholder_stays(
    made: Path, values: dict[str, str]
) -> None:
    assert "CHANGE-ME" not in "".join(values.values())
    assert len(set(values.values())) == len(values)
    scopes = {key.name: key.scope for key in read_keys(made / "secrets" / "keys.txt")}
    assert scopes == {"predict": "predict", "admin": "admin", "prometheus": "predict"}


def test_secrets_that_exist_are_not_replaced(made: Path) -> None:
    before = (made / ".env").read_bytes()

    again = subprocess.run([made / "secrets.sh"], capture_output=True, text=True)

    assert again.returncode == 2
    assert "remove both" in again.stderr
    assert (made / ".env").read_bytes() == before


def test_files_and_folders_that_it_names_are_there(
    compose: dict[str, Any], made: Path
) -> None:
    for service in compose["services"].values():
        build = service.get("build")
        if build is not None:
            root = FOLDER / build["context"]
            assert (root / build.get("dockerfile", "Dockerfile")).is_file()
            if "target" in build:
                dockerfile = (root / "Dockerfile").read_text()
                assert f" AS {build['target']}\n" in dockerfile
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if not source.startswith("."):
                assert source in compose["volumes"]
            elif source != "./data":  # the user's images
                assert (FOLDER / source).exists()
    for secret in compose["secrets"].values():
        assert (made / secret["file"]).is_file()


def test_services_wait_for_services_that_can_say_so(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        needed = service.get("depends_on", {})
        for name in needed:
            condition = needed[name]["condition"] if isinstance(needed, dict) else None
            assert name in services
            assert condition != "service_healthy" or "healthcheck" in services[name]


def test_nothing_but_nginx_and_the_pages_is_published_and_on_loopback_alone(
    compose: dict[str, Any],
) -> None:
    published = {
        name: ports
        for name, service in compose["services"].items()
        if (ports := service.get("ports"))
    }
    assert set(published) == {"nginx", "mlflow", "prometheus", "grafana"}
    for (port,) in published.values():
        assert port.startswith("127.0.0.1:")


def _environment(service: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in service["environment"].items()}


def test_the_service_understands_its_settings(compose: dict[str, Any]) -> None:
    variables = _environment(compose["services"]["serving-1"])

    config = config_from_environment(variables)

    assert config.versions == "@best"
    known = {f"SERVING_{name.upper()}" for name in ServingConfig.__dataclass_fields__}
    assert {name for name in variables if name.startswith("SERVING_")} <= known


def test_a_replica_is_given_the_time_that_its_last_requests_may_take(
    compose: dict[str, Any],
) -> None:
    config = config_from_environment(_environment(compose["services"]["serving-1"]))
    needed = config.drain_seconds + config.graceful_seconds
    for name in ("serving-1", "serving-2"):
        given = int(compose["services"][name]["stop_grace_period"].removesuffix("s"))
        assert needed < given <= needed + 15


def test_training_understands_its_command(compose: dict[str, Any]) -> None:
    for name in ("training", "training-gpu"):
        service = compose["services"][name]
        assert parse_arguments(service["command"])
        assert service["profiles"]  # not started by a plain `up`


def test_mlflow_understands_its_command(compose: dict[str, Any]) -> None:
    name, *flags = compose["services"]["mlflow"]["command"]

    known = {option for each in mlflow_server.params for option in each.opts}
    assert name == mlflow_server.name
    assert {flag.partition("=")[0] for flag in flags} <= known


def test_mlflow_is_given_the_driver_that_its_image_has(compose: dict[str, Any]) -> None:
    """SQLAlchemy 2.1 takes psycopg 3 for a plain `postgresql://`."""
    variables = _environment(compose["services"]["mlflow"])
    url = make_url(variables["MLFLOW_BACKEND_STORE_URI"])

    locked = (FOLDER.parent / "requirements" / "mlflow.txt").read_text()
    assert f"\n{url.get_driver_name()}-binary==" in locked


def test_mlflow_answers_to_its_own_names_alone(
    values: dict[str, str], compose: dict[str, Any]
) -> None:
    allowed = _allowed_hosts(compose)
    for host in ("mlflow:5000", "localhost:5000", "127.0.0.1:5001"):
        assert is_allowed_host_header(allowed, host)
    assert not is_allowed_host_header(allowed, "rebound.example:5000")

    own = {**values, "MLFLOW_ALLOWED_HOSTS": "mlflow.example.org"}
    allowed = _allowed_hosts(read_compose(own))
    assert is_allowed_host_header(allowed, "mlflow.example.org")


def _allowed_hosts(compose: dict[str, Any]) -> list[str]:
    flags = compose["services"]["mlflow"]["command"]
    (hosts,) = [f for f in flags if f.startswith("--allowed-hosts=")]
    return str(hosts.partition("=")[2]).split(",")
