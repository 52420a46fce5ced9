"""summary.md: what a comparison found, as a comment on a pull request says it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from classifier.console import markdown_text, printable
from classifier.storage import write_text
from compare.results.wording import (
    ABSENT,
    PLACES,
    Kind,
    five_can_miss,
    is_labelled,
    look_up,
    notes_of,
    say,
    say_estimate,
    say_interval,
    say_value,
    verdict_in_words,
    version_name,
)

MOST_CONFUSIONS = 5
ICONS = {
    "good": "\N{WHITE HEAVY CHECK MARK}",
    "bad": "\N{CROSS MARK}",
    "open": "\N{MEDIUM WHITE CIRCLE}",
}


def write_markdown(
    path: Path, *, summary: Mapping[str, Any], facts: Mapping[str, Any]
) -> None:
    """`facts` are run.json's."""
    write_text(path, markdown(summary, facts))


def markdown(summary: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """A key that is missing or null leaves a dash, or its row out."""
    words = verdict_in_words(summary)
    parts = [
        f"### {ICONS[words.mood]} {words.badge}: {markdown_text(_title(summary))}",
        f"**{markdown_text(words.headline)}.**",
    ]
    if summary["verdict"] == "not_comparable":
        parts += [f"* {markdown_text(reason)}" for reason in summary["reasons"]]
        return "\n\n".join([*parts, *_notes(summary)]) + "\n"
    parts += [" ".join(markdown_text(sentence) for sentence in words.sentences)]
    parts += _notes(summary)
    labelled = is_labelled(summary)
    parts += [_figures(summary) if labelled else _unlabelled_figures(summary)]
    parts += _gates(summary)
    details = [*(_ranks(summary) if labelled else []), *_confusions(summary)]
    details += _latency(summary, facts)
    if details:
        parts += ["<details><summary>More</summary>", *details, "</details>"]
    parts += ["report.html has the rest, and every image that changed."]
    return "\n\n".join(part for part in parts if part) + "\n"


def _title(summary: Mapping[str, Any]) -> str:
    b, a = version_name(summary, "b"), version_name(summary, "a")
    return f"{summary['model']}, {b} in place of {a}"


def _notes(summary: Mapping[str, Any]) -> list[str]:
    return ["\n".join(f"> * {markdown_text(note)}" for note in notes_of(summary))]


def _figures(summary: Mapping[str, Any]) -> str:
    rows = [
        _change(summary, "first answer right", "top1_accuracy", "top1.delta"),
        *(
            [_change(summary, "truth among five", "top5_accuracy", "top5.delta")]
            if five_can_miss(summary)
            else []
        ),
        _change(
            summary,
            "calibration error",
            "expected_calibration_error",
            "calibration_error_delta",
        ),
    ]
    rows += [
        _change(summary, name, key, f"{key}_delta", kinds=("number", "change"))
        for name, key in (("log loss", "log_loss"), ("Brier score", "brier_score"))
    ]
    rows += [
        (name, "", "", say_estimate(look_up(summary, path), "percent"))
        for name, path in (
            ("broken: right before, wrong now", "top1.negative_flip_rate"),
            ("fixed: wrong before, right now", "top1.positive_flip_rate"),
        )
    ]
    regressions = say(summary.get("class_regressions"), "count")
    rows.append(("classes shown to be worse", "", "", regressions))
    a, b = version_name(summary, "a"), version_name(summary, "b")
    head = (say_images(summary), a, b, "change (95 % interval)")
    return _table(head, rows, right=(1, 2, 3))


def say_images(summary: Mapping[str, Any]) -> str:
    data = look_up(summary, "data.name")
    return (
        f"{say(summary.get('images'), 'count')} images{f' of {data}' if data else ''}"
    )


def _change(
    summary: Mapping[str, Any],
    name: str,
    key: str,
    delta: str,
    *,
    kinds: tuple[Kind, Kind] = ("percent", "points"),
) -> tuple[str, ...]:
    """`kinds` are those of the two values and of their difference."""
    a, b = (say(look_up(summary, f"{side}.{key}"), kinds[0]) for side in "ab")
    change = look_up(summary, delta)
    value, interval = (
        say(look_up(change, "value"), kinds[1]),
        say_interval(change, kinds[1]),
    )
    unit = " points" if kinds[1] == "points" and value != ABSENT else ""
    return name, a, b, f"{value}{unit}" + (f" ({interval})" if interval else "")


def _unlabelled_figures(summary: Mapping[str, Any]) -> str:
    changed = {
        "value": summary.get("disagreement_rate"),
        **(summary.get("disagreement") or {}),
    }
    rows = [("changed first answers", say_estimate(changed, "percent"))]
    named: tuple[tuple[str, str, Kind], ...] = (
        ("change of confidence, points", "confidence.delta", "points"),
        ("shared answers", "overlap.top5", "percent"),
        ("rank-biased overlap", "overlap.rank_biased_overlap", "number"),
        ("kappa of first answers", "agreement_kappa", "number"),
    )
    for name, path, kind in named:
        rows.append((name, say_value(look_up(summary, path), kind)))
    return _table((say_images(summary), "(95 % interval)"), rows, right=(1,))


def _gates(summary: Mapping[str, Any]) -> list[str]:
    rows = [
        (
            f"`{printable(re.sub(r'[`|]', '', gate['expression']))}`",
            ABSENT if gate["value"] is None else f"{gate['value']:.4g}",
            f"{ICONS['bad']} tripped" if gate["tripped"] else f"{ICONS['good']} ok",
        )
        for gate in summary.get("gates") or []
    ]
    if not rows:
        return ["No gate was set, so nothing passed or failed."]
    return [_table(("held back if", "it is", ""), rows, right=(1,), is_plain=False)]


def _ranks(summary: Mapping[str, Any]) -> list[str]:
    table = summary.get("rank_transitions")
    if not table:
        return []
    a, b = version_name(summary, "a"), version_name(summary, "b")
    rows = [
        (f"{a} {place}", *(say(count, "count") for count in row))
        for place, row in zip(PLACES, table, strict=True)
    ]
    head = ("the truth is", *(f"{b} {place}" for place in PLACES))
    return [_table(head, rows, right=range(1, 7))]


def _confusions(summary: Mapping[str, Any]) -> list[str]:
    a, b = version_name(summary, "a"), version_name(summary, "b")
    tables = []
    for key in ("gained", "lost"):
        entries = look_up(summary, f"confusions.{key}") or []
        rows = [
            (
                f"{entry['target']} \N{RIGHTWARDS ARROW} {entry['answer']}",
                str(entry["a"]),
                str(entry["b"]),
            )
            for entry in entries[:MOST_CONFUSIONS]
        ]
        if rows:
            tables.append(_table((f"confusions {key}", a, b), rows, right=(1, 2)))
    return tables


def _latency(summary: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    latency = facts.get("latency")
    if not latency:
        return []
    medians = [say(look_up(latency, f"{side}.p50_ms"), "ms") for side in "ab"]
    interval = say_interval(latency.get("median_difference_ms"), "ms")
    change = f"; difference {interval}" if interval else ""
    names = [version_name(summary, side) for side in "ab"]
    return [
        f"Median of single requests: {markdown_text(names[0])} {medians[0]}, "
        f"{markdown_text(names[1])} {medians[1]}{change}."
    ]


def _table(
    head: tuple[str, ...],
    rows: list[Any],
    *,
    right: Any,
    is_plain: bool = True,
) -> str:
    said = markdown_text if is_plain else str
    rule = ["---:" if column in right else "---" for column in range(len(head))]
    lines = [[markdown_text(cell) for cell in head], rule]
    lines += [[said(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
