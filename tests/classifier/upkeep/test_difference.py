"""`python -m classifier diff`: what differs between two versions."""

import json
from pathlib import Path
from typing import Any

import pytest

from classifier.__main__ import main
from classifier.store.provenance import COMMIT_TAG, Difference, differences
from tests.conftest import Store


@pytest.fixture
def copy(
    quantised_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Store:
    made = quantised_store.copy(tmp_path / "store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.uri)
    return made


@pytest.fixture
def two_runs(copy: Store) -> Store:
    """Version 3 has the files of version 2 and a run with other settings."""
    registry = copy.registry
    version = registry.resolve(copy.model, "v2")
    assert version.run_id is not None
    assert version.model_id is not None
    before = registry.client.get_run(version.run_id)
    run = registry.client.create_run(
        before.info.experiment_id,
        tags={"command": "python -m training --lr 0.2", COMMIT_TAG: "c0ffee"},
        run_name="another",
    )
    params = {**before.data.params, "recipe_lr": "0.2", "version_torch": "9.9"}
    del params["seed"]
    for name, value in params.items():
        registry.client.log_param(run.info.run_id, name, value)
    tags = {**version.tags, "dataset_digest": "other"}
    registry.register(
        copy.model, model_id=version.model_id, run_id=run.info.run_id, tags=tags
    )
    return copy


def _differences(
    capsys: pytest.CaptureFixture[str], *names: str
) -> dict[tuple[str, str], tuple[str | None, str | None]]:
    assert main(["diff", *names, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    found = document["differences"]
    return {(e["section"], e["name"]): (e["a"], e["b"]) for e in found}


def test_two_epochs_of_a_run_differ_in_the_epoch_alone(
    copy: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _differences(capsys, "v1", "v2") == {("version", "epoch"): ("1", "2")}


def test_versions_of_two_runs_differ_in_what_was_changed(
    two_runs: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _differences(capsys, "v2", "v3")

    assert found.keys() == {
        ("version", "run_id"),
        ("version", "run"),
        ("code", "command"),
        ("code", "git_commit"),
        ("settings", "seed"),
        ("recipe", "lr"),
        ("data", "dataset_digest"),
        ("libraries", "torch"),
    }
    assert found["settings", "seed"] == ("0", None)
    assert found["recipe", "lr"] == ("0.1", "0.2")
    assert found["code", "git_commit"][1] == "c0ffee"


def test_differences_are_printed_in_sections(
    two_runs: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", "v2", "v3"]) == 0

    text = capsys.readouterr().out
    assert text.startswith("digits-tiny: v2 and v3\n")
    assert "\nrecipe\n  lr  0.1  ->  0.2\n" in text
    assert "  seed  0  ->  not recorded\n" in text
    assert "momentum" not in text


def test_an_int8_form_differs_in_precision_and_has_the_command_that_made_it(
    copy: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _differences(capsys, "v2", "v2.int8")

    assert found["network", "precision"] == ("fp32", "int8")
    assert found["int8 form", "command"] == (
        None,
        "python -m training --quantize v2 --data digits",
    )
    assert {section for section, _ in found} <= {"network", "int8 form"}


def test_nothing_differs_between_a_version_and_itself(
    copy: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", "latest", "v2"]) == 0

    assert "nothing differs in what is recorded" in capsys.readouterr().out


def test_what_only_one_has_is_a_difference_too() -> None:
    a = {"settings": {"lr": "1", "seed": "0"}, "code": {"git_commit": "x"}}
    b = {"settings": {"lr": "2", "seed": "0"}, "data": {"classes": "3"}}

    assert differences(a, b) == (
        Difference(section="settings", name="lr", a="1", b="2"),
        Difference(section="code", name="git_commit", a="x", b=None),
        Difference(section="data", name="classes", a=None, b="3"),
    )
