"""Comparisons with models made elsewhere: files of predictions as `--a` and `--b`."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import brier_score_loss, log_loss

import compare
from classifier.datasets.dataset import Dataset
from compare.__main__ import main
from compare.results.folder import ANSWERED
from tests.conftest import RunningService, Store, encoded, picture

CLASSES = tuple("0123456789")


def _summary(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return document


def _numbers(folder: Path) -> dict[str, Any]:
    """summary.json without names, data and what only images and services show."""
    document = _summary(folder)
    for name in ("model", "notes", "data", "probe", "slices", "confusions"):
        del document[name]
    document["label_suspects"] = [
        entry["image"] for entry in document["label_suspects"]
    ]
    for side in ("a", "b"):
        for name in ("version", "model", "run_id", "epoch", "chosen_on_these_images"):
            del document[side][name]
    return document


def _answers(compared: Path, side: str) -> pd.DataFrame:
    """The answers of one version, as another tool would write them."""
    table = pq.read_table(compared / "per_image.parquet").to_pandas()
    columns = {"image": table["image"], "truth": table["target_id"]}
    for place in range(1, 6):
        columns[f"id_{place}"] = table[f"{side}_index_{place}"].map(CLASSES.__getitem__)
        columns[f"probability_{place}"] = table[f"{side}_probability_{place}"]
    return pd.DataFrame(columns)


@pytest.fixture
def files(
    compared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, str]:
    """v1's answers as CSV and v2's as Parquet, in an empty folder without a store."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    _answers(compared, "a").to_csv("old.csv", index=False)
    _answers(compared, "b").to_parquet("new.parquet", index=False)
    return "old.csv", "new.parquet"


def _forecasts(names: tuple[str, ...], seed: int) -> pd.DataFrame:
    """Probabilities of all ten classes, as a column each."""
    logits = np.random.default_rng(seed).normal(size=(len(names), 10))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    frame = pd.DataFrame(probabilities, columns=list(CLASSES))
    frame.insert(0, "image", names)
    return frame


def test_two_files_give_the_numbers_of_the_versions_they_are_of(
    files: tuple[str, str], compared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--a", files[0], "--b", files[1], "--show", "2"]) == 0

    folder = Path("compare-old.csv-new.parquet")
    assert _numbers(folder) == _numbers(compared)
    per_image = (folder / "per_image.parquet").read_bytes()
    assert per_image == (compared / "per_image.parquet").read_bytes()
    summary = _summary(folder)
    assert summary["model"] is None
    assert summary["a"]["version"] == summary["a"]["model"] == "old.csv"
    assert summary["probe"] == {"images": None, "differing": None}
    printed = capsys.readouterr().out
    assert "new.parquet (B) in place of old.csv (A), on 200 images of old" in printed
    assert max(map(len, printed.splitlines()[:-3])) <= 80
    run = json.loads((folder / "run.json").read_text())
    assert run["latency_note"].startswith("not measured: old.csv is a file")
    assert repr(compare.load(folder)) == "<new.parquet in place of old.csv, no_gate>"
    assert not Path("mlflow.db").exists()


def test_a_file_stands_against_a_version_on_its_images(
    files: tuple[str, str],
    compared: Path,
    service: RunningService,
    own_store: Store,
) -> None:
    common = ["--url", service.url, "--data", "digits", "--limit", "200"]
    assert main(["--a", files[0], "--b", "v2", *common, "--out", "x"]) == 0

    assert _numbers(Path("x")) == _numbers(compared)
    summary = _summary(Path("x"))
    assert summary["model"] is None
    assert (summary["a"]["model"], summary["b"]["model"]) == ("old.csv", "digits-tiny")
    assert summary["probe"] == {"images": 100, "differing": 0}
    assert summary["slices"]
    assert "<h1>v2 in place of old.csv</h1>" in Path("x/report.html").read_text()
    tags = own_store.registry.resolve("digits-tiny", "v2").tags
    assert tags["compare.vs_old.csv.verdict"] == "no_gate"


def test_all_columns_count_in_log_loss_and_brier_score(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole, rough = (_forecasts(digits.val.names, seed) for seed in (1, 2))
    whole.to_csv("whole.csv", index=False)
    rough.to_parquet("rough.parquet")

    arguments = ["--a", "whole.csv", "--b", "rough.parquet", "--data", "digits"]
    assert main([*arguments, "--out", "x", "--no-mlflow"]) == 0

    truths = list(digits.val.class_ids)
    summary = _summary(Path("x"))
    for side, frame in (("a", whole), ("b", rough)):
        probabilities = frame[list(CLASSES)].to_numpy()
        expected = log_loss(truths, probabilities, labels=CLASSES)
        assert summary[side]["log_loss"] == pytest.approx(expected)
        score = brier_score_loss(
            truths, probabilities, labels=CLASSES, scale_by_half=False
        )
        assert summary[side]["brier_score"] == pytest.approx(score)
    # drawn again without the files
    before = [(Path("x") / name).read_bytes() for name in ANSWERED]
    Path("whole.csv").unlink()
    assert main(["--from", "x"]) == 0
    assert [(Path("x") / name).read_bytes() for name in ANSWERED] == before
    page = Path("x/report.html").read_text()
    assert "seven" in page  # the data's names of classes


def test_a_folder_of_files_is_continued_and_refuses_other_files(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--a", files[0], "--b", files[1], "--out", "x"]
    assert main([*arguments, "--limit", "50"]) == 0
    assert main(arguments) == 0
    assert _summary(Path("x"))["images"] == 200

    frame = pd.read_csv(files[0], dtype={"truth": str, "id_1": str})
    frame.iloc[::-1].to_csv(files[0], index=False)

    assert main(arguments) == 2
    assert "another digest of the baseline" in capsys.readouterr().err
    assert main([*arguments, "--fresh"]) == 0


def test_files_of_one_name_are_told_apart_by_their_folders(
    files: tuple[str, str],
) -> None:
    for name, folder in zip(files, ("before", "after"), strict=True):
        Path(folder).mkdir()
        shutil.copy(name, Path(folder, f"p{Path(name).suffix}"))
    pd.read_parquet("after/p.parquet").to_csv("after/p.csv", index=False)

    assert main(["--a", "before/p.csv", "--b", "after/p.csv"]) == 0

    summary = _summary(Path("compare-before-p.csv-after-p.csv"))
    assert summary["b"]["version"] == "after/p.csv"


def test_the_truth_of_the_data_wins_and_must_not_be_contradicted(
    files: tuple[str, str], digits: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.read_parquet(files[1])
    frame.loc[0, "truth"] = "9" if frame.loc[0, "truth"] != "9" else "8"
    frame.to_csv("wrong.csv", index=False)
    frame.drop(columns="truth").to_csv("silent.csv", index=False)

    with_data = ["--data", "digits", "--limit", "200", "--no-mlflow"]
    assert main(["--a", files[0], "--b", "wrong.csv", *with_data]) == 2
    assert f"the truth of {frame.loc[0, 'image']!r}" in capsys.readouterr().err
    assert main(["--a", files[0], "--b", "wrong.csv"]) == 2
    assert main(["--a", files[0], "--b", "silent.csv", *with_data, "--out", "x"]) == 0
    assert main(["--a", files[0], "--b", "silent.csv", "--out", "y"]) == 0
    assert _numbers(Path("x"))["top1"] == _numbers(Path("y"))["top1"]


def test_images_that_one_file_lacks_are_missing(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    pd.read_parquet(files[1]).iloc[3:].to_parquet("short.parquet")

    arguments = ["--a", files[0], "--b", "short.parquet", "--out", "x"]
    assert main(arguments) == 3
    assert "short.parquet: not_in_file, it has no row" in capsys.readouterr().out
    assert main([*arguments, "--allow-missing", "3"]) == 0
    assert _summary(Path("x"))["missing"] == 3


def test_a_file_without_truth_is_compared_by_its_answers_alone(
    files: tuple[str, str],
) -> None:
    for name in files:
        read = pd.read_csv if name.endswith("csv") else pd.read_parquet
        read(name).drop(columns="truth").to_csv(f"{name}.csv", index=False)

    assert main(["--a", "old.csv.csv", "--b", "new.parquet.csv", "--out", "x"]) == 0

    summary = _summary(Path("x"))
    assert summary["data"]["labelled"] is False
    assert summary["top1"]["broken"] is None
    assert summary["disagreement_rate"] > 0


def test_a_file_of_one_answer_an_image_says_so(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.read_parquet(files[1])
    first = ["image", "truth", "id_1", "probability_1"]
    frame[first].to_csv("first.csv", index=False)

    assert main(["--a", files[0], "--b", "first.csv", "--out", "x"]) == 0

    note = "first.csv lists no more than 1 of its answers"
    assert note in capsys.readouterr().out
    assert note in Path("x/report.html").read_text()
    summary = _summary(Path("x"))
    assert summary["b"]["top5_accuracy"] == summary["b"]["top1_accuracy"]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--a", "v8", "--b", "x.csv"], "there is no file x.csv"),
        (["--a", "x.PARQUET", "--b", "x.csv"], "there is no file x.PARQUET"),
    ],
)
def test_a_file_that_is_not_there_is_named_at_once(
    arguments: list[str],
    fault: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(arguments) == 2
    assert fault in capsys.readouterr().err


def test_a_file_is_no_version_to_promote(capsys: pytest.CaptureFixture[str]) -> None:
    promoting = ["--promote", "champion", "--non-inferior", "0.01"]
    with pytest.raises(SystemExit) as exit_:
        main(["--a", "v8", "--b", "x.csv", *promoting])

    assert exit_.value.code == 2
    assert "this is a file" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_exported_answers_can_be_compared_again_and_give_the_same_numbers(
    kind: str, compared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(compared, tmp_path / "first")
    exports = ["--export", f"a=old.{kind}", "--export", f"new.{kind}"]

    assert main(["--from", str(folder), *exports]) == 0
    assert main(["--a", f"old.{kind}", "--b", f"new.{kind}", "--out", "x"]) == 0

    assert _numbers(Path("x")) == _numbers(compared)
    per_image = Path("x/per_image.parquet").read_bytes()
    assert per_image == (compared / "per_image.parquet").read_bytes()


def test_every_column_of_a_file_is_exported_again(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("whole.csv", "rough.csv")):
        _forecasts(digits.val.names[:60], seed).to_csv(name, index=False)
    pair = ["--a", "whole.csv", "--b", "rough.csv", "--out", "x"]
    assert main([*pair, "--data", "digits", "--allow-missing", "900"]) == 0

    exports = ["--export", "a=a.parquet", "--export", "b.csv"]
    assert main(["--from", "x", *exports]) == 0
    assert main(["--a", "a.parquet", "--b", "b.csv", "--out", "y"]) == 0

    assert list(pd.read_csv("b.csv")) == ["image", "truth", *CLASSES]
    again, first = _numbers(Path("y")), _numbers(Path("x"))
    assert first.pop("missing") == len(digits.val) - 60
    assert again.pop("missing") == 0
    assert again == first


WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def _rival(digits: Dataset, columns: list[str]) -> pd.DataFrame:
    """A column for each of the first eight digits, and one for a class of its own."""
    frame = _forecasts(digits.val.names, 3)[["image", *CLASSES[:9]]]
    return frame.set_axis(["image", *columns], axis=1)


@pytest.mark.parametrize("named", ["by_id", "by_name", "by_map"])
def test_images_of_classes_that_one_lacks_are_left_out_and_said_first(
    named: str,
    digits: Dataset,
    service: RunningService,
    own_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    strange = [f"class {digit}" for digit in range(8)]
    columns = {"by_id": list(CLASSES[:8]), "by_name": WORDS[:8], "by_map": strange}
    _rival(digits, [*columns[named], "letter"]).to_csv("rival.csv", index=False)
    pairs = [f"{digit},class {digit}\n" for digit in range(8)]
    Path("map.csv").write_text("".join(["a_id,b_id\n", *pairs]))
    arguments = ["--a", "v2", "--b", "rival.csv", "--url", service.url, "--no-mlflow"]
    arguments += ["--class-map", "map.csv"] if named == "by_map" else []

    assert main([*arguments, "--out", "x", "--fail-on", "left_out>0"]) == 1

    lines = capsys.readouterr().out.splitlines()
    count = sum(class_id in "89" for class_id in digits.val.class_ids)
    note = f"{count} images are left out, of 2 classes that rival.csv does not have"
    assert f"Note: {note}" in " ".join(lines[1:3])
    summary = _summary(Path("x"))
    assert summary["notes"][0] == f"{note} (eight, nine)"
    assert summary["left_out"] == count
    assert summary["images"] == len(digits.val) - count
    for report in ("summary.md", "report.html"):
        assert note in (Path("x") / report).read_text()
    header = (Path("x") / "report.html").read_text().split("<h1>")[0]
    assert f"{summary['images']} images, {count} left out" in header
    rival = _rival(digits, [*CLASSES[:8], "letter"]).set_index("image")
    truths = pd.Series(digits.val.class_ids, digits.val.names)
    kept = truths[truths < "8"]
    right = rival.idxmax(axis=1)[kept.index] == kept
    assert summary["b"]["top1_accuracy"] == pytest.approx(right.mean())
    assert main(["--from", "x"]) == 1
    assert _summary(Path("x")) == summary


def test_answers_by_name_are_those_of_the_same_classes(
    files: tuple[str, str], compared: Path
) -> None:
    frame = pd.read_parquet(files[1])
    for column in ("truth", *(f"id_{place}" for place in range(1, 6))):
        frame[column] = frame[column].map(dict(zip(CLASSES, WORDS, strict=True)))
    frame.to_csv("words.csv", index=False)
    pairs = [f"{a},{b}\n" for a, b in zip(CLASSES, WORDS, strict=True)]
    Path("map.csv").write_text("".join(["a_id,b_id\n", *pairs]))

    pair = ["--a", files[0], "--b", "words.csv"]
    with_data = ["--data", "digits", "--limit", "200", "--no-mlflow", "--out", "x"]
    assert main([*pair, *with_data]) == 0  # the data has the names of ids
    assert _numbers(Path("x"))["top1"] == _numbers(compared)["top1"]
    assert _summary(Path("x"))["left_out"] == 0
    assert main(pair) == 2  # the files' truths are other words
    assert main([*pair, "--class-map", "map.csv", "--out", "y"]) == 0
    assert _numbers(Path("y")) == _numbers(compared)
    silent = pd.read_csv("words.csv").drop(columns="truth")
    silent.to_csv("silent.csv", index=False)
    assert main(["--a", files[0], "--b", "silent.csv"]) == 3


def test_nothing_in_common_is_not_comparable(
    files: tuple[str, str], digits: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    letters = [*"abcdefghi"]
    _rival(digits, letters).to_csv("letters.csv", index=False)
    _rival(digits, list(CLASSES[:9])).to_csv("figures.csv", index=False)
    Path("map.csv").write_text("a_id,b_id\na,1\nb,0\nj,2\n")

    pair = ["--a", "letters.csv", "--b", "figures.csv", "--data", "digits"]
    assert main([*pair, "--no-mlflow", "--out", "x"]) == 3
    assert "letters.csv and figures.csv have no class in" in capsys.readouterr().out
    assert main([*pair, "--no-mlflow", "--class-map", "map.csv"]) == 2
    assert "letters.csv has no class 'j'" in capsys.readouterr().err


def test_ids_that_coincide_by_chance_are_matched_under_a_prefix(
    files: tuple[str, str], compared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rival counts from nine down to zero, so that its 0 is a nine."""
    frame = pd.read_parquet(files[1])
    columns = ["truth", *(f"id_{place}" for place in range(1, 6))]
    for name, ids in {
        "rival": [str(9 - digit) for digit in range(10)],
        "prefixed": [f"r{9 - digit}" for digit in range(10)],
    }.items():
        renamed = frame.copy()
        for column in columns:
            renamed[column] = frame[column].map(dict(zip(CLASSES, ids, strict=True)))
        renamed.to_csv(f"{name}.csv", index=False)
        pairs = [f"{a},{b}\n" for a, b in zip(CLASSES, ids, strict=True)]
        Path(f"{name}-map.csv").write_text("".join(["a_id,b_id\n", *pairs]))

    pair = ["--a", files[0], "--b", "rival.csv", "--class-map", "rival-map.csv"]
    assert main(pair) == 2
    said = capsys.readouterr().err
    assert "--class-map: its line 0,9 is about a class that is matched by id" in said
    assert "give the ids of one side a prefix of their own" in said
    pair = ["--a", files[0], "--b", "prefixed.csv", "--class-map", "prefixed-map.csv"]
    assert main([*pair, "--out", "x"]) == 0
    assert _numbers(Path("x")) == _numbers(compared)


def test_a_class_that_a_file_never_answers_is_matched_by_the_map(
    files: tuple[str, str],
    digits: Dataset,
    service: RunningService,
    own_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    answers = pd.DataFrame({"image": digits.val.names, "id_1": "1", "probability_1": 1})
    answers.to_csv("ones.csv", index=False)
    # No class of the file's is called 0; its map says what it would be called.
    Path("map.csv").write_text("a_id,b_id\n0,none\n")

    pair = ["--a", "v2", "--b", "ones.csv", "--url", service.url, "--no-mlflow"]

    assert main([*pair, "--class-map", "map.csv", "--out", "x"]) == 0
    summary = _summary(Path("x"))
    assert summary["left_out"] == 0
    share = sum(class_id == "1" for class_id in digits.val.class_ids) / len(digits.val)
    assert summary["b"]["top1_accuracy"] == pytest.approx(share)


@pytest.fixture
def two_models(own_store: Store) -> Store:
    """The store with a second model, whose version 1 is v2 of the first."""
    registry = own_store.registry
    second = registry.resolve(own_store.model, "v2")
    assert second.model_id is not None
    assert second.run_id is not None
    registry.register(
        "other", model_id=second.model_id, run_id=second.run_id, tags=second.tags
    )
    registry.set_alias("other", "champion", "1")
    return own_store


def test_versions_of_two_models_are_asked_of_a_service_each(
    two_models: Store,
    compared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    pair = ["--a", "digits-tiny/v1", "--b", "models:/other@champion"]
    assert main([*pair, "--limit", "200"]) == 0

    folder = Path("compare-digits-tiny-v1-other-v1")
    assert _numbers(folder)["top1"] == _numbers(compared)["top1"]
    summary = _summary(folder)
    assert summary["model"] is None
    assert (summary["a"]["model"], summary["b"]["model"]) == ("digits-tiny", "other")
    assert (summary["a"]["version"], summary["b"]["version"]) == ("1", "1")
    printed = capsys.readouterr().out
    assert printed.startswith("other/v1 (B) in place of digits-tiny/v1 (A), on 200 im")
    page = (folder / "report.html").read_text()
    assert "<h1>other/v1 (B) in place of digits-tiny/v1 (A)</h1>" in page
    assert '<th scope="col">B right</th>' in page
    run = json.loads((folder / "run.json").read_text())
    assert run["latency"]["a"]["requests"] > 1
    assert len(run["url"].split(", ")) == 2
    tags = two_models.registry.resolve("other", "v1").tags
    assert tags["compare.vs_digits-tiny_v1.verdict"] == "no_gate"


def test_a_service_answers_for_its_own_model_alone(
    two_models: Store,
    service: RunningService,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    common = ["--url", service.url, "--limit", "50", "--no-mlflow"]
    pair = ["--a", "digits-tiny/v1", "--b", "models:/digits-tiny/2"]
    assert main([*pair, *common, "--out", str(tmp_path / "x")]) == 0
    assert _summary(tmp_path / "x")["model"] == "digits-tiny"

    other = ["--a", "digits-tiny/v1", "--b", "other/v1", "--out", str(tmp_path / "y")]
    assert main([*other, *common]) == 2
    assert "serves 'digits-tiny', not 'other'" in capsys.readouterr().err


def test_a_name_without_its_model_needs_the_model(
    two_models: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--a", "v1", "--b", "v2", "--out", str(tmp_path / "x")]) == 2
    assert "name one with --model: digits-tiny, other" in capsys.readouterr().err


def _as_onnx_file(store: Store, version: str, file: Path) -> None:
    """The network of a version, as a file with its sidecar."""
    bundle = store.bundle(version)
    shutil.copy(bundle.graph, file)
    shutil.copy(bundle.weights, file.parent)
    sidecar = {
        "labels": bundle.labels.to_json(),
        "preprocessing": bundle.preprocessing.to_json(),
        "layout": "nhwc",
        "output": "logits",
    }
    file.with_suffix(".json").write_text(json.dumps(sidecar))


def test_the_network_of_a_file_answers_as_the_version_that_it_is(
    store: Store,
    service: RunningService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    _as_onnx_file(store, "v2", Path("rival.onnx"))
    common = ["--data", "digits", "--limit", "100", "--no-mlflow"]

    versus = ["--a", "v2", "--b", "rival.onnx", "--url", service.url]
    assert main([*versus, *common, "--out", "x"]) == 0

    summary = _summary(Path("x"))
    assert summary["disagreement_rate"] == 0
    assert abs(summary["log_loss_delta"]["value"]) < 1e-5
    assert summary["probe"] == {"images": 100, "differing": 0}
    assert summary["model"] is None
    run = json.loads(Path("x/run.json").read_text())
    assert run["latency_note"].startswith("not measured: rival.onnx is a file")
    # alone with its own answers, kept as a file, and without a service
    assert main(["--from", "x", "--export", "kept.csv"]) == 0
    pair = ["--a", "kept.csv", "--b", "rival.onnx"]
    assert main([*pair, *common, "--out", "y"]) == 0
    assert _summary(Path("y"))["disagreement_rate"] == 0
    capsys.readouterr()
    assert main([*pair, "--no-mlflow", "--out", "z"]) == 2
    assert "does not say which images to compare on" in capsys.readouterr().err


def test_an_image_that_an_onnx_file_cannot_be_given_is_missing(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for version in ("v1", "v2"):
        Path(version).mkdir()
        _as_onnx_file(store, version, Path(version, "rival.onnx"))
    for part in ("train", "val"):
        Path("photos", part, "3").mkdir(parents=True)
        encoded_picture = encoded(picture(), "PNG")
        Path("photos", part, "3", "whole.png").write_bytes(encoded_picture)
        Path("photos", part, "3", "cut.png").write_bytes(encoded_picture[:60])

    pair = ["--a", "v1/rival.onnx", "--b", "v2/rival.onnx", "--data", "photos"]
    assert main([*pair, "--out", "x"]) == 3
    assert "undecodable_image" in capsys.readouterr().out
    assert main([*pair, "--out", "x", "--allow-missing", "1"]) == 0
    assert _summary(Path("x"))["images"] == 1
