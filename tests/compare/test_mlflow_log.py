"""The alias moves when every gate has passed, and never else."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from classifier.store.comparisons import (
    MATRIX,
    PICTURES,
    PICTURES_TAG,
    read_comparisons,
)
from classifier.store.location import is_there_a_store
from classifier.store.versions import UnknownVersion
from compare.__main__ import main
from compare.config.settings import RedrawConfig
from compare.mlflow_log import LOGGED, log_comparison, promote, scalars, try_to_log
from compare.report.draw import Drawn, redraw
from compare.results.folder import REPORTS
from compare.results.gates import parse_gate
from compare.results.numbers import PairedNumbers
from compare.statistics.measure import Estimate
from tests.compare.conftest import NO_NUMBERS
from tests.conftest import Store

PASSES = (parse_gate("images<1"),)


def _alias(store: Store, alias: str) -> list[str]:
    versions = store.registry.versions(store.model)
    return [v.number for v in versions if alias in v.aliases]


def test_a_candidate_that_passes_gets_the_alias(own_store: Store, folder: Path) -> None:
    own_store.registry.set_alias(own_store.model, "champion", "1")
    drawn = redraw(RedrawConfig(folder=folder, gates=PASSES))

    said = promote(drawn, "champion")

    assert said == "@champion of digits-tiny is now v2, it was v1"
    assert _alias(own_store, "champion") == ["2"]
    assert promote(drawn, "champion") == "@champion is v2 already"


@pytest.mark.parametrize("verdict", ["fail", "no gate", "not comparable"])
def test_a_candidate_that_does_not_pass_gets_nothing(
    own_store: Store, folder: Path, verdict: str
) -> None:
    gates = (parse_gate("images>10"),) if verdict == "fail" else ()
    if verdict == "not comparable":
        run = (folder / "run.json").read_text()
        (folder / "run.json").write_text(
            run.replace('"differing": 0', '"differing": 3')
        )
    drawn = redraw(RedrawConfig(folder=folder, gates=gates))

    said = promote(drawn, "champion")

    assert said == f"@champion was not moved to v2: the verdict is {verdict}"
    assert _alias(own_store, "champion") == []


def test_a_version_of_another_store_is_not_promoted(
    own_store: Store, folder: Path
) -> None:
    """It may have the same model and number, and be another network."""
    kept = (folder / "comparison.json").read_text()
    run_id = own_store.registry.resolve(own_store.model, "2").run_id
    assert run_id is not None
    (folder / "comparison.json").write_text(kept.replace(run_id, "another"))
    drawn = redraw(RedrawConfig(folder=folder, gates=PASSES))

    with pytest.raises(UnknownVersion, match="set MLFLOW_TRACKING_URI"):
        promote(drawn, "champion")


@pytest.fixture
def drawn(folder: Path) -> Drawn:
    return redraw(RedrawConfig(folder=folder))


def _client(store: Store) -> MlflowClient:
    return MlflowClient(store.uri, store.uri)


def _runs(store: Store) -> list[Run]:
    experiment = _client(store).get_experiment_by_name("compare")
    assert experiment is not None
    runs: list[Run] = list(_client(store).search_runs([experiment.experiment_id]))
    return runs


def test_a_run_has_the_numbers_the_files_and_links_to_both_versions(
    own_store: Store, drawn: Drawn
) -> None:
    logged = log_comparison(drawn)

    (run,) = _runs(own_store)
    assert run.info.run_id == logged.run_id
    assert run.info.status == "FINISHED"
    assert run.info.artifact_uri.startswith(
        str(own_store.folder / "mlruns" / "compare")
    )
    assert run.data.tags["model"] == own_store.model
    assert run.data.tags["a.version"] == "1"
    assert run.data.tags["b.version"] == "2"
    assert run.data.tags["verdict"] == "no_gate"
    assert run.data.tags["dataset.digest"] == drawn.record.data_digest
    top1 = drawn.verdict.summary.top1
    assert run.data.metrics["top1.delta"] == top1.delta.value
    assert run.data.metrics["top1.delta.low"] == top1.delta.low
    assert run.data.metrics["top1.broken"] == top1.broken
    artifacts = _client(own_store).list_artifacts(logged.run_id)
    assert {artifact.path for artifact in artifacts} == {*REPORTS, PICTURES}
    assert run.data.tags[PICTURES_TAG] == "12"
    inputs = _client(own_store).get_run(logged.run_id).inputs
    (dataset,) = inputs.dataset_inputs
    assert dataset.dataset.name == "digits"
    linked = {entry.model_id for entry in inputs.model_inputs}
    versions = own_store.registry.versions(own_store.model)
    assert linked == {version.model_id for version in versions}


def test_the_candidate_is_tagged(own_store: Store, drawn: Drawn) -> None:
    logged = log_comparison(drawn)

    tags = own_store.registry.resolve(own_store.model, "2").tags
    delta = drawn.verdict.summary.top1.delta.value
    assert tags["compare.vs_1.verdict"] == "no_gate"
    assert float(tags["compare.vs_1.delta"]) == delta
    assert float(tags["compare.vs_1.negative_flip_rate"]) >= 0
    assert tags["compare.vs_1.run_id"] == logged.run_id
    assert logged.untagged == ""
    baseline = own_store.registry.resolve(own_store.model, "1").tags
    assert not any(name.startswith("compare.") for name in baseline)


def test_the_same_answers_and_gates_are_logged_once(
    own_store: Store, drawn: Drawn, folder: Path
) -> None:
    first = log_comparison(drawn)
    again = log_comparison(redraw(RedrawConfig(folder=folder)))
    gated = RedrawConfig(folder=folder, gates=(parse_gate("images>1"),))
    other = log_comparison(redraw(gated))
    back = log_comparison(redraw(RedrawConfig(folder=folder)))

    assert first.is_new
    assert other.is_new
    assert (again.is_new, again.run_id) == (False, first.run_id)
    assert (back.is_new, back.run_id) == (False, first.run_id)
    assert len(_runs(own_store)) == 2


def test_a_log_that_was_cut_off_is_taken_up_in_the_same_run(
    own_store: Store, drawn: Drawn
) -> None:
    first = log_comparison(drawn)
    kept = json.loads((drawn.folder / LOGGED).read_text())
    for entry in kept["runs"].values():
        entry["whole"] = False
    (drawn.folder / LOGGED).write_text(json.dumps(kept))

    again = log_comparison(drawn)

    assert again.run_id == first.run_id
    (run,) = _runs(own_store)
    history = _client(own_store).get_metric_history(run.info.run_id, "images")
    assert len(history) == 1
    inputs = _client(own_store).get_run(run.info.run_id).inputs
    assert (len(inputs.dataset_inputs), len(inputs.model_inputs)) == (1, 2)


def test_a_run_that_was_deleted_is_logged_anew(own_store: Store, drawn: Drawn) -> None:
    first = log_comparison(drawn)
    _client(own_store).delete_run(first.run_id)

    assert log_comparison(drawn).run_id != first.run_id


def test_versions_of_another_store_are_not_tagged(
    own_store: Store, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = (folder / "comparison.json").read_text()
    run_id = own_store.registry.resolve(own_store.model, "2").run_id
    assert run_id is not None
    (folder / "comparison.json").write_text(record.replace(run_id, "another"))

    try_to_log(redraw(RedrawConfig(folder=folder)))

    assert len(_runs(own_store)) == 1
    assert "the candidate was not tagged" in caplog.text


def test_a_store_that_fails_is_told_and_spoils_nothing(
    drawn: Drawn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'no.db'}")

    try_to_log(drawn)

    assert "not logged in MLflow: there is no MLflow store" in caplog.text
    assert not (tmp_path / "no.db").exists()


def test_artifacts_that_cannot_be_written_are_told(
    own_store: Store, drawn: Drawn, caplog: pytest.LogCaptureFixture
) -> None:
    (own_store.folder / "mlruns" / "compare").write_text("in the way")

    try_to_log(drawn)

    assert "not logged in MLflow: cannot log the comparison" in caplog.text


def test_there_is_a_store_where_one_is_named_or_lies_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not is_there_a_store()
    (tmp_path / "mlflow.db").touch()
    assert is_there_a_store()
    (tmp_path / "mlflow.db").unlink()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert is_there_a_store()


def test_scalars_are_the_numbers_that_exist_by_their_gates_names() -> None:
    summary = replace(
        NO_NUMBERS,
        images=3,
        top1=PairedNumbers(delta=Estimate(0.5, None, 0.75)),
        rank_transitions=[[1]],
    )

    assert scalars(summary) == {
        "images": 3,
        "top1.delta": 0.5,
        "top1.delta.high": 0.75,
    }


def test_a_matrix_is_logged_once(own_store: Store, tmp_path: Path) -> None:
    for out in ("x", "y"):
        command = ["--matrix", "v1,v2", "--out", str(tmp_path / out)]
        assert main(command) == 0
    assert main(["--matrix", "v2,v1", "--out", str(tmp_path / "z"), "--no-mlflow"]) == 0

    (run,) = _runs(own_store)
    assert run.info.run_name == "all pairs of v1,v2"
    (listed,) = read_comparisons(own_store.registry)
    assert (listed.model, listed.a, listed.b) == (own_store.model, None, None)
    assert listed.is_of((own_store.model,))
    assert not listed.is_of(("another",))
    page = own_store.registry.file_of_run(listed.run_id, MATRIX)
    assert page is not None
    assert page.read_bytes() == (tmp_path / "y" / MATRIX).read_bytes()
