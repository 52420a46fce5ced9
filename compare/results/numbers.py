"""The levels of summary.json below its top, each field with its description."""

from dataclasses import dataclass, field

from compare.statistics.measure import (
    Estimate,
    ReliabilityBin,
    describe,
    estimate,
    measure,
)

BOOTSTRAP = "percentile bootstrap over images, 2,000 resamples, fixed seed"
MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"

Counts = list[list[int]]


@dataclass(frozen=True, kw_only=True)
class VersionNumbers:
    version: str = field(
        metadata=describe("the version, as the service names it, or a file's name")
    )
    model: str | None = measure("its registered model, or the file's name")
    run_id: str | None = measure("MLflow run that trained it")
    epoch: int | None = measure("epoch of its checkpoint")
    top1_accuracy: float | None = measure("the same as top1.value")
    top5_accuracy: float | None = measure("the same as top5.value")
    expected_calibration_error: float | None = measure(
        "mean distance between confidence and accuracy; 0 is perfect. It is "
        "larger with few images, as chance adds to it",
        name="Calibration error",
        kind="percent",
        formula=f"sum over 15 equal bins of (images / N) |accuracy {MINUS} confidence|",
        source="Guo et al., ICML 2017, equation 3",
    )
    log_loss: float | None = measure(
        "how little probability the true class gets; less is better. Only five "
        "answers of a version are known: if the true class is not among them, the "
        "rest of the probability is spread evenly over the other classes. So it "
        "differs a little from the val/loss of training. Of a file with more answers "
        "all count",
        name="Log loss",
        formula=f"mean of {MINUS}ln P[truth], P at least 1.2e-7",
        source="Good, J. R. Stat. Soc. B 14:107 (1952)",
    )
    brier_score: float | None = measure(
        "squared distance of the probabilities from 1 for the true class and 0 for "
        "all others; 0 is best, 2 is worst. Computed from five answers as log loss",
        name="Brier score",
        formula=f"mean of the sum of (P {MINUS} truth)\N{SUPERSCRIPT TWO} over classes",
        source="Brier, Monthly Weather Review 78:1 (1950)",
    )
    top1: Estimate = estimate(
        "share of images whose first answer is the true class (top-1 accuracy)",
        name="Right first answers",
        kind="percent",
        formula="right / N, with Wilson's interval",
        source="Wilson, JASA 22:209 (1927)",
    )
    top5: Estimate = estimate(
        "share of images with the truth among the five answers (top-5 accuracy)",
        name="Truth among the five",
        kind="percent",
        formula="among / N, with Wilson's interval",
    )
    mean_reciprocal_rank: float | None = measure(
        "1 if the true class is always first, \N{VULGAR FRACTION ONE HALF} if "
        "always second, 0 if never among the five",
        name="Mean reciprocal rank",
        formula="mean of 1 / rank of the truth",
        source="Voorhees, TREC-8 (1999)",
    )
    mean_confidence: float | None = measure("mean first probability")
    chosen_on_these_images: bool | None = measure(
        "true if training chose this version on these images, so its numbers are "
        "optimistic; null if unknown"
    )
    reliability: tuple[ReliabilityBin, ...] | None = measure(
        "bins of the calibration error"
    )


@dataclass(frozen=True, kw_only=True)
class PairedNumbers:
    """Both versions on the same images, by whether each has the truth."""

    both_right: int | None = measure("images that both have right")
    broken: int | None = measure("right in A, wrong in B")
    fixed: int | None = measure("wrong in A, right in B")
    both_wrong: int | None = measure("images that both have wrong")
    delta: Estimate = estimate(
        "change of the share of right answers, B \N{MINUS SIGN} A; negative: B is "
        "worse",
        name="Change of accuracy",
        kind="points",
        formula=f"(fixed {MINUS} broken) / N, with Newcombe's paired interval",
        source="Newcombe, Statistics in Medicine 17:2635 (1998), method 10",
    )
    mcnemar_mid_p: float | None = measure(
        "probability of a split of broken and fixed images at least this uneven "
        "if neither version is better; small values are evidence of a difference",
        name="McNemar's mid-p",
        kind="p",
        formula="2 P[X < m] + P[X = m], X ~ Bin(broken + fixed, "
        "\N{VULGAR FRACTION ONE HALF}), m the smaller of the two; "
        f"1 {MINUS} P[X = m] / 2 if they are equal, 1 if both are 0",
        source="Fagerland, Lydersen, Laake, BMC Med. Res. Methodol. 13:91 (2013)",
    )
    mcnemar_exact_p: float | None = measure(
        "the same test in its conservative form",
        name="McNemar's exact p",
        kind="p",
        formula="2 P[X \N{LESS-THAN OR EQUAL TO} m], 1 at most",
        source="McNemar, Psychometrika 12:153 (1947)",
    )
    negative_flip_rate: Estimate = estimate(
        "images that A has right and B has wrong",
        name="Broken (negative flip rate)",
        kind="percent",
        formula="broken / N, with Wilson's interval",
        source="Yan et al., CVPR 2021, arXiv 2011.09161",
    )
    positive_flip_rate: Estimate = estimate(
        "images that A has wrong and B has right",
        name="Fixed (positive flip rate)",
        kind="percent",
        formula="fixed / N, with Wilson's interval",
    )
    relative_flip_rate: float | None = measure(
        "broken images, divided by the number that two unrelated models of these "
        "accuracies would break; 1: B is as different as an unrelated model",
        name="Relative flip rate",
        formula=f"(broken / N) / (A's right share {TIMES} B's wrong share)",
        source="Yan et al., the same",
    )
    backward_trust: Estimate = estimate(
        "share of the images that A has right which B has right too",
        name="Backward trust",
        kind="percent",
        formula="both right / (both right + broken)",
        source="Bansal et al., AAAI 2019, over all images at once",
    )
    error_compatibility: Estimate = estimate(
        "share of the images that A has wrong which B has wrong too",
        name="Error compatibility",
        kind="percent",
        formula="both wrong / (both wrong + fixed)",
    )
    excess_churn: float | None = measure(
        "changes between right and wrong that cancel each other: the difference "
        "of accuracy does not need them",
        name="Excess churn",
        kind="percent",
        formula="2 min(broken, fixed) / N",
    )
    kappa: float | None = measure(
        "agreement on which images are right, beyond chance; 1 is full agreement",
        name="Kappa of being right",
        formula=f"(agreement {MINUS} by chance) / (1 {MINUS} by chance)",
        source="Cohen, Educ. Psychol. Meas. 20:37 (1960)",
    )


@dataclass(frozen=True, kw_only=True)
class Interval:
    low: float | None = measure("lower end of the 95 % interval")
    high: float | None = measure("upper end of the 95 % interval")


@dataclass(frozen=True, kw_only=True)
class ConfidenceNumbers:
    delta: Estimate = estimate(
        "change of the probability of each version's own first answer",
        name="Change of confidence",
        kind="points",
        formula=f"mean of B's {MINUS} A's first probability; {BOOTSTRAP}",
    )
    truth_delta: Estimate = estimate(
        "change of the probability of the true class, over all images. More "
        "confidence alone can raise it; log loss is the better measure",
        name="Change of the truth's probability",
        kind="points",
        formula=f"mean of B's {MINUS} A's P[truth], as in log loss; {BOOTSTRAP}",
    )
    truth_images: int | None = measure("images with the truth in both lists")
    table: Counts | None = measure("images by tenth of A's confidence and of B's")


@dataclass(frozen=True, kw_only=True)
class OverlapNumbers:
    top5: float | None = measure(
        "mean share of answers that are in both lists",
        name="Shared answers",
        kind="percent",
        formula="mean of |A \N{INTERSECTION} B| / |A|; |A| is 5, or all classes "
        "if fewer",
    )
    rank_biased_overlap: float | None = measure(
        "overlap of the lists with more weight on the first places; 1 is the same list",
        name="Rank-biased overlap",
        formula="RBO_ext, p = 0.8",
        source="Webber, Moffat, Zobel, ACM TOIS 28:20 (2010)",
    )
    jensen_shannon_lower_bound: float | None = measure(
        "0: the same probabilities, 1: nothing in common. A lower bound, as only "
        "five answers are known",
        name="Distance of probabilities, lower bound",
        formula="Jensen-Shannon divergence in bits over the shared classes and "
        "one rest",
        source="Lin, IEEE Trans. Inf. Theory 37:145 (1991)",
    )


@dataclass(frozen=True, kw_only=True)
class ClassCounts:
    tested: int | None = measure("classes that have images")
    could_be_flagged: int | None = measure("classes that could show a change")


@dataclass(frozen=True, kw_only=True)
class ConfusionChange:
    target_id: str = field(metadata=describe("id of the true class"))
    target: str = field(metadata=describe("name of the true class"))
    answer_id: str = field(metadata=describe("id of the class it is taken for"))
    answer: str = field(metadata=describe("name of the class it is taken for"))
    a: int = field(metadata=describe("images in A"))
    b: int = field(metadata=describe("images in B"))


@dataclass(frozen=True, kw_only=True)
class ConfusionChanges:
    gained: tuple[ConfusionChange, ...] | None = measure(
        "more often in B, the 20 largest changes"
    )
    lost: tuple[ConfusionChange, ...] | None = measure(
        "less often in B, the 20 largest changes"
    )


@dataclass(frozen=True, kw_only=True)
class SliceNumbers:
    name: str = field(metadata=describe("property by which the images are divided"))
    group: str = field(metadata=describe("name of the part"))
    images: int = field(metadata=describe("images in the part"))
    delta: Estimate = field(metadata=describe("top1.delta of the part"))
    negative_flip_rate: Estimate = field(
        metadata=describe("its top1.negative_flip_rate")
    )
    mid_p: float = field(metadata=describe("McNemar's mid-p of the part"))
    q_value: float = field(
        metadata=describe("mid-p, Benjamini-Hochberg over all parts")
    )


@dataclass(frozen=True)
class Probe:
    images: int | None = measure("images that were sent twice")
    differing: int | None = measure("images with another second answer")


@dataclass(frozen=True, kw_only=True)
class SuspectEntry:
    image: str = field(metadata=describe("name of the image"))
    target_id: str = field(metadata=describe("id of its label"))
    target: str = field(metadata=describe("name of its label"))
    answer_id: str = field(
        metadata=describe("id of the class that both versions answer")
    )
    answer: str = field(
        metadata=describe("name of the class that both versions answer")
    )
    a_probability: float = field(metadata=describe("A's probability of that class"))
    b_probability: float = field(metadata=describe("B's probability of that class"))
