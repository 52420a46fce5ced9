"""Train, serve, compare on real digits with ResNet-18, as a user types it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import requests
from sklearn.metrics import accuracy_score, top_k_accuracy_score
from statsmodels.stats.contingency_tables import mcnemar

from classifier.bundle.files import read_bundle
from classifier.datasets.dataset import Dataset
from classifier.metrics import softmax
from classifier.networks.image_classifier import ImageClassifier
from classifier.store.registry import Registry
from tests.conftest import WAIT_SECONDS, read_url
from training.evaluation.evaluate import evaluate

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A working directory in which two epochs were trained, with MLflow's defaults."""
    home = tmp_path_factory.mktemp("home")
    _run(
        home,
        *("training", "--data", "digits", "--epochs", "2", "--image-size", "32"),
        *("--recipe", "plain", "--lr", "0.01", "--batch-size", "32"),
        *("--per-class", "40", "--cache", str(cache)),
    )
    return home


@pytest.fixture(scope="module")
def logits(home: Path, digits: Dataset) -> dict[str, Array]:
    """Logits of both versions for all validation images, by the networks themselves."""
    registry = Registry(f"sqlite:///{home / 'mlflow.db'}")
    found = {}
    for number in ("1", "2"):
        version = registry.resolve("digits-resnet18", number)
        bundle = read_bundle(registry.fetch(version))
        images = np.stack(
            [bundle.preprocessing.image(f.read_bytes()) for f in digits.val.files]
        )
        classifier = ImageClassifier.from_bundle(bundle)
        found[number] = evaluate(
            classifier, images, np.zeros(len(images), np.int64)
        ).logits
    return found


def _run(
    home: Path, module: str, *arguments: str, code: int = 0
) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def test_served_answers_are_the_networks(
    home: Path, digits: Dataset, logits: dict[str, Array]
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "serving", "--port", "0", "--versions", "v1,v2"],
        cwd=home,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        url = read_url(process)
        try:
            answer = requests.post(
                f"{url}/predict?version=v1&version=v2",
                files=[("image", file.read_bytes()) for file in digits.val.files[:40]],
            ).json()
        finally:
            process.terminate()
        assert process.wait(WAIT_SECONDS) == 0

    for row in answer["results"]:
        probabilities = softmax(logits[row["version"]][row["image"]])
        given = [entry["probability"] for entry in row["top"]]
        indices = [entry["index"] for entry in row["top"]]
        # ONNX against torch, fp32
        np.testing.assert_allclose(given, probabilities[indices], atol=1e-4)
        np.testing.assert_allclose(given, np.sort(probabilities)[::-1][:5], atol=1e-4)


def test_compared_numbers_are_those_of_the_two_networks(
    home: Path, digits: Dataset, logits: dict[str, Array]
) -> None:
    """compare starts a service and finds the data in the registry."""
    done = _run(home, "compare", "--a", "v1", "--b", "v2")

    summary = json.loads((home / "compare-v1-v2" / "summary.json").read_text())
    frame = pq.read_table(home / "compare-v1-v2" / "per_image.parquet").to_pandas()
    targets = np.array(digits.val.class_ids).astype(int)
    assert "starting a service" in done.stderr
    assert frame["image"].tolist() == list(digits.val.names)
    for side, number in (("a", "1"), ("b", "2")):
        first = logits[number].argmax(axis=1)
        assert frame[f"{side}_index_1"].tolist() == first.tolist()
        accuracy = accuracy_score(targets, first)
        top5 = top_k_accuracy_score(targets, logits[number], k=5)
        assert summary[side]["top1_accuracy"] == pytest.approx(accuracy)
        assert summary[side]["top5_accuracy"] == pytest.approx(top5)
    right = {n: logits[n].argmax(axis=1) == targets for n in ("1", "2")}
    table = [
        [int((right["1"] & right["2"]).sum()), int((right["1"] & ~right["2"]).sum())],
        [int((~right["1"] & right["2"]).sum()), int((~right["1"] & ~right["2"]).sum())],
    ]
    top1 = summary["top1"]
    assert [top1["both_right"], top1["broken"]] == table[0]
    assert [top1["fixed"], top1["both_wrong"]] == table[1]
    assert top1["mcnemar_exact_p"] == pytest.approx(mcnemar(table, exact=True).pvalue)
    disagree = logits["1"].argmax(axis=1) != logits["2"].argmax(axis=1)
    assert summary["disagreement_rate"] == pytest.approx(disagree.mean())
    assert disagree.sum() > 20  # otherwise there is little to compare


def test_evaluate_and_compare_agree(home: Path, cache: Path) -> None:
    done = _run(
        home,
        *("training", "--evaluate", "v2", "--data", "digits", "--cache", str(cache)),
    )

    closing = re.fullmatch(
        r" \*   Acc@1 (\S+) Acc@5 (\S+)", done.stdout.splitlines()[-1]
    )
    assert closing is not None
    summary = json.loads((home / "compare-v1-v2" / "summary.json").read_text())
    for group, key in ((1, "top1_accuracy"), (2, "top5_accuracy")):
        assert float(closing[group]) == pytest.approx(100 * summary["b"][key], abs=1e-3)


def test_a_version_against_itself_shows_nothing(home: Path) -> None:
    _run(home, "compare", "--a", "v1", "--b", "v1", "--out", "same")

    summary = json.loads((home / "same" / "summary.json").read_text())
    assert summary["disagreement_rate"] == 0
    assert summary["top1"]["mcnemar_mid_p"] == 1
    assert summary["verdict"] == "no_gate"


def test_plain_mlflow_ui_finds_the_store_where_it_looks(home: Path) -> None:
    """MLflow's defaults are ./mlflow.db and artifacts at local paths."""
    assert (home / "mlflow.db").is_file()
    registry = Registry(f"sqlite:///{home / 'mlflow.db'}")
    experiment = registry.client.get_experiment_by_name("digits")
    assert experiment is not None
    assert experiment.artifact_location == str(home / "mlruns" / "digits")
    assert not list((home / "mlruns").rglob("meta.yaml"))
