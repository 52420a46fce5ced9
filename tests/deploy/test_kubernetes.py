"""deploy/kubernetes: valid for the API, and in accord with the programs it runs."""

import argparse
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import kubernetes_validate
import pytest
import yaml
from prometheus_client import Gauge

import compare.config.command_line
from classifier.upkeep import fetch
from serving.app import create_app
from serving.config import ServingConfig, config_from_environment
from serving.metrics import Metrics
from serving.versions.pool import PredictorPool
from training.config.commands import parse_arguments

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
SCHEMAS = Path(__file__).parent / "schemas"
KUBERNETES = "1.37"

Manifest = dict[str, Any]


def _documents(file: Path) -> list[Manifest]:
    return [each for each in yaml.safe_load_all(file.read_text()) if each]


def build(folder: Path) -> list[Manifest]:
    """What `kubectl kustomize` makes of the fields that are used here: resources,
    patches that are merged, a namespace, names of images, and labels."""
    (settings,) = _documents(folder / "kustomization.yaml")
    known = {"apiVersion", "kind", "resources", "patches", "namespace", "images"}
    assert set(settings) <= known | {"labels"}
    found: list[Manifest] = []
    for name in settings["resources"]:
        path = folder / name
        found += build(path) if path.is_dir() else _documents(path)
    for patch in settings.get("patches", []):
        for change in _documents(folder / patch["path"]):
            key = (change["kind"], change["metadata"]["name"])
            (target,) = [e for e in found if (e["kind"], e["metadata"]["name"]) == key]
            _merge(target, change)
    for each in found:
        if "namespace" in settings:
            each["metadata"]["namespace"] = settings["namespace"]
        for labels in settings.get("labels", []):
            _add_labels(each, labels["pairs"])
    return found


def _merge(target: Manifest, change: Manifest) -> None:
    """Strategic merge: objects by key, lists of named things by their `name`."""
    for key, value in change.items():
        old = target.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            _merge(old, value)
        elif isinstance(value, list) and isinstance(old, list):
            named = {each["name"]: each for each in old}
            for each in value:
                if each["name"] in named:
                    _merge(named[each["name"]], each)
                else:
                    old.append(each)
        else:
            target[key] = value


def _add_labels(manifest: Manifest, pairs: dict[str, str]) -> None:
    manifest["metadata"].setdefault("labels", {}).update(pairs)
    spec = manifest["spec"]
    if manifest["kind"] == "Service":
        spec.setdefault("selector", {}).update(pairs)
    elif manifest["kind"] == "Deployment":
        spec.setdefault("selector", {}).setdefault("matchLabels", {}).update(pairs)
        meta = spec["template"].setdefault("metadata", {})
        meta.setdefault("labels", {}).update(pairs)


TOPS = ("overlays/cpu", "overlays/gpu", "jobs", "kserve")
BUILT = {top: build(FOLDER / top) for top in TOPS}
ALL = [
    pytest.param(each, id=f"{top}-{each['kind']}-{each['metadata']['name']}")
    for top, built in BUILT.items()
    for each in built
]


@pytest.mark.parametrize("manifest", ALL)
def test_the_api_accepts_it(manifest: Manifest) -> None:
    schema = SCHEMAS / f"{manifest['kind']}.json"
    if schema.is_file():
        jsonschema_rs.validate(json.loads(schema.read_text()), manifest)
    else:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize("kind", [path.stem for path in SCHEMAS.iterdir()])
def test_containers_and_volumes_of_custom_kinds_are_valid_in_a_pod(kind: str) -> None:
    for manifest in (each for built in BUILT.values() for each in built):
        spec = manifest["spec"]
        if manifest["kind"] != kind:
            continue
        containers = [*spec.get("containers", [])]
        containers += [spec["container"]] if "container" in spec else []
        if containers:
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "x"},
                "spec": {"containers": containers, "volumes": spec.get("volumes", [])},
            }
            kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_a_wrong_field_is_refused() -> None:
    (job,) = [each for each in BUILT["jobs"] if each["kind"] == "TrainJob"]
    wrong = {**job, "spec": {**job["spec"], "elasticPolicy": {}}}
    schema = json.loads((SCHEMAS / "TrainJob.json").read_text())
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(schema, wrong)

    (service,) = [e for e in BUILT["overlays/cpu"] if e["kind"] == "Service"]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**service, "sepc": {}}, KUBERNETES, strict=True)


def test_every_file_is_part_of_a_kustomization() -> None:
    named = {FOLDER / "base" / "kustomization.yaml"}
    for file in FOLDER.rglob("kustomization.yaml"):
        (settings,) = _documents(file)
        named.add(file)
        named |= {file.parent / name for name in settings["resources"]}
        named |= {file.parent / p["path"] for p in settings.get("patches", [])}

    assert set(FOLDER.rglob("*.yaml")) <= {p.resolve() for p in named}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("top", TOPS)
def test_kubectl_builds_the_same(top: str) -> None:
    done = subprocess.run(
        ["kubectl", "kustomize", FOLDER / top], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

    def names(built: list[Manifest]) -> list[tuple[str, str]]:
        return sorted((each["kind"], each["metadata"]["name"]) for each in built)

    theirs = list(yaml.safe_load_all(done.stdout))
    assert names(theirs) == names(BUILT[top])
    pairs = {(e["kind"], e["metadata"]["name"]): e for e in BUILT[top]}
    for each in theirs:
        ours = pairs[each["kind"], each["metadata"]["name"]]
        if each["kind"] in ("Deployment", "Job"):
            _without_images(ours)
            _without_images(each)
        assert each["spec"] == ours["spec"], each["kind"]


def _without_images(manifest: Manifest) -> None:
    for container in _pod(manifest)["containers"]:
        container["image"] = container["image"].rpartition("/")[2].partition(":")[0]
        container["image"] = container["image"].removesuffix("-gpu")
        container["env"] = sorted(container["env"], key=lambda each: str(each["name"]))


def _pod(manifest: Manifest) -> Manifest:
    pod: Manifest = manifest["spec"]["template"]["spec"]
    return pod


def _deployments() -> Iterator[tuple[str, Manifest, ServingConfig]]:
    for top in ("overlays/cpu", "overlays/gpu"):
        (found,) = [each for each in BUILT[top] if each["kind"] == "Deployment"]
        (container,) = _pod(found)["containers"]
        variables = {each["name"]: each["value"] for each in container["env"]}
        known = {f"SERVING_{n.upper()}" for n in ServingConfig.__dataclass_fields__}
        assert {name for name in variables if name.startswith("SERVING_")} <= known
        yield top, found, config_from_environment(variables)


def test_a_pod_is_given_the_time_that_its_last_requests_may_take() -> None:
    for _, deployment, config in _deployments():
        given = _pod(deployment)["terminationGracePeriodSeconds"]
        assert config.drain_seconds + config.graceful_seconds < given


def test_a_pod_drains_for_longer_than_it_takes_to_be_seen_as_not_ready() -> None:
    for _, deployment, config in _deployments():
        probe = _pod(deployment)["containers"][0]["readinessProbe"]
        seen = probe["periodSeconds"] * probe["failureThreshold"]
        assert seen + probe["timeoutSeconds"] < config.drain_seconds


def test_the_overlays_choose_the_device() -> None:
    devices = {top: config.device for top, _, config in _deployments()}

    assert devices == {"overlays/cpu": "cpu", "overlays/gpu": "cuda"}


def test_a_trial_of_a_version_fits_into_the_memory_of_the_pod() -> None:
    for _, deployment, config in _deployments():
        limit = _pod(deployment)["containers"][0]["resources"]["limits"]["memory"]
        assert config.load_megabytes < 1024 * int(limit.removesuffix("Gi"))


def test_every_rule_about_the_pods_selects_them() -> None:
    for top in ("overlays/cpu", "overlays/gpu"):
        built = {each["kind"]: each["spec"] for each in BUILT[top]}
        labels = built["Deployment"]["template"]["metadata"]["labels"]

        assert built["PodDisruptionBudget"]["selector"]["matchLabels"] == labels
        assert built["NetworkPolicy"]["podSelector"]["matchLabels"] == labels
        assert built["ServiceMonitor"]["selector"]["matchLabels"] == labels
        assert built["Service"]["selector"] == labels


def test_its_root_is_read_only_and_each_volume_that_is_mounted_is_there() -> None:
    manifests = [each for built in BUILT.values() for each in built]
    for pod in (_pod(each) for each in manifests if "template" in each["spec"]):
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        for container in pod["containers"]:
            assert {m["name"] for m in container["volumeMounts"]} <= volumes
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
    for _, deployment, _ in _deployments():
        pod = _pod(deployment)
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_probes_ask_routes_of_the_service(pool: PredictorPool) -> None:
    app = create_app(ServingConfig(), pool=pool)
    routes = {rule.rule for rule in app.url_map.iter_rules()}
    text = "".join(path.read_text() for path in FOLDER.rglob("*.yaml"))

    asked = set(re.findall(r"path: (/\w[\w/]*)[,\n]", text)) - {"/etc/flipside"}
    assert "/readyz" in asked
    assert asked <= routes


def test_the_autoscaler_reads_a_gauge_of_the_service() -> None:
    (scaler,) = [
        each
        for each in BUILT["overlays/cpu"]
        if each["kind"] == "HorizontalPodAutoscaler"
    ]
    (metric,) = scaler["spec"]["metrics"]

    queue = Metrics().queue_depth
    assert isinstance(queue, Gauge)
    assert metric["pods"]["metric"]["name"] == queue._name


def _containers(top: str) -> dict[str, Manifest]:
    return {
        each["metadata"]["name"]: _pod(each)["containers"][0]
        for each in BUILT[top]
        if each["kind"] == "Job"
    }


def test_the_training_jobs_are_commands_of_training() -> None:
    command = _containers("jobs")["train-birds-1"]["command"]
    (job,) = [each for each in BUILT["jobs"] if each["kind"] == "TrainJob"]
    trainer = job["spec"]["trainer"]

    for words in (command, [*trainer["command"], *trainer["args"]]):
        place = words.index("-m")
        assert words[place + 1] == "training"
        assert parse_arguments(words[place + 2 :])
        assert words[0].endswith("/torchrun")
        assert torchrun_flags(words[1:place]).rdzv_id == job_name(words)


def torchrun_flags(words: list[str]) -> argparse.Namespace:
    """As torchrun itself reads them; it ends the process for a wrong flag."""
    from torch.distributed.run import get_args_parser

    flags: argparse.Namespace = get_args_parser().parse_args([*words, "script.py"])
    return flags


def job_name(words: list[str]) -> str:
    """The launch's name is the job's, so that each job is a run of its own."""
    (name,) = [w.partition("=")[2] for w in words if w.startswith("--rdzv-id=")]
    assert re.search(rf"^  name: {name}$", _jobs_text(), re.MULTILINE)
    return name


def _jobs_text() -> str:
    return "".join(path.read_text() for path in (FOLDER / "jobs").iterdir())


def test_the_shards_and_their_join_are_commands_of_compare() -> None:
    jobs = {each["metadata"]["name"]: each for each in BUILT["jobs"]}
    shards, join = jobs["compare-v8-v16"], jobs["compare-v8-v16-join"]
    words = _pod(shards)["containers"][0]["args"]
    flags = dict(word.split("=", 1) for word in words)

    of = flags["--shard"].partition("/")[2]
    assert shards["spec"]["completionMode"] == "Indexed"
    assert shards["spec"]["completions"] == int(of)
    (joined, *_) = _pod(join)["containers"][0]["args"]
    assert joined == f"--join={flags['--out']}"


def test_compare_understands_the_commands_of_its_jobs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "3")
    with pytest.raises(SystemExit):
        compare.config.command_line.parse_arguments(["--help"])
    if "--shard" not in capsys.readouterr().out:
        pytest.skip("this compare has no shards")
    for name, container in _containers("jobs").items():
        if name.startswith("compare"):
            assert compare.config.command_line.parse_arguments(container["args"])


def test_kserve_fetches_by_a_command_of_ours(tmp_path: Path) -> None:
    built = {each["kind"]: each["spec"] for each in BUILT["kserve"]}
    container = built["ClusterStorageContainer"]["container"]
    address = built["InferenceService"]["predictor"]["model"]["storageUri"]
    parser = argparse.ArgumentParser()
    fetch.add_to(parser.add_subparsers())

    python, *words = container["command"]
    assert words[:2] == ["-m", "classifier"]
    typed = parser.parse_args([*words[2:], address, "/mnt/models"])

    (runtime,) = built["ServingRuntime"]["containers"]
    variables = {each["name"]: each["value"] for each in runtime["env"]}
    store = f"sqlite:///{typed.folder}/mlflow.db"
    assert variables["MLFLOW_TRACKING_URI"] == store
    assert python in (ROOT / "Dockerfile").read_text()
    config = config_from_environment(variables)
    assert config.port == runtime["ports"][0]["containerPort"]
    given = built["InferenceService"]["predictor"]["terminationGracePeriodSeconds"]
    assert config.drain_seconds + config.graceful_seconds < given
