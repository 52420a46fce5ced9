"""What a comparison says on standard output: at most 30 lines of 80 columns."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from classifier.console import printable
from compare.results.comparison import Comparison
from compare.results.folder import hits
from compare.results.verdict import Verdict
from compare.results.wording import (
    ABSENT,
    PLACES,
    five_can_miss,
    notes_of,
    say_images,
    signed_change,
    signed_points,
    verdict_in_words,
)

WIDTH = 80

Ends = Mapping[str, float | None]
"""An interval's `low` and `high`."""


def wrap(text: str, *, indent: str = "") -> list[str]:
    """Names with hyphens stay whole."""
    return textwrap.wrap(
        printable(text),  # before it is measured
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def clipped(lines: Sequence[str], most: int) -> list[str]:
    """The first lines; that there were more shows at the last one's end."""
    if len(lines) <= most:
        return [*lines]
    return [*lines[: most - 1], f"{lines[most - 1][: WIDTH - 2]} …"]


def percent(fraction: float | None) -> str:
    return ABSENT if fraction is None else f"{100 * fraction:.2f} %"


def points(fraction: float | None) -> str:
    """Percentage points, signed."""
    return ABSENT if fraction is None else signed_points(fraction)


def points_between(ends: Ends) -> str:
    """Empty where there is no interval."""
    low, high = ends["low"], ends["high"]
    return "" if low is None or high is None else f"[{points(low)}, {points(high)}]"


def change_between(ends: Ends) -> str:
    """The same for a difference that has no unit."""
    low, high = ends["low"], ends["high"]
    if low is None or high is None:
        return ""
    return f"[{signed_change(low)}, {signed_change(high)}]"


def percent_between(ends: Ends) -> str:
    low, high = ends["low"], ends["high"]
    if low is None or high is None:
        return ""
    return f"[{100 * low:.2f}, {100 * high:.2f}]"


def number(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.4g}"


def accuracy_lines(summary: Mapping[str, Any], a: str, b: str) -> list[str]:
    label, width = _widths(a, b)
    lines = [f"{'':{label}}{a:>{width}}{b:>{width}}   change, with its 95 % interval"]
    for name, key, delta in (
        ("first answer right", "top1_accuracy", summary["top1"]["delta"]),
        ("truth among five", "top5_accuracy", summary["top5"]["delta"]),
        (
            "calibration error",
            "expected_calibration_error",
            summary["calibration_error_delta"],
        ),
        ("mean confidence", "mean_confidence", summary["confidence"]["delta"]),
    ):
        if key == "top5_accuracy" and not five_can_miss(summary):
            continue
        sides = [percent(summary[side][key]) for side in ("a", "b")]
        lines.append(
            f"{name:{label}}{sides[0]:>{width}}{sides[1]:>{width}}   "
            f"{points(delta['value'])} points  {points_between(delta)}".rstrip()
        )
    return lines


def log_loss_line(summary: Mapping[str, Any], a: str, b: str) -> str:
    """One more row of the table above."""
    label, width = _widths(a, b)
    before, after = (summary[side]["log_loss"] for side in "ab")
    delta = summary["log_loss_delta"]
    return (
        f"{'log loss':{label}}{before:>{width}.3f}{after:>{width}.3f}   "
        f"{signed_change(delta['value']):<14} {change_between(delta)}"
    ).rstrip()


def _widths(a: str, b: str) -> tuple[int, int]:
    width = max(9, len(a) + 1, len(b) + 1)
    return max(18, 38 - 2 * width), width  # 20, or less where names are long


def flip_lines(summary: Mapping[str, Any], a: str, b: str) -> list[str]:
    top1 = summary["top1"]
    broken, fixed = top1["negative_flip_rate"], top1["positive_flip_rate"]
    first, width = max(14, len(a) + 6), max(12, len(b) + 7)  # `v16.int8 right`
    said = [
        f"{percent(rate['value'])} {percent_between(rate)}" for rate in (broken, fixed)
    ]
    return [
        f"{'':{first}}{b + ' right':>{width}}{b + ' wrong':>{width}}",
        f"{a + ' right':{first}}{top1['both_right']:>{width},}"
        f"{top1['broken']:>{width},}   broken: {said[0]}",
        f"{a + ' wrong':{first}}{top1['fixed']:>{width},}"
        f"{top1['both_wrong']:>{width},}   fixed:  {said[1]}",
    ]


def rank_lines(summary: Mapping[str, Any], a: str, b: str) -> list[str]:
    corner, columns = "the truth is", [f"{b} {name}" for name in PLACES]
    if len(columns[-1]) > 10:  # `v16.int8 none` six times is wider than 80
        corner, columns = f"in {b}", list(PLACES)
    lines = [f"{corner:>14}" + "".join(f"{column:>11}" for column in columns)]
    for name, row in zip(PLACES, summary["rank_transitions"], strict=True):
        lines.append(f"{f'{a} {name}':>14}" + "".join(f"{n:>11,}" for n in row))
    return lines


PLACES_OF_TRUTH = ("first", "second", "third", "fourth", "fifth")
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
    return "not among the five" if rank == 0 else PLACES_OF_TRUTH[rank - 1]
