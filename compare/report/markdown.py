"""summary.md: the report as a comment on a pull request."""

import re
from collections.abc import Container, Sequence
from pathlib import Path

from classifier.console.text import markdown_text, printable
from classifier.storage import write_text
from compare.results.folder import RunFacts
from compare.results.summary import Change, Summary, changes
from compare.results.wording import (
    ARROW,
    PLACES,
    notes_of,
    plain,
    say,
    say_images,
    say_interval,
    say_runs,
    say_value,
    verdict_in_words,
)

MOST_CONFUSIONS = 5
MOST_DIFFERENCES = 30
ICONS = {
    "good": "\N{WHITE HEAVY CHECK MARK}",
    "bad": "\N{CROSS MARK}",
    "open": "\N{MEDIUM WHITE CIRCLE}",
}


def write_markdown(path: Path, *, summary: Summary, facts: RunFacts) -> None:
    write_text(path, markdown(summary, facts))


def markdown(summary: Summary, facts: RunFacts) -> str:
    """A number that does not exist leaves a dash, or its row out."""
    words = verdict_in_words(summary)
    title = ", ".join(filter(None, (summary.subject, summary.heading)))
    parts = [
        f"### {ICONS[words.mood]} {words.badge}: {markdown_text(title)}",
        f"**{markdown_text(words.headline)}.**",
    ]
    notes = "\n".join(f"> * {markdown_text(note)}" for note in notes_of(summary))
    if summary.verdict == "not_comparable":
        parts += [f"* {markdown_text(reason)}" for reason in summary.reasons]
        return "\n\n".join([*parts, notes]) + "\n"
    parts += [" ".join(markdown_text(sentence) for sentence in words.sentences), notes]
    labelled = summary.data.labelled
    parts += [_figures(summary) if labelled else _unlabelled_figures(summary)]
    parts += [_gates(summary)]
    details = [_ranks(summary), *_confusions(summary), _latency(summary, facts)]
    details += _differences(summary, facts)
    if any(details):
        parts += ["<details><summary>More</summary>", *details, "</details>"]
    parts += ["report.html has the rest, and every image that changed."]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figures(summary: Summary) -> str:
    top1 = summary.top1
    rows = [_row(change) for change in changes(summary, without="mean confidence")]
    rows += [
        (name, "", "", say_value(rate, "percent"))
        for name, rate in (
            ("broken: right before, wrong now", top1.negative_flip_rate),
            ("fixed: wrong before, right now", top1.positive_flip_rate),
        )
    ]
    regressions = say(summary.class_regressions, "count")
    rows.append(("classes shown to be worse", "", "", regressions))
    head = (_images(summary), *summary.names, "change (95 % interval)")
    return _table(head, rows, right=(1, 2, 3))


def _images(summary: Summary) -> str:
    data = f" of {summary.data.name}" if summary.data.name else ""
    return f"{say_images(summary.images or 0)}{data}"


def _row(row: Change) -> tuple[str, ...]:
    change = say(row.change.value, row.change_kind)
    if row.kind == "percent" and row.change.value is not None:
        change += " points"
    if interval := say_interval(row.change, row.change_kind):
        change += f" ({interval})"
    return row.name, say(row.before, row.kind), say(row.after, row.kind), change


def _unlabelled_figures(summary: Summary) -> str:
    overlap = summary.overlap
    rows = [
        ("changed first answers", say_value(summary.changed_first_answers, "percent")),
        (
            "change of confidence, points",
            say_value(summary.confidence.delta, "points"),
        ),
        ("shared answers", say(overlap.top5, "percent")),
        ("rank-biased overlap", say(overlap.rank_biased_overlap, "number")),
        ("kappa of first answers", say(summary.agreement_kappa, "number")),
    ]
    return _table((_images(summary), "(95 % interval)"), rows, right=(1,))


def _gates(summary: Summary) -> str:
    rows = [
        (
            f"`{printable(re.sub(r'[`|]', '', gate.expression))}`",
            plain(gate.value, "any"),
            f"{ICONS['bad']} tripped" if gate.tripped else f"{ICONS['good']} ok",
        )
        for gate in summary.gates
    ]
    if not rows:
        return "No gate was set, so nothing passed or failed."
    return _table(("held back if", "it is", ""), rows, right=(1,), is_plain=False)


def _ranks(summary: Summary) -> str:
    if not summary.rank_transitions:
        return ""
    a, b = summary.short_names
    rows = [
        (f"{a} {place}", *(say(count, "count") for count in row))
        for place, row in zip(PLACES, summary.rank_transitions, strict=True)
    ]
    head = ("the truth is", *(f"{b} {place}" for place in PLACES))
    return _table(head, rows, right=range(1, 7))


def _confusions(summary: Summary) -> list[str]:
    tables = []
    confusions = summary.confusions
    for key, entries in (("gained", confusions.gained), ("lost", confusions.lost)):
        rows = [
            (f"{entry.target} {ARROW} {entry.answer}", str(entry.a), str(entry.b))
            for entry in (entries or ())[:MOST_CONFUSIONS]
        ]
        if rows:
            head = (f"confusions {key}", *summary.short_names)
            tables.append(_table(head, rows, right=(1, 2)))
    return tables


def _latency(summary: Summary, facts: RunFacts) -> str:
    latency = facts.latency
    if latency is None:
        return ""
    a, b = (
        f"{markdown_text(name)} {say(single.p50_ms, 'ms')}"
        for name, single in zip(summary.names, (latency.a, latency.b), strict=True)
    )
    interval = say_interval(latency.median_difference_ms, "ms")
    change = f"; difference {interval}" if interval else ""
    return f"Median of single requests: {a}, {b}{change}."


def _differences(summary: Summary, facts: RunFacts) -> list[str]:
    found = facts.differences
    if found is None:
        return []
    title = "What differs between the two versions besides their answers"
    parts = [f"**{title}.** {say_runs(found)}"]
    rows = [
        (f"{each.section}: {each.name}", *map(_fact, (each.a, each.b)))
        for each in found[:MOST_DIFFERENCES]
    ]
    if rows:
        parts.append(_table(("", *summary.short_names), rows, right=()))
    if len(found) > len(rows):
        parts.append(f"report.html has {len(found) - len(rows)} more.")
    return parts


def _fact(fact: str | None) -> str:
    return "not recorded" if fact is None else fact


def _table(
    head: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
    *,
    right: Container[int],
    is_plain: bool = True,
) -> str:
    said = markdown_text if is_plain else str
    rule = ["---:" if column in right else "---" for column in range(len(head))]
    lines = [[markdown_text(cell) for cell in head], rule]
    lines += [[said(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
