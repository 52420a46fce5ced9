"""How well a candidate keeps what its baseline had right: shares of a paired table."""

from dataclasses import dataclass

from statsmodels.stats.inter_rater import cohens_kappa

from compare.intervals import Estimate, PairedTable, share


@dataclass(frozen=True)
class Flips:
    """Beyond the counts; None where it does not exist."""

    relative_flip_rate: float | None
    """Broken images against those that two versions with these accuracies and errors
    independent of each other would break; 1 is as if the candidate were no relative of
    the baseline. Yan et al., CVPR 2021 (arXiv 2011.09161), the relative NFR."""

    backward_trust: Estimate
    """The share of what the baseline had right that stays right. Bansal et al., AAAI
    2019, "Updates in Human-AI Teams" (BTC), over all images at once."""

    error_compatibility: Estimate
    """The share of what the baseline had wrong that stays wrong: BEC as in Microsoft's
    BackwardCompatibilityML. (Srivastava et al., KDD 2020, divide by the candidate's
    errors instead.)"""

    excess_churn: float | None
    """The share of images whose rightness changes although the difference of the
    accuracies does not ask for it: all flips, less |fixed - broken|."""

    kappa: float | None
    """Cohen's, of the two versions being right (Educ. Psychol. Meas. 20:37, 1960)."""


def flips(table: PairedTable) -> Flips:
    baseline_right = table.both_right + table.broken
    baseline_wrong = table.fixed + table.both_wrong
    return Flips(
        relative_flip_rate=relative_flip_rate(table),
        backward_trust=share(table.both_right, baseline_right),
        error_compatibility=share(table.both_wrong, baseline_wrong),
        excess_churn=(
            2 * min(table.broken, table.fixed) / table.images if table.images else None
        ),
        kappa=correctness_kappa(table),
    )


def relative_flip_rate(table: PairedTable) -> float | None:
    baseline_right = table.both_right + table.broken
    candidate_wrong = table.broken + table.both_wrong
    if baseline_right == 0 or candidate_wrong == 0:
        return None
    return table.broken * table.images / (baseline_right * candidate_wrong)


def correctness_kappa(table: PairedTable) -> float | None:
    """-1..1; None where chance alone would agree always: both all right, or all wrong.

    Also for no images.
    """
    if table.images in (0, table.both_right, table.both_wrong):
        return None
    square = [[table.both_right, table.broken], [table.fixed, table.both_wrong]]
    return float(cohens_kappa(square, return_results=False))
