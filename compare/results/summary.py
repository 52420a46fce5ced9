"""The shape of summary.json: a frozen dataclass a level, a description for each field.

The fields give the paths that gates can name, the report's table of definitions,
docs/summary.schema.json and the types of every report. Rates are fractions, 0..1;
differences are candidate less baseline; a number that does not exist is None.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, is_dataclass
from typing import Annotated, Literal, get_args, get_type_hints

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
from compare.statistics.measure import NOTHING, Estimate, Measure, Symmetry

SCHEMA: Literal[1] = 1

VerdictName = Literal["pass", "fail", "no_gate", "not_comparable"]


@dataclass(frozen=True, kw_only=True)
class GateResult:
    expression: Annotated[str, Measure("the gate as given")]
    value: Annotated[float | None, Measure("the number that the gate names")]
    tripped: Annotated[bool, Measure("the expression is true, or has no value")]


@dataclass(frozen=True)
class DataFacts:
    name: Annotated[str | None, Measure("name of the data set")] = None
    digest: Annotated[str | None, Measure("digest of its images and labels")] = None
    labelled: Annotated[bool, Measure("false if the images have no labels")] = True


@dataclass(frozen=True, kw_only=True)
class Summary:
    """summary.json, in the file's order. A is the baseline, B the candidate."""

    schema: Annotated[Literal[1], Measure("version of this format")] = SCHEMA
    model: Annotated[str, Measure("name of the registered model")]
    verdict: Annotated[
        VerdictName,
        Measure("`no_gate`: no gate was given, so nothing passed or failed"),
    ]
    reasons: Annotated[
        tuple[str, ...], Measure("why the verdict is `fail` or `not_comparable`")
    ] = ()
    notes: Annotated[tuple[str, ...], Measure("what to know before reading on")] = ()
    gates: Annotated[tuple[GateResult, ...], Measure("each gate and its result")] = ()
    data: Annotated[DataFacts, Measure("the images of the comparison")] = field(
        default_factory=DataFacts
    )
    a: Annotated[VersionNumbers, Measure("the baseline")]
    b: Annotated[VersionNumbers, Measure("the candidate")]
    images: Annotated[int | None, Measure("images that both answered: N")] = None
    missing: Annotated[int | None, Measure("images that one did not answer")] = None
    top1: Annotated[
        PairedNumbers, Measure("right means: the first answer is the true class")
    ] = field(default_factory=PairedNumbers)
    top5: Annotated[
        PairedNumbers, Measure("right means: the true class is among the five answers")
    ] = field(default_factory=PairedNumbers)
    disagreement_rate: Annotated[
        float | None,
        Measure(
            "share of images with another first answer; needs no labels",
            name="Changed first answers (churn)",
            kind="percent",
            formula="images whose first answers differ / N",
            source="Milani Fard et al., NIPS 2016",
        ),
    ] = None
    disagreement: Annotated[
        Interval, Measure("Wilson's interval of disagreement_rate")
    ] = field(default_factory=Interval)
    agreement_kappa: Annotated[
        float | None,
        Measure(
            "agreement of the first answers beyond chance; 1 is full agreement",
            name="Kappa of first answers",
            formula="as kappa of being right, over classes",
        ),
    ] = None
    mean_reciprocal_rank_delta: Annotated[
        Estimate,
        Measure(
            "positive: the true class moves up",
            name="Change of mean reciprocal rank",
            kind="change",
            formula=f"B {MINUS} A; {BOOTSTRAP}",
        ),
    ] = NOTHING
    calibration_error_delta: Annotated[
        Estimate,
        Measure(
            "positive: B's confidence is less reliable. Chance makes both errors too "
            "large; the interval allows for that at both ends, and holds the true "
            "change in at least 95 % of comparisons",
            name="Change of calibration error",
            kind="points",
            formula=f"B {MINUS} A; 1.96 standard errors and the largest bias of the "
            "15 bins",
            source="Armstrong, Koles\u00e1r, Quantitative Economics 11:1 (2020); "
            "Kumar, Liang, Ma, NeurIPS 2019",
        ),
    ] = NOTHING
    log_loss_delta: Annotated[
        Estimate,
        Measure(
            "positive: B gives the true class less probability",
            name="Change of log loss",
            kind="change",
            formula=f"B {MINUS} A; {BOOTSTRAP}",
        ),
    ] = NOTHING
    brier_score_delta: Annotated[
        Estimate,
        Measure(
            "positive: B's probabilities are farther from the true class",
            name="Change of Brier score",
            kind="change",
            formula=f"B {MINUS} A; {BOOTSTRAP}",
        ),
    ] = NOTHING
    rank_transitions: Annotated[
        Counts | None,
        Measure("images by place of the true class in A (rows) and B (columns)"),
    ] = None
    rank_symmetry: Annotated[
        Symmetry, Measure("Bowker's test of the table of ranks")
    ] = field(default_factory=Symmetry)
    confidence: Annotated[
        ConfidenceNumbers, Measure("probabilities of the answers")
    ] = field(default_factory=ConfidenceNumbers)
    overlap: Annotated[
        OverlapNumbers, Measure("similarity of the two lists of five answers")
    ] = field(default_factory=OverlapNumbers)
    class_regressions: Annotated[
        int | None,
        Measure(
            "classes with a significant loss, corrected for testing all classes",
            name="Classes shown to be worse",
            kind="count",
            formula="broken > fixed, Benjamini-Hochberg q of mid-p "
            "\N{LESS-THAN OR EQUAL TO} 0.05",
            source="Benjamini, Hochberg, J. R. Stat. Soc. B 57:289 (1995)",
        ),
    ] = None
    class_improvements: Annotated[
        int | None,
        Measure(
            "classes with a significant gain, corrected for testing all classes",
            name="Classes shown to be better",
            kind="count",
            formula="fixed > broken, q \N{LESS-THAN OR EQUAL TO} 0.05",
        ),
    ] = None
    classes: Annotated[ClassCounts, Measure("number of classes")] = field(
        default_factory=ClassCounts
    )
    confusions: Annotated[
        ConfusionChanges, Measure("pairs of a true class and a wrong first answer")
    ] = field(default_factory=ConfusionChanges)
    slices: Annotated[
        tuple[SliceNumbers, ...] | None, Measure("the same on parts of the images")
    ] = None
    probe: Annotated[Probe, Measure("whether answers repeat")] = field(
        default_factory=Probe
    )
    label_suspects: Annotated[
        tuple[SuspectEntry, ...] | None,
        Measure("images with the same confident answer of both, and another label"),
    ] = None

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


def places(level: object = Summary, above: FieldPath = ()) -> Iterator[Place]:
    """Every field in the file's order, a level before what is below it."""
    for name, hint in get_type_hints(level, include_extras=True).items():
        of_field, measure = get_args(hint)
        yield Place((*above, name), of_field, measure)
        if is_dataclass(of_field):
            yield from places(of_field, (*above, name))


def value_at(summary: Summary, path: FieldPath) -> object:
    value: object = summary
    for name in path:
        value = getattr(value, name)
    return value
