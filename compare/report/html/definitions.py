"""Every number of a report: where it stands, what it means, how it is computed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compare.results.wording import Kind, look_up, say_value

BOOTSTRAP = "percentile bootstrap over images, 2,000 resamples, fixed seed"


@dataclass(frozen=True)
class Definition:
    name: str
    path: str
    """In summary.json; `*` stands for a, then b."""

    kind: Kind
    meaning: str
    formula: str
    source: str = ""

    def said(self, summary: Mapping[str, Any]) -> str:
        """Its value, with the interval where it has one; of both versions for `*`."""
        if "*" not in self.path:
            return say_value(look_up(summary, self.path), self.kind)
        sides = (look_up(summary, self.path.replace("*", side)) for side in "ab")
        return " \N{RIGHTWARDS ARROW} ".join(
            say_value(side, self.kind) for side in sides
        )


DEFINITIONS = (
    Definition(
        "Right first answers",
        "*.top1",
        "percent",
        "how often the likeliest class is the true one (top-1 accuracy)",
        "right / N, with Wilson's interval",
        "Wilson, JASA 22:209 (1927)",
    ),
    Definition(
        "Change of right first answers",
        "top1.delta",
        "points",
        "how much better B is than A; negative is worse",
        "(fixed \N{MINUS SIGN} broken) / N, with Newcombe's paired interval",
        "Newcombe, Statistics in Medicine 17:2635 (1998), method 10",
    ),
    Definition(
        "McNemar's mid-p",
        "top1.mcnemar_mid_p",
        "p",
        "how surprising so uneven a split of broken and fixed images would be, were "
        "neither version better; small is surprising",
        "2 P[X < m] + P[X = m], X ~ Bin(broken + fixed, \N{VULGAR FRACTION ONE HALF}), "
        "m the smaller of the two; 1 \N{MINUS SIGN} P[X = m] / 2 if they are equal, "
        "1 if both are 0",
        "Fagerland, Lydersen, Laake, BMC Med. Res. Methodol. 13:91 (2013)",
    ),
    Definition(
        "McNemar's exact p",
        "top1.mcnemar_exact_p",
        "p",
        "the same, stricter: it never errs on the side of finding a difference",
        "2 P[X \N{LESS-THAN OR EQUAL TO} m], 1 at most",
        "McNemar, Psychometrika 12:153 (1947)",
    ),
    Definition(
        "Broken (negative flip rate)",
        "top1.negative_flip_rate",
        "percent",
        "images that A had right and B has wrong: what users notice",
        "broken / N, with Wilson's interval",
        "Yan et al., CVPR 2021, arXiv 2011.09161",
    ),
    Definition(
        "Fixed (positive flip rate)",
        "top1.positive_flip_rate",
        "percent",
        "images that A had wrong and B has right",
        "fixed / N, with Wilson's interval",
    ),
    Definition(
        "Relative flip rate",
        "top1.relative_flip_rate",
        "number",
        "broken images against as many as two unrelated models of these accuracies "
        "would break; 1 is as unrelated",
        "(broken / N) / (A's right share \N{MULTIPLICATION SIGN} B's wrong share)",
        "Yan et al., the same",
    ),
    Definition(
        "Backward trust",
        "top1.backward_trust",
        "percent",
        "of what A had right, how much B still has right",
        "both right / (both right + broken)",
        "Bansal et al., AAAI 2019, over all images at once",
    ),
    Definition(
        "Error compatibility",
        "top1.error_compatibility",
        "percent",
        "of what A had wrong, how much B has wrong too",
        "both wrong / (both wrong + fixed)",
    ),
    Definition(
        "Excess churn",
        "top1.excess_churn",
        "percent",
        "changes between right and wrong that the difference does not force: they "
        "cancel each other",
        "2 min(broken, fixed) / N",
    ),
    Definition(
        "Kappa of being right",
        "top1.kappa",
        "number",
        "how far the two are right on the same images, beyond luck; 1 is always",
        "(agreement \N{MINUS SIGN} by luck) / (1 \N{MINUS SIGN} by luck)",
        "Cohen, Educ. Psychol. Meas. 20:37 (1960)",
    ),
    Definition(
        "Truth among the five",
        "*.top5",
        "percent",
        "how often the true class is one of the five likeliest (top-5 accuracy)",
        "among / N, with Wilson's interval",
    ),
    Definition(
        "Change of truth among the five",
        "top5.delta",
        "points",
        "as for first answers",
        "(gained \N{MINUS SIGN} lost) / N",
    ),
    Definition(
        "McNemar's mid-p, five answers",
        "top5.mcnemar_mid_p",
        "p",
        "as for first answers",
        "as for first answers",
    ),
    Definition(
        "Changed first answers (churn)",
        "disagreement_rate",
        "percent",
        "how often the likeliest class is another; needs no labels",
        "images with other first answers / N",
        "Milani Fard et al., NIPS 2016",
    ),
    Definition(
        "Kappa of first answers",
        "agreement_kappa",
        "number",
        "how far first answers agree, beyond luck",
        "as above, over classes",
    ),
    Definition(
        "Mean reciprocal rank",
        "*.mean_reciprocal_rank",
        "number",
        "1 if the truth always comes first, \N{VULGAR FRACTION ONE HALF} if second, "
        "0 if never among the five",
        "mean of 1 / rank of the truth",
        "Voorhees, TREC-8 (1999)",
    ),
    Definition(
        "Change of mean reciprocal rank",
        "mean_reciprocal_rank_delta",
        "change",
        "positive: the truth moves up",
        f"B \N{MINUS SIGN} A; {BOOTSTRAP}",
    ),
    Definition(
        "Symmetry of the rank table",
        "rank_symmetry.p",
        "p",
        "how surprising the rank table would be, were moves up and down as frequent",
        "sum of (n\u1d62\u2c7c \N{MINUS SIGN} n\u2c7c\u1d62)\N{SUPERSCRIPT TWO} / "
        "(n\u1d62\u2c7c + n\u2c7c\u1d62), chi-squared",
        "Bowker, JASA 43:572 (1948)",
    ),
    Definition(
        "Calibration error",
        "*.expected_calibration_error",
        "percent",
        "how far confidence is from being right, on average; 0 is honest, and few "
        "images or much chance make it larger",
        "sum over 15 equal bins of (images / N) |accuracy \N{MINUS SIGN} confidence|",
        "Guo et al., ICML 2017, equation 3",
    ),
    Definition(
        "Change of calibration error",
        "calibration_error_delta",
        "points",
        "positive: B's confidence says less. Chance makes both errors larger than "
        "they are; the interval allows for that at both ends, and holds the true "
        "change in 95 % of comparisons or more",
        "B \N{MINUS SIGN} A; 1.96 standard errors and the largest bias of the 15 bins",
        "Armstrong, Koles\u00e1r, Quantitative Economics 11:1 (2020); "
        "Kumar, Liang, Ma, NeurIPS 2019",
    ),
    Definition(
        "Log loss",
        "*.log_loss",
        "number",
        "how improbable the truth was found; less is better. Of the five answers: "
        "where they lack the truth, what they leave is spread evenly over the other "
        "classes, so it is not quite the val/loss of training",
        "mean of \N{MINUS SIGN}ln P[truth], P at least 1.2e-7",
        "Good, J. R. Stat. Soc. B 14:107 (1952)",
    ),
    Definition(
        "Change of log loss",
        "log_loss_delta",
        "change",
        "positive: B finds the truth less probable, or is surer when it is wrong",
        f"B \N{MINUS SIGN} A; {BOOTSTRAP}",
    ),
    Definition(
        "Brier score",
        "*.brier_score",
        "number",
        "how far the probabilities of all classes are from 1 for the truth and 0 for "
        "the rest; 0 is best, 2 is worst; of the five answers, as log loss",
        "mean of the sum of (P \N{MINUS SIGN} truth)\N{SUPERSCRIPT TWO} over classes",
        "Brier, Monthly Weather Review 78:1 (1950)",
    ),
    Definition(
        "Change of Brier score",
        "brier_score_delta",
        "change",
        "positive: B's probabilities are further from the truth",
        f"B \N{MINUS SIGN} A; {BOOTSTRAP}",
    ),
    Definition(
        "Change of confidence",
        "confidence.delta",
        "points",
        "how much surer B is of its own first answer",
        f"mean of B's \N{MINUS SIGN} A's first probability; {BOOTSTRAP}",
    ),
    Definition(
        "Change of the truth's probability",
        "confidence.truth_delta",
        "points",
        "how much likelier B finds the truth, over all images; a version that is only "
        "surer gains by it, so log loss is the one to judge by",
        f"mean of B's \N{MINUS SIGN} A's P[truth], as in log loss; {BOOTSTRAP}",
    ),
    Definition(
        "Shared answers",
        "overlap.top5",
        "percent",
        "how many of their answers the two lists share",
        "mean of |A \N{INTERSECTION} B| / |A|; |A| is 5, or all classes if fewer",
    ),
    Definition(
        "Rank-biased overlap",
        "overlap.rank_biased_overlap",
        "number",
        "the same, upper places counting more; 1 is the same list",
        "RBO_ext, p = 0.8",
        "Webber, Moffat, Zobel, ACM TOIS 28:20 (2010)",
    ),
    Definition(
        "Distance of probabilities, at least",
        "overlap.jensen_shannon_lower_bound",
        "number",
        "0 is the same probabilities, 1 nothing in common; a lower bound, as five "
        "answers do not show the rest",
        "Jensen-Shannon divergence in bits over the shared classes and one rest",
        "Lin, IEEE Trans. Inf. Theory 37:145 (1991)",
    ),
    Definition(
        "Classes shown to be worse",
        "class_regressions",
        "count",
        "that remain when one allows for having looked at all classes",
        "broken > fixed, Benjamini-Hochberg q of mid-p \N{LESS-THAN OR EQUAL TO} 0.05",
        "Benjamini, Hochberg, J. R. Stat. Soc. B 57:289 (1995)",
    ),
    Definition(
        "Classes shown to be better",
        "class_improvements",
        "count",
        "the same, the other way",
        "fixed > broken, q \N{LESS-THAN OR EQUAL TO} 0.05",
    ),
)
