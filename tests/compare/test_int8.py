"""A version against its own int8 form, by a service of compare's own."""

import json
from pathlib import Path

import pytest

from compare.__main__ import main
from compare.report.terminal import report_lines
from compare.results.verdict import judge
from tests.compare.conftest import DATA, made_up_comparison, served
from tests.conftest import Store, serving


def test_a_version_compares_with_its_int8_form_like_any_other(
    quantised_store: Store,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = quantised_store.copy(tmp_path / "store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", own.uri)
    arguments = ["--a", "latest", "--b", "latest.int8", "--cache", str(cache)]

    code = main([*arguments, "--out", str(tmp_path / "out")])

    assert code == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [summary[side]["version"] for side in "ab"] == ["2", "2.int8"]
    assert summary["a"]["run_id"] != summary["b"]["run_id"]
    assert summary["notes"] == []
    form = own.registry.resolve(own.model, "v2.int8")
    assert summary["b"]["top1_accuracy"] == pytest.approx(form.val_top1_accuracy)
    assert form.tags["compare.vs_2.verdict"] == "no_gate"  # kept at its base
    agreement = float(form.tags["agreement"])
    assert summary["disagreement_rate"] == pytest.approx(1 - agreement)


def test_a_service_that_answers_in_another_precision_is_not_comparable(
    quantised_store: Store,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", quantised_store.uri)
    names = ["--a", "v2", "--b", "v2.int8", "--cache", str(cache), "--no-mlflow"]
    out = tmp_path / "out"

    with serving(quantised_store, "--precision", "int8") as service:
        code = main([*names, "--url", service.url, "--out", str(out)])

    assert code == 3
    summary = json.loads((out / "summary.json").read_text())
    assert summary["verdict"] == "not_comparable"
    assert "version 2 as onnx;int8, not as fp32" in summary["reasons"][0]


def test_a_form_that_does_not_exist_is_wrong_usage(
    quantised_store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", quantised_store.uri)
    monkeypatch.chdir(tmp_path)

    assert main(["--a", "v1", "--b", "v1.int8"]) == 2
    assert "--quantize v1 --data PATH" in capsys.readouterr().err


def test_the_report_of_long_names_stays_within_eighty_columns() -> None:
    a, b = (served(number, epoch=16) for number in ("116.int8", "117.int8"))
    verdict = judge(made_up_comparison(), a=a, b=b, gates=(), data=DATA)

    lines = report_lines(verdict, data="digits", folder=Path("out"))

    assert max(map(len, lines)) <= 80
    (header,) = (line for line in lines if "change, with its" in line)
    assert header.split()[:2] == ["v116.int8", "v117.int8"]
    (ranks,) = (line for line in lines if line.strip().startswith("in v117.int8"))
    assert ranks.split()[2:] == ["1st", "2nd", "3rd", "4th", "5th", "none"]
