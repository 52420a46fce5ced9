"""The levels of summary.json below its top, each field with its description."""

from dataclasses import dataclass
from typing import Annotated

from compare.statistics.measure import NOTHING, Estimate, Measure, ReliabilityBin

BOOTSTRAP = "percentile bootstrap over images, 2,000 resamples, fixed seed"
MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"

Counts = list[list[int]]


@dataclass(frozen=True, kw_only=True)
class VersionNumbers:
    version: Annotated[str, Measure("the version, as the service names it")]
    run_id: Annotated[str | None, Measure("MLflow run that trained it")] = None
    epoch: Annotated[int | None, Measure("epoch of its checkpoint")] = None
    top1_accuracy: Annotated[float | None, Measure("the same as top1.value")] = None
    top5_accuracy: Annotated[float | None, Measure("the same as top5.value")] = None
    expected_calibration_error: Annotated[
        float | None,
        Measure(
            "mean distance between confidence and accuracy; 0 is perfect. It is "
            "larger with few images, as chance adds to it",
            name="Calibration error",
            kind="percent",
            formula="sum over 15 equal bins of (images / N) "
            f"|accuracy {MINUS} confidence|",
            source="Guo et al., ICML 2017, equation 3",
        ),
    ] = None
    log_loss: Annotated[
        float | None,
        Measure(
            "how little probability the true class gets; less is better. Only five "
            "answers are known: if the true class is not among them, the rest of the "
            "probability is spread evenly over the other classes. So it differs a "
            "little from the val/loss of training",
            name="Log loss",
            formula=f"mean of {MINUS}ln P[truth], P at least 1.2e-7",
            source="Good, J. R. Stat. Soc. B 14:107 (1952)",
        ),
    ] = None
    brier_score: Annotated[
        float | None,
        Measure(
            "squared distance of the probabilities from 1 for the true class and 0 for "
            "all others; 0 is best, 2 is worst. Computed from five answers as log loss",
            name="Brier score",
            formula=f"mean of the sum of (P {MINUS} truth)\N{SUPERSCRIPT TWO} over "
            "classes",
            source="Brier, Monthly Weather Review 78:1 (1950)",
        ),
    ] = None
    top1: Annotated[
        Estimate,
        Measure(
            "share of images whose first answer is the true class (top-1 accuracy)",
            name="Right first answers",
            kind="percent",
            formula="right / N, with Wilson's interval",
            source="Wilson, JASA 22:209 (1927)",
        ),
    ] = NOTHING
    top5: Annotated[
        Estimate,
        Measure(
            "share of images with the truth among the five answers (top-5 accuracy)",
            name="Truth among the five",
            kind="percent",
            formula="among / N, with Wilson's interval",
        ),
    ] = NOTHING
    mean_reciprocal_rank: Annotated[
        float | None,
        Measure(
            "1 if the true class is always first, \N{VULGAR FRACTION ONE HALF} if "
            "always second, 0 if never among the five",
            name="Mean reciprocal rank",
            formula="mean of 1 / rank of the truth",
            source="Voorhees, TREC-8 (1999)",
        ),
    ] = None
    mean_confidence: Annotated[float | None, Measure("mean first probability")] = None
    chosen_on_these_images: Annotated[
        bool | None,
        Measure(
            "true if training chose this version on these images, so its numbers are "
            "optimistic; null if unknown"
        ),
    ] = None
    reliability: Annotated[
        tuple[ReliabilityBin, ...] | None, Measure("bins of the calibration error")
    ] = None

    @property
    def name(self) -> str:
        """`v16`."""
        return f"v{self.version}"


@dataclass(frozen=True, kw_only=True)
class PairedNumbers:
    """Both versions on the same images, by whether each has the truth."""

    both_right: Annotated[int | None, Measure("images that both have right")] = None
    broken: Annotated[int | None, Measure("right in A, wrong in B")] = None
    fixed: Annotated[int | None, Measure("wrong in A, right in B")] = None
    both_wrong: Annotated[int | None, Measure("images that both have wrong")] = None
    delta: Annotated[
        Estimate,
        Measure(
            "change of the share of right answers, B \N{MINUS SIGN} A; negative: B is "
            "worse",
            name="Change of accuracy",
            kind="points",
            formula=f"(fixed {MINUS} broken) / N, with Newcombe's paired interval",
            source="Newcombe, Statistics in Medicine 17:2635 (1998), method 10",
        ),
    ] = NOTHING
    mcnemar_mid_p: Annotated[
        float | None,
        Measure(
            "probability of a split of broken and fixed images at least this uneven "
            "if neither version is better; small values are evidence of a difference",
            name="McNemar's mid-p",
            kind="p",
            formula="2 P[X < m] + P[X = m], X ~ Bin(broken + fixed, "
            "\N{VULGAR FRACTION ONE HALF}), m the smaller of the two; "
            f"1 {MINUS} P[X = m] / 2 if they are equal, 1 if both are 0",
            source="Fagerland, Lydersen, Laake, BMC Med. Res. Methodol. 13:91 (2013)",
        ),
    ] = None
    mcnemar_exact_p: Annotated[
        float | None,
        Measure(
            "the same test in its conservative form",
            name="McNemar's exact p",
            kind="p",
            formula="2 P[X \N{LESS-THAN OR EQUAL TO} m], 1 at most",
            source="McNemar, Psychometrika 12:153 (1947)",
        ),
    ] = None
    negative_flip_rate: Annotated[
        Estimate,
        Measure(
            "images that A has right and B has wrong",
            name="Broken (negative flip rate)",
            kind="percent",
            formula="broken / N, with Wilson's interval",
            source="Yan et al., CVPR 2021, arXiv 2011.09161",
        ),
    ] = NOTHING
    positive_flip_rate: Annotated[
        Estimate,
        Measure(
            "images that A has wrong and B has right",
            name="Fixed (positive flip rate)",
            kind="percent",
            formula="fixed / N, with Wilson's interval",
        ),
    ] = NOTHING
    relative_flip_rate: Annotated[
        float | None,
        Measure(
            "broken images, divided by the number that two unrelated models of these "
            "accuracies would break; 1: B is as different as an unrelated model",
            name="Relative flip rate",
            formula=f"(broken / N) / (A's right share {TIMES} B's wrong share)",
            source="Yan et al., the same",
        ),
    ] = None
    backward_trust: Annotated[
        Estimate,
        Measure(
            "share of the images that A has right which B has right too",
            name="Backward trust",
            kind="percent",
            formula="both right / (both right + broken)",
            source="Bansal et al., AAAI 2019, over all images at once",
        ),
    ] = NOTHING
    error_compatibility: Annotated[
        Estimate,
        Measure(
            "share of the images that A has wrong which B has wrong too",
            name="Error compatibility",
            kind="percent",
            formula="both wrong / (both wrong + fixed)",
        ),
    ] = NOTHING
    excess_churn: Annotated[
        float | None,
        Measure(
            "changes between right and wrong that cancel each other: the difference "
            "of accuracy does not need them",
            name="Excess churn",
            kind="percent",
            formula="2 min(broken, fixed) / N",
        ),
    ] = None
    kappa: Annotated[
        float | None,
        Measure(
            "agreement on which images are right, beyond chance; 1 is full agreement",
            name="Kappa of being right",
            formula=f"(agreement {MINUS} by chance) / (1 {MINUS} by chance)",
            source="Cohen, Educ. Psychol. Meas. 20:37 (1960)",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Interval:
    low: Annotated[float | None, Measure("lower end of the 95 % interval")] = None
    high: Annotated[float | None, Measure("upper end of the 95 % interval")] = None


@dataclass(frozen=True, kw_only=True)
class ConfidenceNumbers:
    delta: Annotated[
        Estimate,
        Measure(
            "change of the probability of each version's own first answer",
            name="Change of confidence",
            kind="points",
            formula=f"mean of B's {MINUS} A's first probability; {BOOTSTRAP}",
        ),
    ] = NOTHING
    truth_delta: Annotated[
        Estimate,
        Measure(
            "change of the probability of the true class, over all images. More "
            "confidence alone can raise it; log loss is the better measure",
            name="Change of the truth's probability",
            kind="points",
            formula=f"mean of B's {MINUS} A's P[truth], as in log loss; {BOOTSTRAP}",
        ),
    ] = NOTHING
    truth_images: Annotated[
        int | None, Measure("images with the truth in both lists")
    ] = None
    table: Annotated[
        Counts | None,
        Measure("images by tenth of A's confidence and of B's"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class OverlapNumbers:
    top5: Annotated[
        float | None,
        Measure(
            "mean share of answers that are in both lists",
            name="Shared answers",
            kind="percent",
            formula="mean of |A \N{INTERSECTION} B| / |A|; |A| is 5, or all classes "
            "if fewer",
        ),
    ] = None
    rank_biased_overlap: Annotated[
        float | None,
        Measure(
            "overlap of the lists with more weight on the first places; 1 is the same "
            "list",
            name="Rank-biased overlap",
            formula="RBO_ext, p = 0.8",
            source="Webber, Moffat, Zobel, ACM TOIS 28:20 (2010)",
        ),
    ] = None
    jensen_shannon_lower_bound: Annotated[
        float | None,
        Measure(
            "0: the same probabilities, 1: nothing in common. A lower bound, as only "
            "five answers are known",
            name="Distance of probabilities, lower bound",
            formula="Jensen-Shannon divergence in bits over the shared classes and "
            "one rest",
            source="Lin, IEEE Trans. Inf. Theory 37:145 (1991)",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ClassCounts:
    tested: Annotated[int | None, Measure("classes that have images")] = None
    could_be_flagged: Annotated[
        int | None,
        Measure("classes that could show a change"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ConfusionChange:
    target_id: Annotated[str, Measure("id of the true class")]
    target: Annotated[str, Measure("name of the true class")]
    answer_id: Annotated[str, Measure("id of the class it is taken for")]
    answer: Annotated[str, Measure("name of the class it is taken for")]
    a: Annotated[int, Measure("images in A")]
    b: Annotated[int, Measure("images in B")]


@dataclass(frozen=True, kw_only=True)
class ConfusionChanges:
    gained: Annotated[
        tuple[ConfusionChange, ...] | None,
        Measure("more often in B, the 20 largest changes"),
    ] = None
    lost: Annotated[
        tuple[ConfusionChange, ...] | None,
        Measure("less often in B, the 20 largest changes"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class SliceNumbers:
    name: Annotated[str, Measure("property by which the images are divided")]
    group: Annotated[str, Measure("name of the part")]
    images: Annotated[int, Measure("images in the part")]
    delta: Annotated[Estimate, Measure("top1.delta of the part")]
    negative_flip_rate: Annotated[Estimate, Measure("its top1.negative_flip_rate")]
    mid_p: Annotated[float, Measure("McNemar's mid-p of the part")]
    q_value: Annotated[float, Measure("mid-p, Benjamini-Hochberg over all parts")]


@dataclass(frozen=True)
class Probe:
    images: Annotated[int | None, Measure("images that were sent twice")] = None
    differing: Annotated[int | None, Measure("images with another second answer")] = (
        None
    )


@dataclass(frozen=True, kw_only=True)
class SuspectEntry:
    image: Annotated[str, Measure("name of the image")]
    target_id: Annotated[str, Measure("id of its label")]
    target: Annotated[str, Measure("name of its label")]
    answer_id: Annotated[str, Measure("id of the class that both versions answer")]
    answer: Annotated[str, Measure("name of the class that both versions answer")]
    a_probability: Annotated[float, Measure("A's probability of that class")]
    b_probability: Annotated[float, Measure("B's probability of that class")]
