"""The alias moves when every gate has passed, and never else."""

from pathlib import Path

import pytest

from classifier.versions import UnknownVersion
from compare.config import RedrawConfig
from compare.gates import parse_gate
from compare.promotion import promote
from compare.redrawing import redraw
from tests.conftest import Store

PASSES = (parse_gate("images<1"),)


@pytest.fixture
def own_store(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    made = store.copy(tmp_path / "store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.uri)
    return made


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
