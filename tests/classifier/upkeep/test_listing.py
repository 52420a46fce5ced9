"""`python -m classifier list` and `show`."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from classifier.__main__ import main
from classifier.bundle.files import WEIGHTS
from classifier.store.registry import Registry
from tests.conftest import Store


def _use(store: Store, patch: pytest.MonkeyPatch) -> Store:
    patch.setenv("MLFLOW_TRACKING_URI", store.uri)
    return store


@pytest.fixture
def copy(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    return _use(store.copy(tmp_path / "store"), monkeypatch)


def _json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_list_has_a_line_for_each_version(
    copy: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    version = copy.registry.resolve(copy.model, "v2")
    copy.registry.set_alias(copy.model, "prod", "2")

    assert main(["list"]) == 0

    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["version", "aliases", "epoch"]
    assert [line.split()[0] for line in lines] == ["v1", "v2"]
    assert "@prod" in lines[1]
    assert str(version.run_id)[:8] in lines[1]
    assert f"{100 * (version.val_top1_accuracy or 0):.2f} %" in lines[1]


def test_list_as_json_has_the_facts_of_each_version(
    quantised_store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = _use(quantised_store, monkeypatch)
    folder = store.bundle("v2").folder

    first, second = _json(capsys, "list", "--model", store.model)["versions"]

    assert (first["version"], second["version"]) == ("1", "2")
    assert (first["epoch"], second["epoch"]) == (1, 2)
    assert (first["int8"], second["int8"]) == (False, True)
    assert second["bytes"] == sum(file.stat().st_size for file in folder.iterdir())
    assert re.fullmatch(r"2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\dZ", second["date"])
    assert "best-loss" in {*first["aliases"], *second["aliases"]}
    assert second["compared_with"] == []


def test_both_sides_of_a_comparison_are_listed_as_compared(
    compared_store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _use(compared_store, monkeypatch)

    first, second = _json(capsys, "list")["versions"]

    assert (first["compared_with"], second["compared_with"]) == (["2"], ["1"])


def test_a_version_whose_files_are_gone_is_listed_without_a_size(
    copy: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(copy.bundle("v1").folder.parent)

    first, second = _json(capsys, "list")["versions"]

    assert first["bytes"] is None
    assert second["bytes"] > 0


def test_a_list_asks_the_store_as_often_for_many_versions_as_for_few(
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.uri)
    asked: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        asked.append(statement)

    counts = []
    registry.client.create_registered_model("m")
    event.listen(Engine, "before_cursor_execute", note)
    try:
        for many in (3, 40):
            for _ in range(many):
                registry.client.create_model_version("m", "/x", await_creation_for=0)
            asked.clear()
            assert main(["list"]) == 0
            counts.append(len(asked))
    finally:
        event.remove(Engine, "before_cursor_execute", note)

    assert counts[0] == counts[1] > 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("v43 ")


def test_show_has_all_that_is_known_of_a_version(
    compared_store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = _use(compared_store, monkeypatch)
    version = store.registry.resolve(store.model, "v2")

    known = _json(capsys, "show", "latest")

    assert (known["version"], known["problems"]) == ("2", [])
    assert known["tags"] == version.tags
    assert known["run"]["run_id"] == version.run_id
    assert known["settings"]["image_size"] == "16"
    assert known["recipe"]["mirror"] == "False"
    assert known["libraries"]["torch"]
    assert known["code"]["command"] == "python -m training --data digits --arch tiny"
    assert known["data"]["dataset_digest"] == version.dataset_digest
    assert known["network"]["architecture"] == "tiny"
    assert known["preprocessing"]["height"] == "16"
    weights = next(each for each in known["files"] if each["name"] == WEIGHTS)
    assert weights["bytes"] == store.bundle("v2").weights.stat().st_size
    assert len(weights["sha256"]) == 64
    (compared,) = known["comparisons"]
    assert (compared["a"]["version"], compared["b"]["version"]) == ("1", "2")


def test_show_prints_the_same_in_sections(
    quantised_store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _use(quantised_store, monkeypatch)

    assert main(["show", "digits-tiny/v2"]) == 0

    text = capsys.readouterr().out
    assert text.startswith("digits-tiny v2\n")
    for title in ("run", "tags", "settings", "network", "files", "v2.int8"):
        assert f"\n{title}\n" in text
    assert "problems" not in text


def test_show_of_a_damaged_version_says_what_is_missing(
    copy: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    version = copy.registry.resolve(copy.model, "v1")
    bundle = copy.bundle("v1")
    bundle.weights.unlink()

    files = {each["name"]: each for each in _json(capsys, "show", "v1")["files"]}
    assert files[WEIGHTS]["bytes"] is None
    assert files[WEIGHTS]["sha256"]

    shutil.rmtree(bundle.folder)
    known = _json(capsys, "show", "v1")
    assert known["files"] is None
    assert "the files of version 1 are not at" in known["problems"][0]
    assert known["run"]["run_id"] == version.run_id


def test_text_of_others_is_harmless_on_the_terminal(
    copy: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    version = copy.registry.resolve(copy.model, "v1")
    copy.registry.tag_version(version, {"note": "red \x1b[31m\u202e"})

    assert main(["show", "v1"]) == 0
    assert main(["show", "v1", "--json"]) == 0

    text = capsys.readouterr().out
    assert not {"\x1b", "\u202e"} & {*text}
    assert "red \\x1b[31m\\u202e" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "v9"], "no version 'v9' of 'digits-tiny'; there is v1, v2"),
        (["show", "birds/v1"], "no model 'birds'; the registry has digits-tiny"),
        (["list", "--model", "birds"], "no model 'birds'"),
        (["diff", "v1", "v2.int8"], "version 2 of 'digits-tiny' has no int8 form"),
    ],
)
def test_an_unknown_name_is_wrong_usage(
    arguments: list[str],
    message: str,
    copy: Store,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["list", "show v1", "verify", "diff v1 v2"])
def test_a_store_that_is_not_there_is_not_now(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    assert main(command.split()) == 3
    assert "there is no MLflow store at" in capsys.readouterr().err

    (tmp_path / "mlflow.db").write_text("no database" * 100)
    assert main(command.split()) == 3
    assert "Traceback" not in capsys.readouterr().err
