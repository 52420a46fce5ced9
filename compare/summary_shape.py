"""The shape of summary.json: every key that a comparison has, numbers told apart."""

from collections.abc import Iterator, Mapping
from typing import Any

NUMBER, OTHER = "number", "other"
"""A leaf: what a gate can name, and what it cannot (words, yes or no, lists)."""

_ESTIMATE = dict.fromkeys(("value", "low", "high"), NUMBER)

_VERSION = {
    "version": OTHER,
    "run_id": OTHER,
    "epoch": NUMBER,
    "top1_accuracy": NUMBER,
    "top5_accuracy": NUMBER,
    "expected_calibration_error": NUMBER,
    "log_loss": NUMBER,
    "brier_score": NUMBER,
    "top1": _ESTIMATE,
    "top5": _ESTIMATE,
    "mean_reciprocal_rank": NUMBER,
    "mean_confidence": NUMBER,
    "chosen_on_these_images": OTHER,
    "reliability": OTHER,
}

_PAIRED = {
    "both_right": NUMBER,
    "broken": NUMBER,
    "fixed": NUMBER,
    "both_wrong": NUMBER,
    "delta": _ESTIMATE,
    "mcnemar_mid_p": NUMBER,
    "mcnemar_exact_p": NUMBER,
    "negative_flip_rate": _ESTIMATE,
    "positive_flip_rate": _ESTIMATE,
    "relative_flip_rate": NUMBER,
    "backward_trust": _ESTIMATE,
    "error_compatibility": _ESTIMATE,
    "excess_churn": NUMBER,
    "kappa": NUMBER,
}

NUMBERS: Mapping[str, Any] = {
    "data": dict.fromkeys(("name", "digest", "labelled"), OTHER),
    "a": _VERSION,
    "b": _VERSION,
    "images": NUMBER,
    "missing": NUMBER,
    "top1": _PAIRED,
    "top5": _PAIRED,
    "disagreement_rate": NUMBER,
    "disagreement": dict.fromkeys(("low", "high"), NUMBER),
    "agreement_kappa": NUMBER,
    "mean_reciprocal_rank_delta": _ESTIMATE,
    "calibration_error_delta": _ESTIMATE,
    "log_loss_delta": _ESTIMATE,
    "brier_score_delta": _ESTIMATE,
    "rank_transitions": OTHER,
    "rank_symmetry": dict.fromkeys(("statistic", "degrees_of_freedom", "p"), NUMBER),
    "confidence": {
        "delta": _ESTIMATE,
        "truth_delta": _ESTIMATE,
        "truth_images": NUMBER,
        "table": OTHER,
    },
    "overlap": dict.fromkeys(
        ("top5", "rank_biased_overlap", "jensen_shannon_lower_bound"), NUMBER
    ),
    "class_regressions": NUMBER,
    "class_improvements": NUMBER,
    "classes": dict.fromkeys(("tested", "could_be_flagged"), NUMBER),
    "confusions": dict.fromkeys(("gained", "lost"), OTHER),
    "slices": OTHER,
    "probe": dict.fromkeys(("images", "differing"), NUMBER),
    "label_suspects": OTHER,
}
"""Behind the verdict, its reasons, notes and gates, in the file's order."""


def without_values(shape: Mapping[str, Any] = NUMBERS) -> dict[str, Any]:
    """Every key, and None at each: what does not exist."""
    return {
        key: without_values(inner) if isinstance(inner, Mapping) else None
        for key, inner in shape.items()
    }


def number_paths(
    shape: Mapping[str, Any] = NUMBERS, *, above: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    for key, inner in shape.items():
        if isinstance(inner, Mapping):
            yield from number_paths(inner, above=(*above, key))
        elif inner == NUMBER:
            yield (*above, key)
