"""Answers and versions to compare, made up but whole."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classifier.bundle.labels import Labels
from compare.__main__ import main
from compare.collect.answer_store import PairOfAnswers
from compare.collect.schema import ServedVersion, TopAnswer
from compare.results.comparison import Comparison, align
from compare.results.document import write_document
from compare.results.numbers import Probe, VersionNumbers
from compare.results.summary import DataFacts, Summary
from compare.results.verdict import Verdict, judge
from compare.statistics.slices import ImageFacts
from tests.conftest import RunningService, Store

CLASSES = 8

DATA = DataFacts("digits", "d1", labelled=True)
UNLABELLED = DataFacts("photos", "d2", labelled=False)
NO_NUMBERS = Summary(
    model="m",
    verdict="no_gate",
    a=VersionNumbers(version="8"),
    b=VersionNumbers(version="16"),
)
HEAD = {"schema", "model", "verdict", "reasons", "notes", "gates"}
"""Keys of summary.json before the numbers; no number of theirs has a gate."""


def served(
    number: str, ids: tuple[str, ...] | None = None, *, epoch: int | None = None
) -> ServedVersion:
    labels = Labels.from_ids([f"n{i}" for i in range(CLASSES)])
    if ids is not None:
        labels = Labels(ids, ids)
    epoch = int(number) if epoch is None else epoch
    return ServedVersion("m", number, labels, f"run-{number}", epoch, "d1")


def made_up_answers(count: int, seed: int = 0) -> dict[str, PairOfAnswers]:
    """Two versions that agree on many images, of fair accuracy."""
    rng = np.random.default_rng(seed)

    def answer(truth: int) -> TopAnswer:
        logits = rng.normal(size=CLASSES)
        logits[truth] += 1.5
        probabilities = np.exp(logits) / np.exp(logits).sum()
        top = np.argsort(-probabilities)[:5]
        return TopAnswer(tuple(map(int, top)), tuple(probabilities[top].tolist()))

    return {
        f"img_{n}.png": (answer(n % CLASSES), answer(n % CLASSES)) for n in range(count)
    }


def made_up_comparison(count: int = 400, *, labelled: bool = True) -> Comparison:
    names = [f"img_{n}.png" for n in range(count)]
    class_ids = [f"n{n % CLASSES}" for n in range(count)]
    answers = made_up_answers(count)
    known = class_ids if labelled else None
    return align(names, known, answers, a=served("8"), b=served("16"))


def image_facts(count: int, seed: int = 0) -> ImageFacts:
    rng = np.random.default_rng(seed)
    return ImageFacts(rng.uniform(0, 255, count), rng.uniform(size=count) < 0.2)


@pytest.fixture
def comparison() -> Comparison:
    return made_up_comparison()


@pytest.fixture
def verdict(comparison: Comparison) -> Verdict:
    return judge(
        comparison,
        a=served("8"),
        b=served("16"),
        gates=(),
        data=DATA,
        images=image_facts(len(comparison.names)),
        probe=Probe(images=100, differing=0),
    )


@pytest.fixture
def summary(verdict: Verdict) -> Summary:
    return verdict.summary


@pytest.fixture
def document(summary: Summary) -> dict[str, Any]:
    """summary.json's, to be changed."""
    return as_json(summary)


def as_json(summary: Summary) -> dict[str, Any]:
    """What a program reads in summary.json."""
    document: dict[str, Any] = json.loads(json.dumps(write_document(summary)))
    return document


@pytest.fixture
def own_store(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy of the store, which the programs use."""
    made = store.copy(tmp_path / "store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.uri)
    return made


@pytest.fixture(scope="session")
def compared(
    store: Store, service: RunningService, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What `python -m compare` left of versions 1 and 2; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("compared") / "compare-v1-v2"
    arguments = ["--a", "v1", "--b", "v2", "--url", service.url, "--no-mlflow"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store.uri)
        assert main([*arguments, "--out", str(folder), "--limit", "200"]) == 0
    return folder


@pytest.fixture
def folder(compared: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return shutil.copytree(compared, tmp_path / "compare-v1-v2")
