"""`--matrix`: the files, the numbers in them, exit codes; no server is there."""

import csv
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from classifier.bundle.predictions import read_predictions
from classifier.storage import BadPlace
from classifier.store.versions import UnknownModel, UnknownVersion
from compare.__main__ import main
from compare.matrix.matrix import draw_matrix
from compare.results.record import ForeignFolder
from tests.conftest import Store


@pytest.fixture(autouse=True)
def _use(quantised_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", quantised_store.uri)


def _draw(versions: str, out: Path) -> dict[str, Any]:
    assert draw_matrix(versions, model=None, out=out) == 0
    document: dict[str, Any] = json.loads((out / "matrix.json").read_text())
    return document


def test_the_numbers_are_those_of_the_kept_predictions(
    quantised_store: Store, tmp_path: Path
) -> None:
    names = ["1", "2", "2.int8"]

    document = _draw("v1,v2,v2.int8", tmp_path)

    tables = {
        name: pq.read_table(
            quantised_store.bundle(f"v{name}").validation_predictions
        ).to_pandas()
        for name in names
    }
    assert [version["version"] for version in document["versions"]] == names
    assert document["images"] == 896
    for version in document["versions"]:
        table = tables[version["version"]]
        right = table["index_1"] == table["target"]
        assert version["top1"]["value"] == pytest.approx(right.mean())
    pairs = [(pair["a"], pair["b"]) for pair in document["pairs"]]
    assert pairs == list(combinations(names, 2))
    for pair in document["pairs"]:
        a, b = tables[pair["a"]], tables[pair["b"]]
        a_right, b_right = a["index_1"] == a["target"], b["index_1"] == b["target"]
        differ = np.mean(a["index_1"] != b["index_1"])
        assert pair["disagreement_rate"] == pytest.approx(differ)
        assert pair["broken"] == int((a_right & ~b_right).sum())
        assert pair["fixed"] == int((~a_right & b_right).sum())
        change = (pair["fixed"] - pair["broken"]) / 896
        assert pair["delta"]["value"] == pytest.approx(change)
        assert pair["delta"]["low"] <= pair["delta"]["value"] <= pair["delta"]["high"]


def test_the_table_of_pairs_says_the_same(tmp_path: Path) -> None:
    document = _draw("v1..v2", tmp_path)

    with (tmp_path / "matrix.csv").open() as file:
        (row,) = csv.DictReader(file)
    (pair,) = document["pairs"]
    header = "a,b,images,disagreement_rate,broken,fixed,delta,low,high,mid_p"
    assert ",".join(row) == header
    assert (row["a"], row["b"], row["images"]) == ("1", "2", "896")
    assert float(row["disagreement_rate"]) == pair["disagreement_rate"]
    assert float(row["delta"]) == pair["delta"]["value"]
    assert float(row["mid_p"]) == pair["mcnemar_mid_p"]


def test_what_is_drawn_again_is_the_same_to_the_byte(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        _draw("v1,v2", tmp_path / folder)

    for name in ("matrix.json", "matrix.csv", "matrix.html"):
        one, two = ((tmp_path / f / name).read_bytes() for f in ("one", "two"))
        assert one == two
    assert {f.name for f in (tmp_path / "one").iterdir()} == {
        *("matrix.json", "matrix.csv", "matrix.html")
    }


def test_a_range_goes_on_without_what_is_missing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    assert draw_matrix("v1..v16", model=None, out=None) == 0

    folder = tmp_path / "compare-matrix-v1-v16"
    document = json.loads((folder / "matrix.json").read_text())
    assert document["notes"] == [
        "v1..v16: the model has no v3 to v16, so the matrix is of the others"
    ]
    assert "Note: v1..v16: the model has no v3 to v16" in capsys.readouterr().out
    assert "no v3 to v16, so" in (folder / "matrix.html").read_text()


def test_other_validation_data_is_not_comparable(
    quantised_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = quantised_store.copy(tmp_path / "store")
    version = other.registry.resolve(other.model, "v2")
    other.registry.tag_version(version, {"dataset_digest": "0" * 64})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other.uri)

    assert draw_matrix("v1,v2", model=None, out=tmp_path / "x") == 3

    assert "not comparable: v1 was validated on 896 images" in caplog.text
    assert not (tmp_path / "x").exists()


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(UnknownVersion, match="no version 'v3'"):
        draw_matrix("v1,v3", model=None, out=tmp_path / "x")
    with pytest.raises(UnknownModel):
        draw_matrix("v1..v2", model="another", out=tmp_path / "x")
    (tmp_path / "x").write_text("a file")
    with pytest.raises(ForeignFolder, match="is a file"):
        draw_matrix("v1..v2", model=None, out=tmp_path / "x")
    with pytest.raises(BadPlace, match=r"the folder /proc/x: .* another with --out"):
        draw_matrix("v1..v2", model=None, out=Path("/proc/x"))


def test_names_make_folders_that_stay_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert draw_matrix("v1,@best,latest", model=None, out=None) == 0

    assert [path.name for path in tmp_path.iterdir()] == [
        "compare-matrix-v1-best-latest"
    ]


def test_versions_of_two_models_and_files_stand_side_by_side(
    own_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    registry = own_store.registry
    second = registry.resolve(own_store.model, "v2")
    assert second.model_id is not None
    assert second.run_id is not None
    registry.register(
        "other", model_id=second.model_id, run_id=second.run_id, tags=second.tags
    )
    kept = read_predictions(own_store.bundle("v2").validation_predictions, classes=10)
    ids = own_store.bundle("v2").labels.ids
    rows = [
        {"image": name, "id_1": ids[index], "probability_1": 0.5}
        for name, index in zip(kept.names, kept.indices[:, 0], strict=True)
    ]
    pd.DataFrame(rows[::-1]).to_csv("kept.csv", index=False)

    names = "kept.csv,digits-tiny/v1..v2,models:/other/1"
    assert main(["--matrix", names, "--out", "x"]) == 0

    matrix = json.loads(Path("x/matrix.json").read_text())
    assert matrix["model"] is None
    named = [version["version"] for version in matrix["versions"]]
    assert named == ["kept.csv", "digits-tiny/v1", "digits-tiny/v2", "other/v1"]
    pairs = {(pair["a"], pair["b"]): pair for pair in matrix["pairs"]}
    for same in (("kept.csv", "digits-tiny/v2"), ("kept.csv", "other/v1")):
        assert pairs[same]["disagreement_rate"] == 0
    assert pairs["kept.csv", "digits-tiny/v1"]["disagreement_rate"] > 0
    assert "other/v1" in Path("x/matrix.html").read_text()


def test_files_alone_need_the_truth_in_one_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    head = "image,id_1,probability_1\n"
    Path("a.csv").write_text(f"{head}x,cat,1\ny,dog,1\n")
    Path("b.csv").write_text(f"{head}y,dog,1\nx,eel,1\n")
    Path("c.csv").write_text("image,truth,cat,dog\nx,cat,0,1\ny,dog,0,1\n")

    assert main(["--matrix", "a.csv,b.csv"]) == 3
    assert "no file has a column truth" in caplog.text
    assert main(["--matrix", "a.csv,b.csv,c.csv", "--out", "x"]) == 0

    matrix = json.loads(Path("x/matrix.json").read_text())
    right = [version["top1"]["value"] for version in matrix["versions"]]
    assert right == [1, 0.5, 0.5]
    assert [pair["disagreement_rate"] for pair in matrix["pairs"]] == [0.5, 0.5, 0.5]
    Path("c.csv").write_text("image,truth,cat,dog\nx,cat,0,1\n")
    assert main(["--matrix", "a.csv,c.csv", "--out", "x"]) == 3
