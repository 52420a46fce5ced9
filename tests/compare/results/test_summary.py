"""summary.json: its keys and their order, its schema, and reading it back."""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import jsonschema_rs
import pytest

from compare.results.document import json_schema, read_document
from compare.results.summary import Summary, places
from compare.results.verdict import Verdict, judge, refuse
from tests.compare.conftest import DATA, as_json, made_up_comparison, served

SCHEMA_FILE = Path(__file__).parents[3] / "docs" / "summary.schema.json"


def _keys(document: Mapping[str, Any]) -> dict[str, Any]:
    """The shape of a document: its keys in order, down to what is no object."""
    return {
        key: _keys(value) if isinstance(value, Mapping) else None
        for key, value in document.items()
    }


def _unlabelled() -> Verdict:
    comparison = made_up_comparison(labelled=False)
    data = replace(DATA, labelled=False)
    return judge(comparison, a=served("8"), b=served("16"), gates=(), data=data)


def _refusal() -> Verdict:
    return refuse(["why"], a=served("8"), b=served("16"), gates=(), data=DATA)


def test_the_keys_and_their_order_are_those_that_users_script_against(
    document: dict[str, Any],
) -> None:
    """The file's keys of 2026-11-30; docs/summary.schema.json has what is below."""
    assert [*document] == [
        *("schema", "model", "verdict", "reasons", "notes", "gates", "data", "a", "b"),
        *("images", "missing", "left_out", "top1", "top5", "disagreement_rate"),
        "disagreement",
        *("agreement_kappa", "mean_reciprocal_rank_delta", "calibration_error_delta"),
        *("log_loss_delta", "brier_score_delta", "rank_transitions", "rank_symmetry"),
        *("confidence", "overlap", "class_regressions", "class_improvements"),
        *("classes", "confusions", "slices", "probe", "label_suspects"),
    ]
    assert [*document["a"]] == [
        *("version", "model", "run_id", "epoch", "top1_accuracy", "top5_accuracy"),
        *("expected_calibration_error", "log_loss", "brier_score", "top1", "top5"),
        *("mean_reciprocal_rank", "mean_confidence", "chosen_on_these_images"),
        "reliability",
    ]
    assert [*document["top1"]] == [
        *("both_right", "broken", "fixed", "both_wrong", "delta", "mcnemar_mid_p"),
        *("mcnemar_exact_p", "negative_flip_rate", "positive_flip_rate"),
        *("relative_flip_rate", "backward_trust", "error_compatibility"),
        *("excess_churn", "kappa"),
    ]
    assert [*document["top1"]["delta"]] == ["value", "low", "high"]


@pytest.mark.parametrize("make", [_refusal, _unlabelled])
def test_a_number_that_does_not_exist_keeps_its_key(
    make: Callable[[], Verdict], document: dict[str, Any]
) -> None:
    keys = _keys(as_json(make().summary))

    assert keys == _keys(document)
    assert [*keys] == [*document]


@pytest.mark.parametrize("make", [_refusal, _unlabelled])
def test_a_summary_is_read_as_it_was_written(
    make: Callable[[], Verdict], summary: Summary
) -> None:
    for written in (summary, make().summary):
        assert read_document(as_json(written)) == written


def test_an_older_file_without_a_number_has_none(document: dict[str, Any]) -> None:
    del document["log_loss_delta"], document["a"]["brier_score"], document["classes"]

    read = read_document(document)

    assert read.log_loss_delta.value is None
    assert read.a.brier_score is None
    assert read.classes.tested is None


def test_every_field_is_described() -> None:
    levels: list[Any] = [Summary]
    for level in levels:
        hints = get_type_hints(level)
        for each in fields(level):
            assert each.metadata["measure"].meaning, (level, each.name)
            inner = {hints[each.name], *get_args(hints[each.name])}
            inner |= {each for part in inner for each in get_args(part)}
            levels += [e for e in inner if is_dataclass(e) and e not in levels]
    assert {place.path[0] for place in places()} == {*get_type_hints(Summary)}


def test_the_published_schema_is_that_of_the_code() -> None:
    """`python -m compare.results.document > docs/summary.schema.json` writes it."""
    assert json.loads(SCHEMA_FILE.read_text("utf-8")) == json_schema()


def test_what_is_written_fits_the_schema(compared: Path, summary: Summary) -> None:
    schema = jsonschema_rs.validator_for(json_schema())
    written = json.loads((compared / "summary.json").read_text("utf-8"))

    for document in (
        written,
        *map(as_json, (summary, _refusal().summary, _unlabelled().summary)),
    ):
        schema.validate(document)
    for broken in ({**written, "images": "200"}, {**written, "verdict": "good"}):
        assert not schema.is_valid(broken)
    del written["top1"]["kappa"]
    assert not schema.is_valid(written)
