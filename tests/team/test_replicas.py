"""Two replicas behind nginx, with real parts: nothing is lost, whatever goes away."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event

import pytest
import requests

from classifier.store.registry import Registry
from serving.versions.pool import AWAY
from tests import conftest
from tests.conftest import encoded, picture
from tests.team.conftest import Team
from tests.team.parts import (
    DEPLOY,
    LONG_SECONDS,
    Proxy,
    Replica,
    nginx,
    prometheus,
    replicas,
)

until = partial(conftest.until, seconds=LONG_SECONDS)

ASKED = int(os.environ.get("TEAM_REQUESTS", "3000"))

LIST = "v1,v2,@best"


@pytest.fixture(scope="module")
def pair(
    team: Team, trained: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Replica]]:
    """Replicas of the proxied store. They wait for company, so that a comparison takes
    a while."""
    folder = tmp_path_factory.mktemp("replicas")
    model = trained["proxied"]
    Registry(team.uri("proxied")).set_alias(model, "best", "3")
    with replicas(
        team.uri("proxied"),
        folder,
        *("--model", model, "--versions", LIST, "--max-wait-ms", "20"),
        *("--drain-seconds", "0"),
    ) as made:
        yield made


@pytest.fixture(scope="module")
def proxy(
    pair: list[Replica], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    with nginx(pair, tmp_path_factory.mktemp("nginx")) as proxy:
        yield proxy


def entries(url: str) -> dict[str, dict[str, object]]:
    with urllib.request.urlopen(f"{url}/versions") as answer:
        return {entry["version"]: entry for entry in json.load(answer)["versions"]}


def answers_best(replica: Replica) -> str:
    image = encoded(picture())
    asked = requests.post(f"{replica.url}/predict?version=@best", data=image)
    return str(asked.json()["results"][0]["version"])


def compare_command(proxy: Proxy, model: str, out: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "compare", "--a", "v1", "--b", "v2", "--fresh"),
        *("--url", proxy.url, "--data", "digits", "--out", str(out)),
        *("--concurrency", "1", "--batch-size", "1"),
    ]


def test_an_alias_reaches_both_replicas(
    team: Team, trained: Mapping[str, str], pair: list[Replica]
) -> None:
    registry = Registry(team.uri("proxied"))

    moved_at = time.monotonic()
    registry.set_alias(trained["proxied"], "best", "1")
    until(lambda: {answers_best(replica) for replica in pair} == {"1"})
    seconds = time.monotonic() - moved_at

    print(f"an alias reached two replicas in {seconds:.1f} s")
    registry.set_alias(trained["proxied"], "best", "3")
    until(lambda: {answers_best(replica) for replica in pair} == {"3"})


def test_a_comparison_survives_a_replica_the_registry_and_an_alias(
    team: Team,
    trained: Mapping[str, str],
    pair: list[Replica],
    proxy: Proxy,
    tmp_path: Path,
    cache: Path,
) -> None:
    model = trained["proxied"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": team.uri("proxied")}
    quiet, disturbed = tmp_path / "quiet", tmp_path / "disturbed"
    command = compare_command(proxy, model, quiet)
    subprocess.run(command, env=environment, check=True)
    before = len(proxy.answered())

    command = compare_command(proxy, model, disturbed)
    with subprocess.Popen(command, env=environment) as comparing:
        until(lambda: len(proxy.answered()) > before + 40)
        team.stop("proxied")
        pair[0].kill()
        until(lambda: len(proxy.answered()) > before + 80)
        pair[0].start()  # while the registry is away
        assert {e["reason"] for e in entries(pair[0].url).values()} == {AWAY}
        team.start("proxied")
        Registry(team.uri("proxied")).set_alias(model, "best", "1")
        assert comparing.wait() == 0

    until(lambda: {answers_best(replica) for replica in pair} == {"1"})
    assert set(proxy.answered()[before:]) == {200}
    for name in ("per_image.parquet", "per_class.csv"):
        assert (quiet / name).read_bytes() == (disturbed / name).read_bytes()


def test_no_request_fails_while_a_replica_is_killed(
    pair: list[Replica], proxy: Proxy
) -> None:
    """nginx asks the other replica: a prediction may be asked for twice."""
    image, under_way = encoded(picture()), Event()

    def ask(number: int) -> int:
        if number == ASKED // 3:
            under_way.set()
        with urllib.request.urlopen(
            urllib.request.Request(f"{proxy.url}/predict?version=v2", data=image)
        ) as answer:
            return int(answer.status)

    with ThreadPoolExecutor(16) as pool:
        answers = [pool.submit(ask, number) for number in range(ASKED)]
        under_way.wait()
        pair[0].kill()
        failed = [each for each in answers if each.exception() or each.result() != 200]
    pair[0].start()

    print(f"{len(failed)} of {ASKED} requests failed while a replica was killed")
    assert failed == []


def test_prometheus_sees_both_replicas_and_its_tool_accepts_metrics_and_rules(
    pair: list[Replica], tmp_path: Path
) -> None:
    with prometheus(pair, tmp_path) as url:

        def up() -> list[str]:
            query = {"query": "up"}
            found = requests.get(f"{url}/api/v1/query", params=query).json()
            return [each["value"][1] for each in found["data"]["result"]]

        until(lambda: up() == ["1", "1"])
        rules = requests.get(f"{url}/api/v1/rules").json()["data"]["groups"]
        assert rules

    tool = str(shutil.which("promtool"))
    for check in (("config", tmp_path / "prometheus.yml"),):
        subprocess.run([tool, "check", *map(str, check)], check=True)
    alerts = DEPLOY / "prometheus" / "alerts.yml"
    subprocess.run([tool, "check", "rules", str(alerts)], check=True)
    for replica in pair:
        metrics = requests.get(f"{replica.url}/metrics").content
        subprocess.run([tool, "check", "metrics"], input=metrics, check=True)
