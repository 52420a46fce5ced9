"""The shape of summary.json: a frozen dataclass a level, a description for each field.

The fields give the paths that gates can name, the report's table of definitions,
docs/summary.schema.json and the types of every report. Rates are fractions, 0..1;
differences are candidate less baseline; a number that does not exist is None.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, get_args, get_type_hints

from compare.collect.schema import is_file_name, shown_names
from compare.results.numbers import (
    BOOTSTRAP,
    MINUS,
    ClassCounts,
    ConfidenceNumbers,
    ConfusionChanges,
    Counts,
    Interval,
    OverlapNumbers,
    PairedNumbers,
    Probe,
    SliceNumbers,
    SuspectEntry,
    VersionNumbers,
)
from compare.statistics.measure import (
    Estimate,
    Measure,
    Symmetry,
    describe,
    estimate,
    measure,
)

SCHEMA: Literal[1] = 1

VerdictName = Literal["pass", "fail", "no_gate", "not_comparable"]


LONGEST_NAME = 9
"""Longer names would make tables wider than a terminal or a page."""

LONGEST_SPOKEN_NAME = 30
"""Longer names, such as those of files, hide what a sentence says."""


@dataclass(frozen=True, kw_only=True)
class GateResult:
    expression: str = field(metadata=describe("the gate as given"))
    value: float | None = field(metadata=describe("the number that the gate names"))
    tripped: bool = field(metadata=describe("the expression is true, or has no value"))


@dataclass(frozen=True)
class DataFacts:
    name: str | None = measure("name of the data set")
    digest: str | None = measure("digest of its images and labels")
    labelled: bool = measure("false if the images have no labels", default=True)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """summary.json, in the file's order. A is the baseline, B the candidate."""

    schema: Literal[1] = measure("version of this format", default=SCHEMA)
    model: str | None = measure(
        "name of the registered model; null if A and B are not of one model"
    )
    verdict: VerdictName = field(
        metadata=describe("`no_gate`: no gate was given, so nothing passed or failed")
    )
    reasons: tuple[str, ...] = measure(
        "why the verdict is `fail` or `not_comparable`", default=()
    )
    notes: tuple[str, ...] = measure("what to know before reading on", default=())
    gates: tuple[GateResult, ...] = measure("each gate and its result", default=())
    data: DataFacts = measure("the images of the comparison", default=DataFacts())
    a: VersionNumbers = field(metadata=describe("the baseline"))
    b: VersionNumbers = field(metadata=describe("the candidate"))
    images: int | None = measure("images that both answered: N")
    missing: int | None = measure("images that one did not answer")
    left_out: int | None = measure(
        "images that are not compared, as one of the versions does not have their class"
    )
    top1: PairedNumbers = measure(
        "right means: the first answer is the true class", default=PairedNumbers()
    )
    top5: PairedNumbers = measure(
        "right means: the true class is among the five answers", default=PairedNumbers()
    )
    disagreement_rate: float | None = measure(
        "share of images with another first answer; needs no labels",
        name="Changed first answers (churn)",
        kind="percent",
        formula="images whose first answers differ / N",
        source="Milani Fard et al., NIPS 2016",
    )
    disagreement: Interval = measure(
        "Wilson's interval of disagreement_rate", default=Interval()
    )
    agreement_kappa: float | None = measure(
        "agreement of the first answers beyond chance; 1 is full agreement",
        name="Kappa of first answers",
        formula="as kappa of being right, over classes",
    )
    mean_reciprocal_rank_delta: Estimate = estimate(
        "positive: the true class moves up",
        name="Change of mean reciprocal rank",
        kind="change",
        formula=f"B {MINUS} A; {BOOTSTRAP}",
    )
    calibration_error_delta: Estimate = estimate(
        "positive: B's confidence is less reliable. Chance makes both errors too "
        "large; the interval allows for that at both ends, and holds the true "
        "change in at least 95 % of comparisons",
        name="Change of calibration error",
        kind="points",
        formula=f"B {MINUS} A; 1.96 standard errors and the largest bias of the "
        "15 bins",
        source="Armstrong, Koles\u00e1r, Quantitative Economics 11:1 (2020); "
        "Kumar, Liang, Ma, NeurIPS 2019",
    )
    log_loss_delta: Estimate = estimate(
        "positive: B gives the true class less probability",
        name="Change of log loss",
        kind="change",
        formula=f"B {MINUS} A; {BOOTSTRAP}",
    )
    brier_score_delta: Estimate = estimate(
        "positive: B's probabilities are farther from the true class",
        name="Change of Brier score",
        kind="change",
        formula=f"B {MINUS} A; {BOOTSTRAP}",
    )
    rank_transitions: Counts | None = measure(
        "images by place of the true class in A (rows) and B (columns)"
    )
    rank_symmetry: Symmetry = measure(
        "Bowker's test of the table of ranks", default=Symmetry()
    )
    confidence: ConfidenceNumbers = measure(
        "probabilities of the answers", default=ConfidenceNumbers()
    )
    overlap: OverlapNumbers = measure(
        "similarity of the two lists of five answers", default=OverlapNumbers()
    )
    class_regressions: int | None = measure(
        "classes with a significant loss, corrected for testing all classes",
        name="Classes shown to be worse",
        kind="count",
        formula="broken > fixed, Benjamini-Hochberg q of mid-p "
        "\N{LESS-THAN OR EQUAL TO} 0.05",
        source="Benjamini, Hochberg, J. R. Stat. Soc. B 57:289 (1995)",
    )
    class_improvements: int | None = measure(
        "classes with a significant gain, corrected for testing all classes",
        name="Classes shown to be better",
        kind="count",
        formula="fixed > broken, q \N{LESS-THAN OR EQUAL TO} 0.05",
    )
    classes: ClassCounts = measure("number of classes", default=ClassCounts())
    confusions: ConfusionChanges = measure(
        "pairs of a true class and a wrong first answer", default=ConfusionChanges()
    )
    slices: tuple[SliceNumbers, ...] | None = measure("the same on parts of the images")
    probe: Probe = measure("whether answers repeat", default=Probe())
    label_suspects: tuple[SuspectEntry, ...] | None = measure(
        "images with the same confident answer of both, and another label"
    )

    @property
    def names(self) -> tuple[str, str]:
        """A's and B's name for readers: `v8`, or a file's name."""
        a, b = self.a, self.b
        return shown_names((a.model, a.version), (b.model, b.version))

    @property
    def a_name(self) -> str:
        return self.names[0]

    @property
    def b_name(self) -> str:
        return self.names[1]

    @property
    def subject(self) -> str:
        """The registered model, if there is only one; else empty."""
        models = {self.model or self.a.model, self.model or self.b.model}
        known = [model for model in models if model and not is_file_name(model)]
        return known[0] if len(known) == 1 else ""

    @property
    def short_names(self) -> tuple[str, str]:
        """Names for the heads of tables: `A` and `B` if a name is long."""
        fits = max(map(len, self.names)) <= LONGEST_NAME
        return self.names if fits else ("A", "B")

    @property
    def spoken_names(self) -> tuple[str, str]:
        """Names in sentences: `A` and `B`, as in the heading, if one is long."""
        fits = max(map(len, self.names)) <= LONGEST_SPOKEN_NAME
        return self.names if fits else ("A", "B")

    @property
    def replacement(self) -> str:
        return f"{self.b_name} in place of {self.a_name}"

    @property
    def heading(self) -> str:
        """The replacement; it says which is A and which is B if tables call them so."""
        if self.short_names == self.names:
            return self.replacement
        return f"{self.b_name} (B) in place of {self.a_name} (A)"

    @property
    def title(self) -> str:
        return ": ".join(filter(None, (self.subject, self.replacement)))

    @property
    def changed_first_answers(self) -> Estimate:
        """disagreement_rate with its interval, which the file keeps apart."""
        return Estimate(
            self.disagreement_rate, self.disagreement.low, self.disagreement.high
        )


FieldPath = tuple[str, ...]
"""Names of fields from Summary down to one, such as ("top1", "delta", "low")."""


@dataclass(frozen=True)
class Place:
    """A field of Summary or of a level below it, but not of a list's entries."""

    path: FieldPath
    type: object
    measure: Measure

    @property
    def is_number(self) -> bool:
        """True for what a gate can name; False for levels, text, bool and lists."""
        return not {int, float}.isdisjoint(get_args(self.type))


def places(level: Any = Summary, above: FieldPath = ()) -> Iterator[Place]:
    """Every field in the file's order, a level before what is below it."""
    hints = get_type_hints(level)
    for each in fields(level):
        path, hint = (*above, each.name), hints[each.name]
        yield Place(path, hint, each.metadata["measure"])
        if is_dataclass(hint):
            yield from places(hint, path)


def value_at(summary: Summary, path: FieldPath) -> object:
    value: object = summary
    for name in path:
        value = getattr(value, name)
    return value


def five_can_miss(summary: Summary) -> bool:
    """False if both lists of five hold every truth and the same classes.

    So it is with five classes or fewer: "truth among five" says nothing then.
    """
    shares = (
        summary.a.top5_accuracy,
        summary.b.top5_accuracy,
        summary.overlap.top5,
    )
    return any(share != 1 for share in shares)


@dataclass(frozen=True)
class Change:
    """A number of both versions, and its change."""

    name: str
    before: float | None
    after: float | None
    change: Estimate
    kind: Literal["percent", "number"]
    """The kind of `before` and `after`."""

    @property
    def change_kind(self) -> Literal["points", "change"]:
        return "points" if self.kind == "percent" else "change"


def changes(summary: Summary, *, without: str) -> list[Change]:
    """The rows of the reports' tables, apart from that called `without`."""
    a, b = summary.a, summary.b
    errors = a.expected_calibration_error, b.expected_calibration_error
    confidences = a.mean_confidence, b.mean_confidence
    first, five = (a.top1_accuracy, b.top1_accuracy), (a.top5_accuracy, b.top5_accuracy)
    error, confidence = summary.calibration_error_delta, summary.confidence.delta
    scores = a.brier_score, b.brier_score
    rows = [
        Change("first answer right", *first, summary.top1.delta, "percent"),
        Change("truth among five", *five, summary.top5.delta, "percent"),
        Change("calibration error", *errors, error, "percent"),
        Change("mean confidence", *confidences, confidence, "percent"),
        Change("log loss", a.log_loss, b.log_loss, summary.log_loss_delta, "number"),
        Change("Brier score", *scores, summary.brier_score_delta, "number"),
    ]
    if not five_can_miss(summary):
        del rows[1]
    return [row for row in rows if row.name != without]
