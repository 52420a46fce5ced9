"""`prune`: what is removed, what never is, and what a kill leaves."""

import os
import random
import shutil
from pathlib import Path

import pytest

from classifier.__main__ import main
from classifier.bundle.files import read_bundle
from classifier.hardware import PROCESS_TAG, this_process
from classifier.store.logged_models import LoggedModels
from classifier.store.maintenance.removal import Shelf, freed_bytes
from classifier.store.registry import Registry
from tests.classifier.upkeep.conftest import VERSIONS
from tests.classifier.upkeep.killed import Commands
from tests.conftest import Store, serving

KILLS = pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.soak)])


@pytest.fixture
def many_here(many: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", many.uri)
    return many


def _numbers(store: Store) -> list[str]:
    return [version.number for version in store.registry.versions(store.model)]


def _model_folders(store: Store) -> set[str]:
    return {folder.name for folder in store.folder.glob("mlruns/*/models/m-*")}


def test_versions_that_nobody_needs_leave_with_their_files_and_int8_forms(
    many_here: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prune", "--keep", "last", "--yes"]) == 0
    said = capsys.readouterr().out

    assert _numbers(many_here) == ["1", "8"]
    kept = {many_here.registry.resolve(many_here.model, n).model_id for n in "18"}
    assert _model_folders(many_here) == kept
    assert "keep   v1  @best, @best-loss" in said
    assert "keep   v8  last of its run" in said
    assert "with its int8 form" in next(x for x in said.splitlines() if " v2 " in x)
    for number in "18":
        many_here.bundle(number)
    run_id = many_here.registry.resolve(many_here.model, "1").run_id
    assert run_id is not None
    assert many_here.registry.text_of_run(run_id, "diagnosis.md")


def test_a_second_time_there_is_nothing_to_remove(
    many_here: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["prune", "--keep", "every=4", "--yes"])
    assert _numbers(many_here) == ["1", "4", "8"]
    capsys.readouterr()

    assert main(["prune", "--keep", "every=4"]) == 0
    assert "0 versions to remove, which frees 0.00 MB" in capsys.readouterr().out


@pytest.mark.parametrize(("flags", "code"), [(["--dry-run"], 0), ([], 2)])
def test_nothing_is_removed_without_yes(
    flags: list[str],
    code: int,
    many_here: Store,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["prune", "--keep", "last", *flags]) == code

    said = capsys.readouterr()
    assert "6 versions to remove, which frees " in said.out
    assert ("add --yes" in said.err) == (code == 2)
    assert len(_numbers(many_here)) == VERSIONS


@pytest.mark.parametrize("words", ["worst", "last=0", "every", "every=x"])
def test_a_word_that_keep_does_not_know_is_refused(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["prune", "--keep", words])

    assert ended.value.code == 2
    assert "must be words of best, last" in capsys.readouterr().err


def test_compared_versions_stay_as_baseline_and_as_candidate(
    compared_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = compared_store.copy(tmp_path / "compared")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    for alias in ("best", "best-loss"):
        store.registry.client.delete_registered_model_alias(store.model, alias)

    assert main(["prune", "--keep", "aliased", "--yes"]) == 0
    assert _numbers(store) == ["1", "2"]


def test_a_version_that_a_service_has_in_memory_stays_until_it_stops(
    many_here: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(many_here, "--versions", "v3", "--drain-seconds", "0"):
        assert main(["prune", "--keep", "last", "--yes"]) == 0
        assert _numbers(many_here) == ["1", "3", "8"]
        assert "keep   v3  loaded by a service" in capsys.readouterr().out

    assert main(["prune", "--keep", "last", "--yes"]) == 0
    assert _numbers(many_here) == ["1", "8"]


def test_a_copy_of_a_store_removes_nothing_of_the_original(
    many: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(many.folder, tmp_path / "copy")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/copy/mlflow.db")

    assert main(["prune", "--keep", "last", "--yes"]) == 3
    assert "relocate first" in capsys.readouterr().err
    assert len(_model_folders(many)) == VERSIONS + 1


def test_a_file_with_several_names_frees_its_bytes_once_all_are_gone(
    tmp_path: Path,
) -> None:
    a, b, c = (tmp_path / name for name in "abc")
    for folder in (a, b, c):
        folder.mkdir()
    (a / "graph").write_bytes(bytes(100))
    (a / "kept").write_bytes(bytes(10))
    os.link(a / "graph", b / "graph")
    os.link(a / "kept", c / "kept")
    (b / "own").write_bytes(bytes(7))

    assert freed_bytes([a, b]) == [0, 107]
    assert freed_bytes([a]) == [0]


@KILLS
def test_prune_that_is_killed_offers_no_version_without_files(
    kills: int, many: Store, commands: Commands, tmp_path: Path
) -> None:
    command = ["prune", "--keep", "last", "--yes"]
    trial = many.copy(tmp_path / "trial")
    steps = commands.run(command, uri=trial.uri).steps
    assert steps > 50
    chance = random.Random(kills)

    for at in sorted(chance.sample(range(1, steps), kills)):
        store = many.copy(tmp_path / f"at-{at}")
        assert commands.run(command, uri=store.uri, at=at).code == -9
        _check_whole(store)
        assert commands.run(command, uri=store.uri).code == 0
        assert _numbers(store) == ["1", "8"]
        assert len(_model_folders(store)) == 2
        assert Shelf(store.registry).unfinished() == []


def _check_whole(store: Store) -> None:
    """Every version that is offered has its files, and so has its int8 form."""
    registry = store.registry
    versions = registry.versions(store.model)
    assert {"1", "8"} <= {version.number for version in versions}
    for version in versions:
        read_bundle(registry.fetch(version))
        if version.int8 is not None:
            read_bundle(registry.fetch(version.int8))


def _models_of(registry: Registry, store: Store) -> LoggedModels:
    first = registry.resolve(store.model, "1")
    assert first.model_id is not None
    logged = registry.client.get_logged_model(first.model_id)
    return LoggedModels(
        registry,
        experiment_id=logged.experiment_id,
        run_id=str(logged.source_run_id),
    )


def test_orphans_are_what_interrupted_attempts_left(
    many_here: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = many_here.registry
    client = registry.client
    bundle = many_here.bundle("1")
    left = _models_of(registry, many_here).add(bundle, name="epoch-09", tags={})
    partial = many_here.folder / "mlruns" / "training-state" / "x.partial"
    partial.write_bytes(bytes(10))
    os.utime(partial, (0, 0))
    young = partial.with_name("y.partial")
    young.write_bytes(bytes(10))

    assert main(["prune", "--orphans", "--yes"]) == 0

    assert left not in _model_folders(many_here)
    assert not partial.exists()
    assert young.exists()
    assert len(_numbers(many_here)) == VERSIONS
    assert len(_model_folders(many_here)) == VERSIONS + 1
    assert main(["prune", "--orphans"]) == 0
    assert client.get_logged_model(registry.resolve(many_here.model, "2.int8").model_id)


def test_logged_models_of_other_tools_and_of_living_runs_are_no_orphans(
    many_here: Store,
) -> None:
    client = many_here.registry.client
    experiment = client.create_experiment("other", str(many_here.folder / "mlruns/o"))
    foreign = client.create_run(experiment)
    living = client.create_run(experiment, tags={PROCESS_TAG: this_process()})
    models = [
        client.create_logged_model(experiment, name="m", source_run_id=run.info.run_id)
        for run in (foreign, living)
    ]

    main(["prune", "--orphans", "--yes"])

    for model in models:
        assert client.get_logged_model(model.model_id)
