"""Publish, serve, quantise and compare on both kinds of remote store."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import requests
import torch

from benchmarks.publishing import ours
from classifier.bundle.network import NetworkSpec
from classifier.networks.build import build_network
from classifier.store.registry import Registry
from tests.conftest import encoded, picture
from tests.team.conftest import KINDS, Team
from tests.team.parts import replicas


@pytest.mark.parametrize("kind", KINDS)
def test_versions_are_quantised_served_and_compared(
    team: Team, trained: Mapping[str, str], kind: str, tmp_path: Path, cache: Path
) -> None:
    model = trained[kind]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": team.uri(kind)}

    def run(module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", module, *arguments, "--model", model]
        subprocess.run(command, env=environment, check=True, cwd=tmp_path)

    run("training", "--quantize", "v3", "--data", "digits")
    run("training", "--evaluate", "v3", "--data", "digits")
    out = ("--data", "digits", "--limit", "100", "--out")
    run("compare", "--a", "v1", "--b", "v3.int8", *out, "int8")
    run("compare", "--matrix", "v1..v3", "--out", "matrix")

    assert (tmp_path / "int8" / "per_image.parquet").is_file()
    logged = Registry(team.uri(kind)).client.get_experiment_by_name("compare")
    assert logged is not None


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_answer_of_a_resnet_18_that_must_be_fetched(
    team: Team, kind: str, tmp_path: Path
) -> None:
    """45 MB over the S3 protocol."""
    network = build_network(NetworkSpec("resnet18", "imagenet", 200), size=64)
    model = f"resnet18-{kind}"
    registry = Registry(team.uri(kind))
    torch.manual_seed(0)
    publish = ours(registry, tmp_path, network, model=model)
    for epoch in (1, 2):
        publish(epoch)

    arguments = ("--model", model, "--versions", "all", "--drain-seconds", "0")
    with replicas(team.uri(kind), tmp_path, *arguments, count=1) as (replica,):
        started = time.monotonic()
        answer = requests.post(
            f"{replica.url}/predict?version=v2", data=encoded(picture())
        )
        seconds = time.monotonic() - started

    print(f"first answer of a version, {kind}: {seconds:.2f} s")
    assert answer.status_code == 200, answer.text
