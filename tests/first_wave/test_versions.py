"""Versions of the first wave answer, are measured and are trained further as before.

The tolerances are those of two CPUs, whose sums of float32 differ in their order.
"""

import re
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pytest
from numpy.typing import NDArray

from classifier.__main__ import main as upkeep
from classifier.hardware import BackendKind
from classifier.inference.backends.open import open_backend
from classifier.metrics import softmax
from tests.conftest import Store, serving
from tests.first_wave.make import ask
from training.__main__ import main

Pixels = NDArray[np.uint8]


@pytest.mark.parametrize("backend", ["onnx", "torch"])
@pytest.mark.parametrize("version", ["1", "2"])
def test_a_bundle_gives_its_logits(
    old: Store, pixels: Pixels, answers: Any, backend: BackendKind, version: str
) -> None:
    opened = open_backend(backend, old.bundle(version), device="cpu", threads=1)

    found = opened.logits(pixels)

    np.testing.assert_allclose(found, answers["logits"][version], rtol=1e-4, atol=1e-4)


def test_an_int8_form_gives_its_probabilities(
    old: Store, pixels: Pixels, answers: Any
) -> None:
    opened = open_backend("onnx", old.bundle("1.int8"), device="cpu", threads=1)

    found = softmax(opened.logits(pixels))

    expected = [rows[2] for rows in answers["probabilities"]["onnx"]]
    np.testing.assert_allclose(found, expected, atol=0.02)  # int8 kernels round


@pytest.mark.parametrize(
    ("backend", "versions"),
    [("onnx", ("v1", "v2", "v1.int8")), ("torch", ("v1", "v2"))],
)
def test_a_service_gives_the_same_answers(
    old: Store,
    images: list[Path],
    answers: Any,
    backend: str,
    versions: tuple[str, ...],
) -> None:
    flags = ("--backend", backend, "--versions", ",".join(versions))

    with serving(old, *flags, "--drain-seconds", "0") as service:
        found = np.array([ask(service.url, image, versions) for image in images])

    expected = np.array(answers["probabilities"][backend])
    np.testing.assert_allclose(found[:, :2], expected[:, :2], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert (found.argmax(axis=-1)[:, :2] == expected.argmax(axis=-1)[:, :2]).all()


@pytest.mark.parametrize("version", ["1", "2"])
def test_mlflow_gives_the_same_logits(
    old: Store, pixels: Pixels, answers: Any, version: str
) -> None:
    mlflow.set_tracking_uri(old.uri)

    model = mlflow.pyfunc.load_model(f"models:/{old.model}/{version}")

    found = model.predict(pixels)["logits"]
    np.testing.assert_allclose(found, answers["logits"][version], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_evaluate_prints_the_same_accuracies(
    old: Store, answers: Any, version: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--evaluate", version, "--data", "photos"]) == 0

    found = _numbers(capsys.readouterr().out)
    assert found == pytest.approx(_numbers(answers["evaluated"][version]), rel=1e-3)


def _numbers(report: str) -> list[float]:
    """Losses and accuracies of the report's lines."""
    lines = re.findall(r"(?:Loss.*)?Acc@1.*", report)
    return [float(n) for line in lines for n in re.findall(r"\d\.?\d[\d.e+-]*", line)]


def test_versions_without_digests_are_listed_and_found_whole(
    old: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert upkeep(["list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3

    assert upkeep(["verify"]) == 0
    *lines, summary = capsys.readouterr().out.splitlines()
    assert all("; no digests; graph " in line for line in lines)
    assert summary == "3 versions: 3 whole, 0 broken"

    assert upkeep(["diff", "v1", "v2"]) == 0
    assert capsys.readouterr().out.endswith("version\n  epoch  1  ->  2\n")
    assert upkeep(["show", "v1.int8"]) == 0
    assert "sha256 not recorded" in capsys.readouterr().out
