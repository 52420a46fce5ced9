"""Alerts and dashboard: their metrics exist, and each alert has its page to read."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from serving.app import create_app
from serving.config import ServingConfig
from serving.metrics import Metrics, Now
from serving.shadow.counts import Rate
from serving.versions.pool import PredictorPool

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((GRAFANA / "dashboards" / "flipside.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
EXPRESSIONS = [
    *(rule["expr"] for rule in RULES),
    *(target["expr"] for panel in PANELS for target in panel["targets"]),
]


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """Labels of each metric of the service, by the name that Prometheus gives it."""
    metrics = Metrics()
    for metric in vars(metrics).values():
        if getattr(metric, "_labelnames", ()):
            metric.labels(*("1" for _ in metric._labelnames))
    now = Now(
        is_ready=True,
        served=[{"model": "m", "version": "1", "backend": "onnx"}],
        flips={"1": 0.0},
        rates={("1", "2"): vars(Rate.of(1, 2))},
        compared={("m", "1", "2"): {"all": 2, "broken": 1, "fixed": 0}},
    )
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.text(now).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_its_metrics_exist_with_the_labels_that_are_asked_for(
    expression: str, known: dict[str, set[str]]
) -> None:
    scraped = {"job", "instance"}
    selectors = re.findall(r"\b(serving_\w+|up)\b(?:\{([^}]*)\})?", expression)

    assert selectors
    for name, labels in selectors:
        asked = set(re.findall(r"(\w+)\s*[=!]~?", labels))
        assert name == "up" or name in known, name
        assert asked <= known.get(name, set()) | scraped, name


def test_every_metric_of_the_service_itself_is_drawn(
    known: dict[str, set[str]],
) -> None:
    drawn = " ".join(EXPRESSIONS)
    ends = r"_(total|created|bucket|sum|count)$"
    for name in {re.sub(ends, "", each) for each in known}:
        assert name in drawn or not name.startswith("serving_"), name


def test_routes_that_are_measured_are_routes_of_the_service(
    pool: PredictorPool,
) -> None:
    app = create_app(ServingConfig(), pool=pool)
    routes = [rule.rule for rule in app.url_map.iter_rules()]
    for pattern in set(re.findall(r'route=~"([^"]+)"', " ".join(EXPRESSIONS))):
        for part in pattern.split("|"):
            assert any(re.fullmatch(part, route) for route in routes), part


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_each_alert_has_a_severity_a_summary_and_its_page(rule: dict[str, Any]) -> None:
    notes = rule["annotations"]
    page, _, anchor = notes["runbook"].partition("#")

    assert rule["labels"]["severity"] in ("warning", "critical")
    assert notes["summary"]
    assert anchor == rule["alert"].lower()
    headings = re.findall(r"^#+ (\w+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in [heading.lower() for heading in headings]


@pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not installed: `make team-tools`",
)
def test_promtool_accepts_the_settings_and_the_alerts_fire(tmp_path: Path) -> None:
    copy = shutil.copytree(PROMETHEUS, tmp_path / "prometheus")
    settings = (copy / "prometheus.yml").read_text()
    (copy / "prometheus.key").write_text("key")
    own = settings.replace("/run/secrets/", f"{copy}/")
    (copy / "prometheus.yml").write_text(own)

    for command in ("check config", "test rules"):
        name = "alerts_test.yml" if command == "test rules" else "prometheus.yml"
        done = subprocess.run(
            ["promtool", *command.split(), copy / name], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not installed: `make team-tools`",
)
def test_promtool_accepts_what_the_service_says(client: FlaskClient) -> None:
    text = client.get("/metrics").data

    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_asks_the_source_that_is_provisioned() -> None:
    folder = GRAFANA / "provisioning"
    (source,) = yaml.safe_load(
        (folder / "datasources" / "prometheus.yaml").read_text()
    )["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards" / "files.yaml").read_text())[
        "providers"
    ]
    compose = (ROOT / "deploy" / "compose" / "compose.yaml").read_text()

    assert {panel["datasource"]["uid"] for panel in PANELS} == {source["uid"]}
    assert f"../grafana/dashboards:{provider['options']['path']}:ro" in compose


def test_panels_neither_overlap_nor_leave_the_grid() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
