"""Written files and printed lines: the same numbers, the same bytes."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from compare.report.terminal import report_lines
from compare.results.comparison import Comparison
from compare.results.folder import write_per_class, write_per_image, write_summary
from compare.results.gates import parse_gate
from compare.results.verdict import Verdict, judge
from tests.compare.conftest import DATA, as_json, made_up_comparison, served

GATES = tuple(
    parse_gate(text)
    for text in (
        "negative_flip_rate>0.06",
        "delta.low<-0.005",
        "top5.delta.low<-0.01",
        "class_regressions>0",
        "b.expected_calibration_error>0.1",
    )
)


def test_numbers_of_the_summary_fit_each_other(document: dict[str, Any]) -> None:
    images = document["images"]
    ranks = document["rank_transitions"]
    assert sum(map(sum, ranks)) == images
    for key, upto in (("top1", 1), ("top5", 5)):
        top = document[key]
        counts = [top[k] for k in ("both_right", "broken", "fixed", "both_wrong")]
        assert sum(counts) == images
        assert top["both_right"] == sum(sum(row[:upto]) for row in ranks[:upto])
        assert top["broken"] == sum(sum(row[upto:]) for row in ranks[:upto])
        difference = document["b"][f"{key}_accuracy"] - document["a"][f"{key}_accuracy"]
        assert top["delta"]["value"] == pytest.approx(difference)
        flips = top["positive_flip_rate"]["value"] - top["negative_flip_rate"]["value"]
        assert top["delta"]["value"] == pytest.approx(flips)


def test_a_tripped_gate_fails_and_says_which(comparison: Comparison) -> None:
    gates = (parse_gate("images>1"), parse_gate("images>1000000"))

    summary = judge(
        comparison, a=served("8"), b=served("16"), gates=gates, data=DATA
    ).summary

    assert summary.verdict == "fail"
    assert summary.reasons == ("images>1 is true",)
    assert [gate.tripped for gate in summary.gates] == [True, False]
    assert summary.gates[0].value == 400


def test_no_images_at_all_are_not_comparable_and_divide_by_nothing() -> None:
    nothing = made_up_comparison(0)

    verdict = judge(nothing, a=served("8"), b=served("16"), gates=GATES, data=DATA)

    assert verdict.name == "not_comparable"
    assert verdict.summary.reasons == ("no image was answered by both versions",)
    assert verdict.summary.a.top1_accuracy is None
    json.dumps(as_json(verdict.summary), allow_nan=False)
    assert report_lines(verdict, data="digits", folder=Path("x"))


def test_files_are_the_same_to_the_byte_for_the_same_answers(
    tmp_path: Path, verdict: Verdict, comparison: Comparison
) -> None:
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        write_summary(folder, verdict.summary)
        write_per_image(folder, comparison)
        write_per_class(folder, verdict.classes, comparison.labels)

    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
    assert len(list((tmp_path / "one").iterdir())) == 3


def test_per_image_has_a_row_an_image_with_both_answers(
    tmp_path: Path, comparison: Comparison, document: dict[str, Any]
) -> None:
    write_per_image(tmp_path, comparison)

    frame = pq.read_table(tmp_path / "per_image.parquet").to_pandas()

    assert frame.columns[:6].tolist() == [
        "image",
        "target",
        "target_id",
        "a_rank",
        "b_rank",
        "category",
    ]
    assert frame["image"].tolist() == list(comparison.names)
    counts = frame["category"].value_counts()
    assert counts["broken"] == document["top1"]["broken"]
    assert counts["fixed"] == document["top1"]["fixed"]
    first_differ = frame["a_index_1"] != frame["b_index_1"]
    assert first_differ.mean() == pytest.approx(document["disagreement_rate"])
    second = frame[frame["a_rank"] == 2].iloc[0]
    assert second["a_hits"] == "01000"
    assert second["a_index_2"] == second["target"]
    for side in ("a", "b"):
        right = frame[f"{side}_right"]
        assert right.dtype == bool  # null in any row would make it object
        assert right.mean() == document[side]["top1_accuracy"]
        assert (right == (frame[f"{side}_rank"] == 1)).all()
    beyond = frame[frame["b_rank"].isna()]
    assert set(beyond["b_hits"]) == {"00000"}


def test_per_class_has_a_row_a_class(
    tmp_path: Path, verdict: Verdict, comparison: Comparison
) -> None:
    write_per_class(tmp_path, verdict.classes, comparison.labels)

    rows = list(csv.DictReader((tmp_path / "per_class.csv").read_text().splitlines()))

    assert [row["id"] for row in rows] == list(comparison.labels.ids)
    assert sum(int(row["images"]) for row in rows) == 400
    assert sum(int(row["broken"]) for row in rows) == verdict.summary.top1.broken


def test_per_image_of_unlabelled_data_knows_nothing_of_the_truth(
    tmp_path: Path, comparison: Comparison
) -> None:
    write_per_image(tmp_path, made_up_comparison(labelled=False))
    frame = pq.read_table(tmp_path / "per_image.parquet").to_pandas()
    write_per_image(tmp_path, comparison)
    labelled = pq.read_table(tmp_path / "per_image.parquet")

    about_truth = ["target", "target_id", "a_rank", "b_rank", "a_hits", "b_hits"]
    assert frame[about_truth].isna().all(axis=None)
    assert set(frame["category"]) == {"same", "different"}
    # never null, and false would read as an accuracy of 0
    right = ["a_right", "b_right"]
    assert [*frame.columns, *right] == labelled.column_names
    differs = frame["a_index_1"] != frame["b_index_1"]
    assert (differs == (frame["category"] == "different")).all()
