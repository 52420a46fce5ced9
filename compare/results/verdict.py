"""Computes the summary of a comparison, and judges it by the gates."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from classifier.metrics import expected_calibration_error
from compare.collect.schema import ServedVersion
from compare.results.comparison import Comparison
from compare.results.gates import Gate
from compare.results.image_order import suspect_rows
from compare.results.numbers import (
    ClassCounts,
    ConfidenceNumbers,
    ConfusionChange,
    ConfusionChanges,
    Interval,
    OverlapNumbers,
    PairedNumbers,
    Probe,
    SliceNumbers,
    SuspectEntry,
    VersionNumbers,
)
from compare.results.summary import DataFacts, GateResult, Summary, VerdictName
from compare.statistics import calibration, paired, top_five
from compare.statistics.bootstrap import (
    PairedChanges,
    confidence_change,
    paired_changes,
)
from compare.statistics.calibration import Scores
from compare.statistics.classes import (
    ClassChange,
    Confusion,
    class_changes,
    confusion_changes,
)
from compare.statistics.slices import ImageFacts, slices
from compare.statistics.top_five import BoolArray, IntArray, TopFive

ALIASES_OF_TRAINING = frozenset({"best", "best-loss"})
"""Training moves them to the version that does best on its validation images."""


@dataclass(frozen=True)
class Verdict:
    summary: Summary
    classes: tuple[ClassChange, ...]
    """Empty without labels, or if nothing could be compared."""

    @property
    def name(self) -> VerdictName:
        return self.summary.verdict


def judge(
    comparison: Comparison,
    *,
    a: ServedVersion,
    b: ServedVersion,
    gates: Sequence[Gate],
    notes: Sequence[str] = (),
    data: DataFacts,
    images: ImageFacts | None = None,
    probe: Probe | None = None,
) -> Verdict:
    """All numbers, and the verdict of the gates on them.

    `notes` stand in every report and change nothing. `images` is None if the files
    could not be read, `probe` if none was made.
    """
    reasons = _obstacles(comparison, probe)
    if reasons:
        return refuse(reasons, a=a, b=b, gates=gates, notes=notes, data=data)
    summary = _without_numbers(a, b, data, notes)
    classes: Sequence[ClassChange] = ()
    if comparison.labelled:
        classes = class_changes(
            comparison.targets,
            baseline=comparison.a_ranks == 1,
            candidate=comparison.b_ranks == 1,
        )
        summary = _with_truth(summary, comparison, classes=classes, images=images)
    else:
        changes = confidence_change(comparison.a, comparison.b)
        summary = _without_truth(summary, comparison, changes)
    summary = replace(summary, probe=probe or Probe())
    results = tuple(gate.result(summary) for gate in gates)
    tripped = [result for result in results if result.tripped]
    passed: VerdictName = "pass" if results else "no_gate"
    summary = replace(
        summary,
        verdict="fail" if tripped else passed,
        reasons=tuple(map(_reason, tripped)),
        gates=results,
    )
    return Verdict(summary, tuple(classes))


def refuse(
    reasons: Sequence[str],
    *,
    a: ServedVersion,
    b: ServedVersion,
    gates: Sequence[Gate],
    notes: Sequence[str] = (),
    data: DataFacts,
) -> Verdict:
    """`not_comparable`: no number exists, so every gate trips."""
    summary = replace(
        _without_numbers(a, b, data, notes),
        reasons=tuple(reasons),
        gates=tuple(
            GateResult(expression=gate.expression, value=None, tripped=True)
            for gate in gates
        ),
    )
    return Verdict(summary, ())


def _obstacles(comparison: Comparison, probe: Probe | None) -> list[str]:
    """Why the answers cannot be judged; empty if they can."""
    obstacles = []
    if probe is not None and probe.differing:
        obstacles.append(
            f"{probe.differing} of {probe.images} images that were asked twice got "
            "another answer the second time, so differences between the versions may "
            "come from the service itself; check that it did not load another model "
            "and has nothing random, then start again with --fresh if the first "
            "answers were wrong"
        )
    if not comparison.names:
        obstacles.append("no image was answered by both versions")
    return obstacles


def _reason(result: GateResult) -> str:
    if result.value is None:
        return f"{result.expression} has no value"
    return f"{result.expression} is true"


def _without_numbers(
    a: ServedVersion, b: ServedVersion, data: DataFacts, notes: Sequence[str]
) -> Summary:
    """A refusal: which versions and data, and None at every number."""

    def facts(version: ServedVersion) -> VersionNumbers:
        return VersionNumbers(
            version=version.number,
            model=version.model,
            run_id=version.run_id,
            epoch=version.epoch,
            chosen_on_these_images=_is_chosen(version, data),
        )

    return Summary(
        model=a.model if a.model == b.model else None,
        verdict="not_comparable",
        notes=tuple(notes),
        data=data,
        a=facts(a),
        b=facts(b),
    )


def _is_chosen(version: ServedVersion, data: DataFacts) -> bool | None:
    """Whether training chose it as the best on these images: its figure is optimistic.

    None if the service does not say its validation data, its aliases or its epoch. A
    version without an epoch was imported: how it was chosen is unknown.
    """
    if version.dataset_digest is None or version.aliases is None:
        return None
    if version.epoch is None:
        return None
    if version.dataset_digest != data.digest:
        return False
    return not ALIASES_OF_TRAINING.isdisjoint(version.aliases)


def _without_truth(
    summary: Summary, comparison: Comparison, changes: PairedChanges
) -> Summary:
    """`summary` with every number that needs no labels, of at least one image."""
    a, b, count = comparison.a, comparison.b, len(comparison.names)
    disagreement = paired.share(int(comparison.disagrees.sum()), count)
    first = {"baseline": a.indices[:, 0], "candidate": b.indices[:, 0]}
    confidences = {
        "baseline": a.probabilities[:, 0],
        "candidate": b.probabilities[:, 0],
    }
    return replace(
        summary,
        a=replace(summary.a, mean_confidence=float(a.probabilities[:, 0].mean())),
        b=replace(summary.b, mean_confidence=float(b.probabilities[:, 0].mean())),
        images=count,
        missing=len(comparison.missing),
        left_out=comparison.left_out,
        disagreement_rate=disagreement.value,
        disagreement=Interval(low=disagreement.low, high=disagreement.high),
        agreement_kappa=top_five.agreement_kappa(**first),
        confidence=ConfidenceNumbers(
            delta=changes.confidence,
            truth_delta=changes.truth,
            truth_images=changes.truth_images,
            table=calibration.confidence_table(**confidences),
        ),
        overlap=OverlapNumbers(
            top5=float(top_five.shared_share(a, b).mean()),
            rank_biased_overlap=float(top_five.rank_biased_overlap(a, b).mean()),
            jensen_shannon_lower_bound=float(
                top_five.jensen_shannon_lower_bound(a, b).mean()
            ),
        ),
    )


def _with_truth(
    summary: Summary,
    comparison: Comparison,
    *,
    classes: Sequence[ClassChange],
    images: ImageFacts | None,
) -> Summary:
    """`summary` with every number; its slices need `images`."""
    targets = comparison.targets
    a_scores, b_scores = comparison.a_scores, comparison.b_scores
    changes = paired_changes(
        targets, comparison.a, comparison.b, a_scores=a_scores, b_scores=b_scores
    )
    summary = _without_truth(summary, comparison, changes)
    a_ranks, b_ranks = comparison.a_ranks, comparison.b_ranks
    top1 = {"baseline": a_ranks == 1, "candidate": b_ranks == 1}
    transitions = top_five.rank_transitions(baseline=a_ranks, candidate=b_ranks)
    return replace(
        summary,
        a=_one_version(summary.a, comparison.a, targets, a_scores),
        b=_one_version(summary.b, comparison.b, targets, b_scores),
        top1=_paired(**top1),
        top5=_paired(baseline=a_ranks > 0, candidate=b_ranks > 0),
        mean_reciprocal_rank_delta=changes.reciprocal_rank,
        calibration_error_delta=changes.calibration_error,
        log_loss_delta=changes.log_loss,
        brier_score_delta=changes.brier_score,
        rank_transitions=transitions,
        rank_symmetry=top_five.rank_symmetry(transitions),
        class_regressions=sum(change.is_regression for change in classes),
        class_improvements=sum(change.is_improvement for change in classes),
        classes=ClassCounts(
            tested=len(classes),
            could_be_flagged=sum(change.could_be_flagged for change in classes),
        ),
        confusions=_confusions(comparison),
        slices=None if images is None else _slices(images, **top1),
        label_suspects=_label_suspects(comparison),
    )


def _one_version(
    numbers: VersionNumbers, top: TopFive, targets: IntArray, scores: Scores
) -> VersionNumbers:
    ranks, confidences = top.ranks(targets), top.probabilities[:, 0]
    top1 = paired.share(int((ranks == 1).sum()), len(ranks))
    top5 = paired.share(int((ranks > 0).sum()), len(ranks))
    return replace(
        numbers,
        top1_accuracy=top1.value,
        top5_accuracy=top5.value,
        expected_calibration_error=expected_calibration_error(confidences, ranks == 1),
        log_loss=float(calibration.log_losses(scores).mean()),
        brier_score=float(calibration.brier_scores(scores).mean()),
        top1=top1,
        top5=top5,
        mean_reciprocal_rank=top_five.mean_reciprocal_rank(ranks),
        reliability=tuple(calibration.reliability(confidences, ranks == 1)),
    )


def _paired(*, baseline: BoolArray, candidate: BoolArray) -> PairedNumbers:
    table = top_five.paired_table(baseline=baseline, candidate=candidate)
    return PairedNumbers(
        **asdict(table),
        delta=paired.paired_difference(table),
        mcnemar_mid_p=paired.mcnemar_mid_p(table),
        mcnemar_exact_p=paired.mcnemar_exact(table),
        negative_flip_rate=paired.share(table.broken, table.images),
        positive_flip_rate=paired.share(table.fixed, table.images),
        relative_flip_rate=paired.relative_flip_rate(table),
        backward_trust=paired.backward_trust(table),
        error_compatibility=paired.error_compatibility(table),
        excess_churn=paired.excess_churn(table),
        kappa=paired.correctness_kappa(table),
    )


def _confusions(comparison: Comparison) -> ConfusionChanges:
    labels = comparison.labels

    def entry(confusion: Confusion) -> ConfusionChange:
        return ConfusionChange(
            target_id=labels.ids[confusion.target],
            target=labels.names[confusion.target],
            answer_id=labels.ids[confusion.answer],
            answer=labels.names[confusion.answer],
            a=confusion.baseline,
            b=confusion.candidate,
        )

    gained, lost = confusion_changes(
        comparison.targets,
        baseline=comparison.a.indices[:, 0],
        candidate=comparison.b.indices[:, 0],
        classes=len(labels),
    )
    return ConfusionChanges(
        gained=tuple(map(entry, gained)), lost=tuple(map(entry, lost))
    )


def _slices(
    images: ImageFacts, *, baseline: BoolArray, candidate: BoolArray
) -> tuple[SliceNumbers, ...]:
    return tuple(
        SliceNumbers(
            name=part.name,
            group=part.group,
            images=part.table.images,
            delta=paired.paired_difference(part.table),
            negative_flip_rate=paired.share(part.table.broken, part.table.images),
            mid_p=part.mid_p,
            q_value=part.q_value,
        )
        for part in slices(images, baseline=baseline, candidate=candidate)
    )


def _label_suspects(comparison: Comparison) -> tuple[SuspectEntry, ...]:
    labels, a, b = comparison.labels, comparison.a, comparison.b

    def entry(row: int) -> SuspectEntry:
        target, answer = comparison.targets[row], a.indices[row, 0]
        return SuspectEntry(
            image=comparison.names[row],
            target_id=labels.ids[target],
            target=labels.names[target],
            answer_id=labels.ids[answer],
            answer=labels.names[answer],
            a_probability=float(a.probabilities[row, 0]),
            b_probability=float(b.probabilities[row, 0]),
        )

    return tuple(map(entry, suspect_rows(comparison).tolist()))
