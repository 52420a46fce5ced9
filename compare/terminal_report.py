"""What a comparison says on standard output: at most 30 lines of 80 columns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from classifier.plain_text import printable
from compare.comparison import Comparison
from compare.files import hits
from compare.terminal_tables import (
    accuracy_lines,
    flip_lines,
    log_loss_line,
    rank_lines,
)
from compare.terminal_words import (
    clipped,
    number,
    percent,
    percent_between,
    points,
    points_between,
    wrap,
)
from compare.verdict import Verdict
from compare.wording import notes_of, say_images, verdict_in_words

PLACES = ("first", "second", "third", "fourth", "fifth")
HEIGHT = 30


def print_report(verdict: Verdict, *, data: str, folder: Path) -> None:
    lines = report_lines(verdict, data=data, folder=folder)
    print("\n".join(map(printable, lines)), flush=True)


def print_shown(comparison: Comparison, count: int) -> None:
    lines = ["", *shown_lines(comparison, count)]
    print("\n".join(map(printable, lines)), flush=True)


def report_lines(verdict: Verdict, *, data: str, folder: Path) -> list[str]:
    summary = verdict.summary
    a, b = f"v{summary['a']['version']}", f"v{summary['b']['version']}"
    head = f"{summary['model']}: {b} in place of {a}"
    if verdict.name == "not_comparable":
        return _refused_lines(summary, head, folder)
    where = f"{head}, on {say_images(summary['images'])} of {data}"
    start = [*clipped(wrap(where), 2), *_note_lines(summary), ""]
    end = ["", *_gate_lines(summary, folder)]
    if not summary["data"]["labelled"]:
        return _fitted([*start, *_unlabelled_lines(summary, a, b), *end])
    confusions, classes = _confusion_lines(summary), _class_lines(summary)
    log_loss = log_loss_line(summary, a, b)
    before = [*start, *accuracy_lines(summary, a, b), log_loss, ""]
    before += [*flip_lines(summary, a, b), ""]
    after = ["", *rank_lines(summary, a, b), *end]
    room = HEIGHT - sum(map(bool, (*before, *classes, *after)))
    meaning = clipped(_meaning_lines(summary), max(5, room))
    return _fitted(
        [*before, *meaning, *classes, *confusions, *after],
        dispensable=confusions,
        hardly_dispensable=[*classes, log_loss],
    )


def shown_lines(comparison: Comparison, count: int) -> list[str]:
    """The first images in the seed report's manner and order, as text is sorted.

    Name, index and name of the truth, which of the five answers of each version is the
    truth, and in words where they differ. Without labels, both versions' first answers.
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
    """At most HEIGHT lines: what can be spared goes first, then empty ones."""
    for line in (*dispensable, *[""] * lines.count(""), *hardly_dispensable):
        if len(lines) > HEIGHT:
            lines.remove(line)
    return lines


def _refused_lines(summary: Mapping[str, Any], head: str, folder: Path) -> list[str]:
    """The reason first: nothing else is of any use before it."""
    reasons = [line for r in summary["reasons"] for line in wrap(r, indent="  ")]
    said = ["NOT COMPARABLE", *clipped(reasons, 15), "", *wrap(head)]
    return [*said, *_note_lines(summary), "", f"see {folder}/"]


def _note_lines(summary: Mapping[str, Any]) -> list[str]:
    notes = [f"Note: {note}." for note in notes_of(summary)]
    return clipped([line for note in notes for line in wrap(note)], 4)


def _meaning_lines(summary: Mapping[str, Any]) -> list[str]:
    words = verdict_in_words(summary, with_accuracies=False)  # a table has them
    return wrap(" ".join([f"{words.headline}.", *words.sentences]))


def _class_lines(summary: Mapping[str, Any]) -> list[str]:
    classes = summary["classes"]
    said = (
        f"Classes shown worse: {summary['class_regressions']} of "
        f"{classes['tested']:,}, better: {summary['class_improvements']} "
        f"({classes['could_be_flagged']} changed enough to tell)."
    )
    return clipped(wrap(said), 1)


def _confusion_lines(summary: Mapping[str, Any]) -> list[str]:
    """The confusion that grew most, where one did."""
    gained = summary["confusions"]["gained"]
    if not gained:
        return []
    most = gained[0]
    said = f"{most['target']} taken for {most['answer']}, {most['a']} -> {most['b']}"
    return clipped(wrap(f"Grown most: {said} images."), 1)


def _unlabelled_lines(summary: Mapping[str, Any], a: str, b: str) -> list[str]:
    overlap, confidence = summary["overlap"], summary["confidence"]["delta"]
    changed = percent(summary["disagreement_rate"])
    return [
        *wrap(
            "The images have no labels: this says how much changes, and nothing about "
            "which version is right."
        ),
        "",
        f"first answer changes on  {changed} {percent_between(summary['disagreement'])}"
        f", kappa {number(summary['agreement_kappa'])}",
        f"lists share              {percent(overlap['top5'])}, rank-biased overlap "
        f"{number(overlap['rank_biased_overlap'])}",
        "distributions differ by  at least "
        f"{number(overlap['jensen_shannon_lower_bound'])} bits (Jensen-Shannon)",
        f"mean confidence          {a} {percent(summary['a']['mean_confidence'])}, "
        f"{b} {percent(summary['b']['mean_confidence'])}",
        f"  change                 {points(confidence['value'])} points "
        f"{points_between(confidence)}",
    ]


def _gate_lines(summary: Mapping[str, Any], folder: Path) -> list[str]:
    verdict = f"verdict: {summary['verdict'].upper()}"
    report = f"report:  {folder}/report.html"
    if not summary["gates"]:
        return ["verdict: NO GATE (nothing was asked, so nothing passed)", report]
    # Those that tripped first: the list is cut after two lines.
    gates = sorted(summary["gates"], key=lambda gate: not gate["tripped"])
    said = [
        f"{gate['expression']} {'TRIPPED' if gate['tripped'] else 'ok'}"
        f" ({number(gate['value'])})"
        for gate in gates
    ]
    return [verdict, *clipped(wrap(f"gates:   {'; '.join(said)}"), 2), report]


def _place(rank: int) -> str:
    return "not among the five" if rank == 0 else PLACES[rank - 1]
