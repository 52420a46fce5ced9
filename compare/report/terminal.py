"""The report on standard output: at most 30 lines of 80 columns."""

import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from classifier.console.text import printable
from compare.results.comparison import Comparison
from compare.results.folder import hits
from compare.results.summary import Summary, changes
from compare.results.verdict import Verdict
from compare.results.wording import (
    PLACES,
    notes_of,
    plain,
    plain_interval,
    say_images,
    verdict_in_words,
)

WIDTH = 80


def wrap(text: str, *, indent: str = "") -> list[str]:
    """Lines of at most 80 columns; names with hyphens stay whole."""
    return textwrap.wrap(
        printable(text),  # first, as escapes make it longer
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def clipped(lines: Sequence[str], most: int) -> list[str]:
    """The first `most` lines; the last one ends with an ellipsis if more are cut."""
    if len(lines) <= most:
        return [*lines]
    return [*lines[: most - 1], f"{lines[most - 1][: WIDTH - 2]} …"]


def _title(summary: Summary) -> str:
    return ": ".join(filter(None, (summary.subject, summary.heading)))


def change_lines(summary: Summary) -> list[str]:
    """The head of the table, and a row for each number."""
    a, b = summary.short_names
    width = max(9, len(a) + 1, len(b) + 1)
    label = max(18, 38 - 2 * width)  # 20, or less if names are long
    head = f"{'':{label}}{a:>{width}}{b:>{width}}   change, with its 95 % interval"
    lines = [head]
    for row in changes(summary, without="Brier score"):
        before, after = plain(row.before, row.kind), plain(row.after, row.kind)
        change = plain(row.change.value, row.change_kind)
        said = f"{change:<14}" if row.kind == "number" else f"{change} points "
        lines.append(
            f"{row.name:{label}}{before:>{width}}{after:>{width}}   {said} "
            f"{plain_interval(row.change, row.change_kind)}".rstrip()
        )
    return lines


def flip_lines(summary: Summary) -> list[str]:
    (a, b), top1 = summary.short_names, summary.top1
    first, width = max(14, len(a) + 6), max(12, len(b) + 7)  # `v16.int8 right`
    broken, fixed = (
        f"{plain(rate.value, 'percent')} {plain_interval(rate, 'percent')}"
        for rate in (top1.negative_flip_rate, top1.positive_flip_rate)
    )
    return [
        f"{'':{first}}{b + ' right':>{width}}{b + ' wrong':>{width}}",
        f"{a + ' right':{first}}{top1.both_right:>{width},}"
        f"{top1.broken:>{width},}   broken: {broken}",
        f"{a + ' wrong':{first}}{top1.fixed:>{width},}"
        f"{top1.both_wrong:>{width},}   fixed:  {fixed}",
    ]


def rank_lines(summary: Summary) -> list[str]:
    a, b = summary.short_names
    corner, columns = "the truth is", [f"{b} {name}" for name in PLACES]
    if len(columns[-1]) > 10:  # `v16.int8 none` six times is wider than 80
        corner, columns = f"in {b}", list(PLACES)
    lines = [f"{corner:>14}" + "".join(f"{column:>11}" for column in columns)]
    for name, row in zip(PLACES, summary.rank_transitions or [], strict=True):
        lines.append(f"{f'{a} {name}':>14}" + "".join(f"{n:>11,}" for n in row))
    return lines


PLACES_OF_TRUTH = ("first", "second", "third", "fourth", "fifth")
HEIGHT = 30


def print_lines(lines: Sequence[str]) -> None:
    """Print to standard output. A closed pipe, as of `head`, is no error."""
    try:
        print("\n".join(map(printable, lines)), flush=True)
    except BrokenPipeError:
        # Else Python fails again when it flushes at exit (its docs: signal, SIGPIPE).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def report_lines(verdict: Verdict, *, data: str, folder: Path) -> list[str]:
    summary = verdict.summary
    head = _title(summary)
    if verdict.name == "not_comparable":
        return _refused_lines(summary, head, folder)
    where = f"{head}, on {say_images(summary.images or 0)} of {data}"
    most = 2 if summary.spoken_names == summary.names else 5
    start = [*clipped(wrap(where), most), *_note_lines(summary), ""]
    end = ["", *_gate_lines(summary, folder)]
    if not summary.data.labelled:
        return _fitted([*start, *_unlabelled_lines(summary), *end])
    confusions, classes = _confusion_lines(summary), _class_lines(summary)
    changed = change_lines(summary)
    before = [*start, *changed, "", *flip_lines(summary), ""]
    after = ["", *rank_lines(summary), *end]
    room = HEIGHT - sum(map(bool, (*before, *classes, *after)))
    meaning = clipped(_meaning_lines(summary), max(5, room))
    return _fitted(
        [*before, *meaning, *classes, *confusions, *after],
        dispensable=confusions,
        hardly_dispensable=[*classes, changed[-1]],  # log loss,
    )


def shown_lines(comparison: Comparison, count: int) -> list[str]:
    """The first images, sorted by name as text, in the format of the seed report.

    A line has the name, the index and name of the true class, the place of the truth
    among each version's five answers, and both places in words if they differ. Without
    labels a line has both first answers.
    """
    order = sorted(range(len(comparison.names)), key=comparison.names.__getitem__)
    names, labels = comparison.names, comparison.labels
    if not comparison.labelled:
        a, b = comparison.a.indices[:, 0], comparison.b.indices[:, 0]
        return [
            f"{names[row]:<16} a: {labels.names[a[row]]:<24} b: {labels.names[b[row]]}"
            for row in order[:count]
        ]
    a_ranks, b_ranks = comparison.a_ranks, comparison.b_ranks
    width = len(str(len(labels) - 1))
    lines = []
    for row in order[:count]:
        target, a_rank, b_rank = comparison.targets[row], a_ranks[row], b_ranks[row]
        words = ""
        if a_rank != b_rank:
            words = f"  a: {_place(a_rank)}, b: {_place(b_rank)}"
        lines.append(
            f"{names[row]:<16} {target:>{width}} {labels.names[target]:<24} "
            f"{hits(a_rank)} {hits(b_rank)}{words}"
        )
    return lines


def _fitted(
    lines: list[str],
    *,
    dispensable: Sequence[str] = (),
    hardly_dispensable: Sequence[str] = (),
) -> list[str]:
    """Delete lines until HEIGHT are left: `dispensable` first, then empty ones."""
    for line in (*dispensable, *[""] * lines.count(""), *hardly_dispensable):
        if len(lines) > HEIGHT:
            lines.remove(line)
    return lines


def _refused_lines(summary: Summary, head: str, folder: Path) -> list[str]:
    """The reason first: without it nothing else is of use."""
    reasons = [line for r in summary.reasons for line in wrap(r, indent="  ")]
    said = ["NOT COMPARABLE", *clipped(reasons, 15), "", *wrap(head)]
    return [*said, *_note_lines(summary), "", f"see {folder}/"]


def _note_lines(summary: Summary) -> list[str]:
    notes = [f"Note: {note}." for note in notes_of(summary)]
    return clipped([line for note in notes for line in wrap(note)], 4)


def _meaning_lines(summary: Summary) -> list[str]:
    words = verdict_in_words(summary, with_accuracies=False)  # a table has them
    return wrap(" ".join([f"{words.headline}.", *words.sentences]))


def _class_lines(summary: Summary) -> list[str]:
    classes = summary.classes
    said = (
        f"Classes shown worse: {summary.class_regressions} of "
        f"{classes.tested:,}, better: {summary.class_improvements} "
        f"({classes.could_be_flagged} changed enough to show it)."
    )
    return clipped(wrap(said), 1)


def _confusion_lines(summary: Summary) -> list[str]:
    """The confusion that grew most; none if none grew."""
    if not summary.confusions.gained:
        return []
    most = summary.confusions.gained[0]
    said = f"{most.target} taken for {most.answer}, {most.a} -> {most.b}"
    return clipped(wrap(f"Confusion that grew most: {said} images."), 1)


def _unlabelled_lines(summary: Summary) -> list[str]:
    (a, b), overlap = summary.short_names, summary.overlap
    confidence, changed = summary.confidence.delta, summary.changed_first_answers
    return [
        *wrap(
            "The images have no labels: this shows how much changes, not which version "
            "is right."
        ),
        "",
        f"first answer changes on  {plain(changed.value, 'percent')} "
        f"{plain_interval(changed, 'percent')}, kappa "
        f"{plain(summary.agreement_kappa, 'any')}",
        f"lists share              {plain(overlap.top5, 'percent')}, rank-biased "
        f"overlap {plain(overlap.rank_biased_overlap, 'any')}",
        "distributions differ by  at least "
        f"{plain(overlap.jensen_shannon_lower_bound, 'any')} bits (Jensen-Shannon)",
        f"mean confidence          {a} {plain(summary.a.mean_confidence, 'percent')}, "
        f"{b} {plain(summary.b.mean_confidence, 'percent')}",
        f"  change                 {plain(confidence.value, 'points')} points "
        f"{plain_interval(confidence, 'points')}",
    ]


def _gate_lines(summary: Summary, folder: Path) -> list[str]:
    verdict = f"verdict: {summary.verdict.upper()}"
    report = f"report:  {folder}/report.html"
    if not summary.gates:
        return ["verdict: NO GATE (no gate was given, so nothing passed)", report]
    # The tripped ones first: the list is cut after two lines.
    gates = sorted(summary.gates, key=lambda gate: not gate.tripped)
    said = [
        f"{gate.expression} {'TRIPPED' if gate.tripped else 'ok'}"
        f" ({plain(gate.value, 'any')})"
        for gate in gates
    ]
    return [verdict, *clipped(wrap(f"gates:   {'; '.join(said)}"), 2), report]


def _place(rank: int) -> str:
    return "not among the five" if rank == 0 else PLACES_OF_TRUTH[rank - 1]
