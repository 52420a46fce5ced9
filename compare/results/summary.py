"""The numbers of summary.json, computed from a comparison."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from compare.collect.schema import ServedVersion
from compare.results.comparison import Comparison, DataFacts, Probe
from compare.results.gates import without_values
from compare.results.image_order import label_suspects
from compare.statistics.bootstrap import (
    PairedChanges,
    confidence_change,
    paired_changes,
)
from compare.statistics.calibration import (
    brier_scores,
    confidence_table,
    expected_calibration_error,
    log_losses,
    reliability,
)
from compare.statistics.classes import ClassChange, Confusion, confusion_changes
from compare.statistics.paired import (
    flips,
    mcnemar_exact,
    mcnemar_mid_p,
    paired_difference,
    share,
)
from compare.statistics.slices import ImageFacts, slices
from compare.statistics.top_five import (
    BoolArray,
    IntArray,
    TopFive,
    agreement_kappa,
    jensen_shannon_lower_bound,
    mean_reciprocal_rank,
    paired_table,
    rank_biased_overlap,
    rank_symmetry,
    rank_transitions,
    shared_share,
)

ALIASES_OF_TRAINING = frozenset({"best", "best-loss"})
"""Training moves them to the version that does best on its validation images."""


def no_numbers(a: ServedVersion, b: ServedVersion, data: DataFacts) -> dict[str, Any]:
    """Who was to be compared on what, and None at every number."""
    numbers = without_values()
    numbers["data"] = asdict(data)
    for side, version in (("a", a), ("b", b)):
        numbers[side]["version"] = version.number
        numbers[side]["run_id"] = version.run_id
        numbers[side]["epoch"] = version.epoch
        numbers[side]["chosen_on_these_images"] = _chosen(version, data)
    return numbers


def numbers_without_truth(
    comparison: Comparison,
    numbers: dict[str, Any],
    *,
    changes: PairedChanges | None = None,
    probe: Probe | None = None,
) -> dict[str, Any]:
    """`numbers` with all that two versions' answers to at least one image say."""
    a, b, count = comparison.a, comparison.b, len(comparison.names)
    changes = changes or confidence_change(a, b)
    disagreement = share(int(comparison.disagrees.sum()), count)
    first = {"baseline": a.indices[:, 0], "candidate": b.indices[:, 0]}
    return {
        **numbers,
        "a": {**numbers["a"], "mean_confidence": float(a.probabilities[:, 0].mean())},
        "b": {**numbers["b"], "mean_confidence": float(b.probabilities[:, 0].mean())},
        "images": count,
        "missing": len(comparison.missing),
        "disagreement_rate": disagreement.value,
        "disagreement": {"low": disagreement.low, "high": disagreement.high},
        "agreement_kappa": agreement_kappa(**first),
        "confidence": {
            **numbers["confidence"],
            "delta": asdict(changes.confidence),
            "table": confidence_table(
                baseline=a.probabilities[:, 0], candidate=b.probabilities[:, 0]
            ),
        },
        "overlap": {
            "top5": float(shared_share(a, b).mean()),
            "rank_biased_overlap": float(rank_biased_overlap(a, b).mean()),
            "jensen_shannon_lower_bound": float(
                jensen_shannon_lower_bound(a, b).mean()
            ),
        },
        "probe": numbers["probe"] if probe is None else asdict(probe),
    }


def numbers_with_truth(
    comparison: Comparison,
    numbers: dict[str, Any],
    *,
    classes: Sequence[ClassChange],
    images: ImageFacts | None = None,
    probe: Probe | None = None,
) -> dict[str, Any]:
    """Those and everything about being right; slices need what the files show."""
    targets, count = comparison.targets, len(comparison.labels)
    changes = paired_changes(targets, comparison.a, comparison.b, classes=count)
    numbers = numbers_without_truth(comparison, numbers, changes=changes, probe=probe)
    a_ranks, b_ranks = comparison.a_ranks, comparison.b_ranks
    top1 = {"baseline": a_ranks == 1, "candidate": b_ranks == 1}
    transitions = rank_transitions(baseline=a_ranks, candidate=b_ranks)
    return {
        **numbers,
        "a": {**numbers["a"], **_one_version(comparison.a, targets, count)},
        "b": {**numbers["b"], **_one_version(comparison.b, targets, count)},
        "top1": _paired(**top1),
        "top5": _paired(baseline=a_ranks > 0, candidate=b_ranks > 0),
        "mean_reciprocal_rank_delta": asdict(changes.reciprocal_rank),
        "calibration_error_delta": asdict(changes.calibration_error),
        "log_loss_delta": asdict(changes.log_loss),
        "brier_score_delta": asdict(changes.brier_score),
        "rank_transitions": transitions,
        "rank_symmetry": asdict(rank_symmetry(transitions)),
        "confidence": {
            **numbers["confidence"],
            "truth_delta": asdict(changes.truth),
            "truth_images": changes.truth_images,
        },
        "class_regressions": sum(change.is_regression for change in classes),
        "class_improvements": sum(change.is_improvement for change in classes),
        "classes": {
            "tested": len(classes),
            "could_be_flagged": sum(change.could_be_flagged for change in classes),
        },
        "confusions": _confusions(comparison),
        "slices": None if images is None else _slices(images, **top1),
        "label_suspects": _label_suspects(comparison),
    }


def _chosen(version: ServedVersion, data: DataFacts) -> bool | None:
    """Whether it was picked for doing best on these images: its figure is optimistic.

    None where the service does not say what it was validated on or is called.
    """
    if version.dataset_digest is None or version.aliases is None:
        return None
    if version.dataset_digest != data.digest:
        return False
    return not ALIASES_OF_TRAINING.isdisjoint(version.aliases)


def _one_version(top: TopFive, targets: IntArray, classes: int) -> dict[str, Any]:
    ranks, confidences = top.ranks(targets), top.probabilities[:, 0]
    top1 = share(int((ranks == 1).sum()), len(ranks))
    top5 = share(int((ranks > 0).sum()), len(ranks))
    return {
        "top1_accuracy": top1.value,
        "top5_accuracy": top5.value,
        "expected_calibration_error": expected_calibration_error(
            confidences, ranks == 1
        ),
        "log_loss": float(log_losses(top, targets, classes=classes).mean()),
        "brier_score": float(brier_scores(top, targets, classes=classes).mean()),
        "top1": asdict(top1),
        "top5": asdict(top5),
        "mean_reciprocal_rank": mean_reciprocal_rank(ranks),
        "reliability": [asdict(b) for b in reliability(confidences, ranks == 1)],
    }


def _paired(*, baseline: BoolArray, candidate: BoolArray) -> dict[str, Any]:
    table = paired_table(baseline=baseline, candidate=candidate)
    return {
        **asdict(table),
        "delta": asdict(paired_difference(table)),
        "mcnemar_mid_p": mcnemar_mid_p(table),
        "mcnemar_exact_p": mcnemar_exact(table),
        "negative_flip_rate": asdict(share(table.broken, table.images)),
        "positive_flip_rate": asdict(share(table.fixed, table.images)),
        **asdict(flips(table)),
    }


def _confusions(comparison: Comparison) -> dict[str, Any]:
    labels = comparison.labels

    def entry(confusion: Confusion) -> dict[str, Any]:
        return {
            "target_id": labels.ids[confusion.target],
            "target": labels.names[confusion.target],
            "answer_id": labels.ids[confusion.answer],
            "answer": labels.names[confusion.answer],
            "a": confusion.baseline,
            "b": confusion.candidate,
        }

    gained, lost = confusion_changes(
        comparison.targets,
        baseline=comparison.a.indices[:, 0],
        candidate=comparison.b.indices[:, 0],
        classes=len(labels),
    )
    return {"gained": [*map(entry, gained)], "lost": [*map(entry, lost)]}


def _slices(
    images: ImageFacts, *, baseline: BoolArray, candidate: BoolArray
) -> list[dict[str, Any]]:
    return [
        {
            "name": part.name,
            "group": part.group,
            "images": part.table.images,
            "delta": asdict(part.delta),
            "negative_flip_rate": asdict(part.negative_flip_rate),
            "mid_p": part.mid_p,
            "q_value": part.q_value,
        }
        for part in slices(images, baseline=baseline, candidate=candidate)
    ]


def _label_suspects(comparison: Comparison) -> list[dict[str, Any]]:
    labels = comparison.labels
    return [
        {
            "image": comparison.names[suspect.row],
            "target_id": labels.ids[comparison.targets[suspect.row]],
            "target": labels.names[comparison.targets[suspect.row]],
            "answer_id": labels.ids[suspect.answer],
            "answer": labels.names[suspect.answer],
            "a_probability": suspect.a_probability,
            "b_probability": suspect.b_probability,
        }
        for suspect in label_suspects(comparison)
    ]
