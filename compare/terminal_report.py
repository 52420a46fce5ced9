"""What a comparison says on standard output: at most 30 lines of 80 columns."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compare.comparison import Comparison
from compare.files import hits
from compare.verdict import Verdict

PLACES = ("first", "second", "third", "fourth", "fifth")
WIDTH, HEIGHT = 80, 30
ABSENT = "\N{EN DASH}"


def print_report(verdict: Verdict, *, data: str, folder: Path) -> None:
    print("\n".join(report_lines(verdict, data=data, folder=folder)), flush=True)


def print_shown(comparison: Comparison, count: int) -> None:
    print("\n".join(["", *shown_lines(comparison, count)]), flush=True)


def report_lines(verdict: Verdict, *, data: str, folder: Path) -> list[str]:
    summary = verdict.summary
    a, b = f"v{summary['a']['version']}", f"v{summary['b']['version']}"
    head = f"{summary['model']}: {b} in place of {a}"
    if verdict.name == "not_comparable":
        reasons = [line for r in summary["reasons"] for line in wrap(r, indent="  ")]
        return [head, "", "NOT COMPARABLE", *reasons, "", f"see {folder}/"]
    return _fitted(
        [
            f"{head}, on {summary['images']:,} images of {data}",
            *(line for note in summary["notes"] for line in wrap(f"Note: {note}.")),
            "",
            *_accuracy_lines(summary, a, b),
            "",
            *_table_lines(summary, a, b),
            "",
            *_meaning_lines(summary, a, b),
            _class_line(verdict, b),
            "",
            *_rank_lines(summary, a, b),
            "",
            *_gate_lines(summary, folder),
        ]
    )


def shown_lines(comparison: Comparison, count: int) -> list[str]:
    """The first images in the seed report's manner.

    Name, truth, which of the five answers of each version is the truth, and in words
    where they differ.
    """
    a_ranks, b_ranks = comparison.a_ranks, comparison.b_ranks
    lines = []
    for row, name in enumerate(comparison.names[:count]):
        truth = comparison.labels.names[comparison.targets[row]]
        words = ""
        if a_ranks[row] != b_ranks[row]:
            words = f"  a: {_place(a_ranks[row])}, b: {_place(b_ranks[row])}"
        lines.append(
            f"{name:<16} {truth:<24} {hits(a_ranks[row])} {hits(b_ranks[row])}{words}"
        )
    return lines


def chance_in_words(p: float) -> str:
    """How often luck alone would do this, for those who have never met a p-value."""
    if p < 0.001:
        return "in less than 1 of 1,000 such comparisons"
    if p < 0.1:
        return f"in {1000 * p:.0f} of 1,000 such comparisons"
    return f"in {100 * p:.0f} of 100 such comparisons"


def wrap(text: str, *, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)


def _fitted(lines: list[str]) -> list[str]:
    """At most HEIGHT lines: empty ones go first, from the top on."""
    while len(lines) > HEIGHT and "" in lines:
        lines.remove("")
    return lines


def _accuracy_lines(summary: Mapping[str, Any], a: str, b: str) -> list[str]:
    width = max(9, len(a) + 1, len(b) + 1)
    label = max(18, 38 - 2 * width)  # 20, or less where names are long
    lines = [f"{'':{label}}{a:>{width}}{b:>{width}}   change, with its 95 % interval"]
    for name, key in (("first answer right", "top1"), ("truth among five", "top5")):
        delta = summary[key]["delta"]
        lines.append(
            f"{name:{label}}{_percent(summary['a'][f'{key}_accuracy']):>{width}}"
            f"{_percent(summary['b'][f'{key}_accuracy']):>{width}}   "
            f"{_points(delta['value'])} points  "
            f"[{_points(delta['low'])}, {_points(delta['high'])}]"
        )
    errors = [_percent(summary[side]["expected_calibration_error"]) for side in "ab"]
    lines.append(
        f"{'calibration error':{label}}{errors[0]:>{width}}{errors[1]:>{width}}   "
        f"how far confidence is from being right"
    )
    return lines


def _table_lines(summary: Mapping[str, Any], a: str, b: str) -> list[str]:
    top1 = summary["top1"]
    broken, fixed = top1["negative_flip_rate"], top1["positive_flip_rate"]
    first, width = max(14, len(a) + 6), max(12, len(b) + 7)  # `v16.int8 right`
    said = [f"{_percent(rate['value'])} {_interval(rate)}" for rate in (broken, fixed)]
    return [
        f"{'':{first}}{b + ' right':>{width}}{b + ' wrong':>{width}}",
        f"{a + ' right':{first}}{top1['both_right']:>{width},}"
        f"{top1['broken']:>{width},}   broken: {said[0]}",
        f"{a + ' wrong':{first}}{top1['fixed']:>{width},}"
        f"{top1['both_wrong']:>{width},}   fixed:  {said[1]}",
    ]


def _meaning_lines(summary: Mapping[str, Any], a: str, b: str) -> list[str]:
    top1, images = summary["top1"], summary["images"]
    broken, fixed, p = top1["broken"], top1["fixed"], top1["mcnemar_mid_p"]
    # What the words say is the exact test; mid-p, less conservative, decides.
    exact = top1["mcnemar_exact_p"]
    changed = (
        f"The first answer changes on {_percent(summary['disagreement_rate'])} of the "
        f"images."
    )
    if images == 0:
        return ["No image was answered by both versions."]
    if broken + fixed == 0:
        return wrap(f"{b} breaks no image and fixes none. {changed}")
    better = b if fixed > broken else a
    so = (
        f"so {better} is better on images like these"
        if p < 0.05
        else "so this does not show that either is better"
    )
    return wrap(
        f"{b} breaks {_images(broken)} that {a} had right, and fixes {fixed:,} that it "
        f"had wrong. If neither were better, luck alone would split "
        f"{_images(broken + fixed)} at least this unevenly {chance_in_words(exact)}, "
        f"{so} (McNemar's "
        f"mid-p {p:.2g}). {changed}",
    )


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def _class_line(verdict: Verdict, b: str) -> str:
    worse = verdict.summary["class_regressions"]
    count = f"{worse} of {len(verdict.classes)} classes" if worse else "No class"
    verb = "are" if worse > 1 else "is"
    return f"{count} {verb} shown to be worse in {b} (see per_class.csv)."


def _rank_lines(summary: Mapping[str, Any], a: str, b: str) -> list[str]:
    names = ("1st", "2nd", "3rd", "4th", "5th", "none")
    corner, columns = "the truth is", [f"{b} {name}" for name in names]
    if len(columns[-1]) > 10:  # `v16.int8 none` six times is wider than 80
        corner, columns = f"in {b}", list(names)
    lines = [f"{corner:>14}" + "".join(f"{column:>11}" for column in columns)]
    for name, row in zip(names, summary["rank_transitions"], strict=True):
        lines.append(f"{f'{a} {name}':>14}" + "".join(f"{n:>11,}" for n in row))
    return lines


def _gate_lines(summary: Mapping[str, Any], folder: Path) -> list[str]:
    verdict = f"verdict: {summary['verdict'].upper()}, {folder}/summary.json"
    if not summary["gates"]:
        return [f"{verdict} (without a gate nothing can fail)"]
    # Those that tripped first: the list is cut after two lines.
    gates = sorted(summary["gates"], key=lambda gate: not gate["tripped"])
    said = [
        f"{gate['expression']} {'TRIPPED' if gate['tripped'] else 'ok'}"
        f" ({_number(gate['value'])})"
        for gate in gates
    ]
    return [verdict, *wrap(f"gates: {'; '.join(said)}")[:2]]


def _place(rank: int) -> str:
    return "not among the five" if rank == 0 else PLACES[rank - 1]


def _percent(fraction: float | None) -> str:
    return ABSENT if fraction is None else f"{100 * fraction:.2f} %"


def _points(fraction: float | None) -> str:
    return ABSENT if fraction is None else f"{100 * fraction:+.2f}"


def _interval(estimate: Mapping[str, float | None]) -> str:
    low, high = estimate["low"], estimate["high"]
    if low is None or high is None:
        return ""
    return f"[{100 * low:.2f}, {100 * high:.2f}]"


def _number(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.4g}"
