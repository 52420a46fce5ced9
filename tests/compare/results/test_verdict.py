"""The verdict: gates, refusals, and a version against itself."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from compare.results.comparison import Comparison
from compare.results.document import write_document
from compare.results.gates import parse_gate
from compare.results.numbers import ConfusionChanges, Probe
from compare.results.summary import DataFacts
from compare.results.verdict import Verdict, judge
from tests.compare.conftest import (
    DATA,
    UNLABELLED,
    as_json,
    image_facts,
    made_up_comparison,
    served,
)


def _judged(
    comparison: Comparison,
    *expressions: str,
    data: DataFacts = DATA,
    probe: Probe | None = None,
) -> Verdict:
    gates = tuple(map(parse_gate, expressions))
    a, b = served("8"), served("16")
    return judge(comparison, a=a, b=b, gates=gates, data=data, probe=probe)


def test_the_numbers_are_scikit_learns_and_statsmodels(comparison: Comparison) -> None:
    summary = as_json(_judged(comparison).summary)

    a, b = comparison.a.indices[:, 0], comparison.b.indices[:, 0]
    targets = comparison.targets
    assert summary["a"]["top1_accuracy"] == accuracy_score(targets, a)
    assert summary["agreement_kappa"] == pytest.approx(cohen_kappa_score(a, b))
    top1 = summary["top1"]
    assert top1["kappa"] == pytest.approx(cohen_kappa_score(a == targets, b == targets))
    low, high = proportion_confint(top1["broken"], 400, method="wilson")
    assert top1["negative_flip_rate"]["low"] == pytest.approx(low)
    assert top1["negative_flip_rate"]["high"] == pytest.approx(high)
    square = [[top1["both_right"], top1["broken"]], [top1["fixed"], top1["both_wrong"]]]
    assert top1["mcnemar_exact_p"] == pytest.approx(mcnemar(square, exact=True).pvalue)
    both = np.array([len({*x} & {*y}) for x, y in _lists(comparison)]) / 5
    assert summary["overlap"]["top5"] == pytest.approx(both.mean())


def test_numbers_that_belong_together_fit(comparison: Comparison) -> None:
    summary = as_json(_judged(comparison).summary)

    for side in ("a", "b"):
        bins = summary[side]["reliability"]
        assert len(bins) == 15
        assert sum(b["images"] for b in bins) == 400
        assert summary[side]["top1"]["value"] == summary[side]["top1_accuracy"]
        assert summary[side]["top5"]["value"] == summary[side]["top5_accuracy"]
    for of_both, of_one in (
        ("mean_reciprocal_rank_delta", "mean_reciprocal_rank"),
        ("calibration_error_delta", "expected_calibration_error"),
        ("log_loss_delta", "log_loss"),
        ("brier_score_delta", "brier_score"),
    ):
        difference = summary["b"][of_one] - summary["a"][of_one]
        assert summary[of_both]["value"] == pytest.approx(difference)
    confidence = summary["b"]["mean_confidence"] - summary["a"]["mean_confidence"]
    assert summary["confidence"]["delta"]["value"] == pytest.approx(confidence)
    changes = summary["confusions"]["gained"] + summary["confusions"]["lost"]
    assert all(c["target_id"] != c["answer_id"] for c in changes)


def test_a_version_against_itself_passes_every_sensible_gate() -> None:
    made_up = made_up_comparison()
    same = replace(made_up, b=made_up.a, b_scores=made_up.a_scores)
    sensible = (
        "negative_flip_rate>0",
        "positive_flip_rate>0",
        "delta.low<-0.03",
        "top5.negative_flip_rate>0",
        "class_regressions>0",
        "disagreement_rate>0",
        "mcnemar_mid_p<1",
        "overlap.top5<1",
        "overlap.jensen_shannon_lower_bound>0",
        "calibration_error_delta.high>0",
        "log_loss_delta.high>0",
        "brier_score_delta.high>0",
        "mean_reciprocal_rank_delta.low<0",
        "backward_trust<1",
        "agreement_kappa<1",
    )

    verdict = _judged(same, *sensible, probe=Probe(100, 0))

    assert verdict.summary.reasons == ()
    assert verdict.name == "pass"
    assert verdict.summary.rank_symmetry.p is None
    assert verdict.summary.confusions == ConfusionChanges(gained=(), lost=())


def test_answers_that_change_when_asked_again_are_not_comparable(
    comparison: Comparison,
) -> None:
    verdict = _judged(comparison, "broken<0", probe=Probe(images=100, differing=3))

    assert verdict.name == "not_comparable"
    (reason,) = verdict.summary.reasons
    assert reason.startswith("3 of 100 images that were asked twice")
    assert verdict.summary.gates[0].tripped
    assert verdict.summary.images is None
    assert verdict.classes == ()


@pytest.mark.parametrize(
    ("digest", "aliases", "chosen"),
    [
        ("d1", ("best",), True),
        ("d1", ("best-loss", "champion"), True),
        ("d1", ("champion",), False),
        ("d1", (), False),
        ("other", ("best",), False),
        ("d1", None, None),
        (None, ("best",), None),
    ],
)
def test_a_version_chosen_on_these_images_is_named(
    comparison: Comparison,
    digest: str | None,
    aliases: tuple[str, ...] | None,
    chosen: bool | None,
) -> None:
    b = replace(served("16"), dataset_digest=digest, aliases=aliases)

    summary = judge(comparison, a=served("8"), b=b, gates=(), data=DATA).summary

    assert summary.b.chosen_on_these_images is chosen
    assert summary.a.chosen_on_these_images is None


def test_nobody_knows_how_an_imported_version_was_chosen(
    comparison: Comparison,
) -> None:
    b = replace(served("1"), dataset_digest="d1", aliases=("best",), epoch=None)

    summary = judge(comparison, a=served("8"), b=b, gates=(), data=DATA).summary

    assert summary.b.chosen_on_these_images is None


def test_slices_need_the_image_files(comparison: Comparison) -> None:
    without = _judged(comparison)
    facts = image_facts(400)

    summary = judge(
        comparison, a=served("8"), b=served("16"), gates=(), data=DATA, images=facts
    ).summary

    assert without.summary.slices is None
    assert len(summary.slices or ()) == 6
    assert {"name", "group", "images", "delta", "mid_p", "q_value"} < set(
        as_json(summary)["slices"][0]
    )


def test_without_labels_gates_hold_for_what_there_is() -> None:
    unlabelled = made_up_comparison(labelled=False)

    passed = _judged(unlabelled, "disagreement_rate>0.99", data=UNLABELLED)
    churned = _judged(unlabelled, "disagreement_rate>0.01", data=UNLABELLED)
    unknown = _judged(unlabelled, "negative_flip_rate>0.99", data=UNLABELLED)

    assert passed.name == "pass"
    assert churned.name == "fail"
    assert unknown.name == "fail"
    assert unknown.summary.reasons == ("negative_flip_rate>0.99 has no value",)
    assert passed.classes == ()


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("labelled", [True, False])
def test_few_images_give_json_without_nan(count: int, labelled: bool) -> None:
    comparison = made_up_comparison(count, labelled=labelled)

    verdict = _judged(comparison, data=replace(DATA, labelled=labelled))

    json.dumps(write_document(verdict.summary), allow_nan=False)
    assert verdict.name == "no_gate"


def _lists(comparison: Comparison) -> list[tuple[list[int], list[int]]]:
    return list(
        zip(comparison.a.indices.tolist(), comparison.b.indices.tolist(), strict=True)
    )
