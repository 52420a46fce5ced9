"""Numbers and verdicts of a summary in words: the one place that writes them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from classifier.store.provenance import Difference
from compare.results.numbers import PairedNumbers
from compare.results.summary import Change, Summary, changes
from compare.statistics.measure import Estimate, Kind

ABSENT = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
ARROW = "\N{RIGHTWARDS ARROW}"
SHOWN_BELOW_P = 0.05

PLACES = ("1st", "2nd", "3rd", "4th", "5th", "none")
"""Places of the truth among five answers: rows and columns of rank_transitions."""


def plain(value: object, kind: Kind) -> str:
    """A number with its unit, in ASCII, with an en dash for a missing value.

    Fractions of 1 are written in percent; differences of them in percentage points,
    which have a sign and no unit.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ABSENT
    return _WRITTEN[kind](value)


def say(value: object, kind: Kind) -> str:
    """plain() with a true minus sign."""
    return plain(value, kind).replace("-", MINUS)


def _signed(value: float, *, places: int) -> str:
    """Two places more if these would hide on which side of 0 the value is."""
    text, longer = f"{value:+.{places}f}", f"{value:+.{places + 2}f}"
    return longer if float(longer) and not float(text) else text


def _p(value: float) -> str:
    """Two digits, or as many as show on which side of 0.05 it is."""
    if value < 0.0001:
        return "< 0.0001"
    texts = (f"{value:.{digits}g}" for digits in range(2, 18))
    below = value < SHOWN_BELOW_P
    return next(text for text in texts if (float(text) < SHOWN_BELOW_P) == below)


_WRITTEN: Mapping[Kind, Callable[[float], str]] = {
    "percent": lambda value: f"{100 * value:.2f} %",
    "points": lambda value: _signed(100 * value, places=2),
    "number": lambda value: f"{value:.3f}",
    "change": lambda value: _signed(value, places=3),
    "p": _p,
    "count": lambda value: f"{value:,.0f}",
    "ms": lambda value: f"{value:.2f} ms",
    "any": lambda value: f"{value:.4g}",
}


def plain_interval(estimate: Estimate, kind: Kind) -> str:
    """`[-2.09, -0.31]`, without a unit; empty if there is no interval."""
    if estimate.low is None or estimate.high is None:
        return ""
    low, high = plain(estimate.low, kind), plain(estimate.high, kind)
    return f"[{low.removesuffix(' %')}, {high.removesuffix(' %')}]"


def say_interval(estimate: Estimate, kind: Kind) -> str:
    """`9.18 to 10.35 %`; empty if there is no interval."""
    if estimate.low is None or estimate.high is None:
        return ""
    unit = {"percent": " %", "ms": " ms"}.get(kind, "")
    return f"{say(estimate.low, kind).removesuffix(unit)} to {say(estimate.high, kind)}"


def say_value(value: object, kind: Kind) -> str:
    """A number, or an estimate as `9.75 % (9.18 to 10.35 %)`."""
    if not isinstance(value, Estimate):
        return say(value, kind)
    interval = say_interval(value, kind)
    said = say(value.value, kind)
    return f"{said} ({interval})" if interval else said


def say_both(a: object, b: object, kind: Kind) -> str:
    """`31.13 % → 29.93 %`: the baseline's, then the candidate's."""
    return f"{say_value(a, kind)} {ARROW} {say_value(b, kind)}"


def is_older(summary: Summary) -> bool:
    """Whether a version before 2026-11-30 wrote it.

    Such a summary has no log loss, and the interval of its change of calibration error
    did not hold what it promised.
    """
    return summary.log_loss_delta.value is None


def chance_in_words(p: float) -> str:
    """A p-value in words: how often chance alone gives such a split."""
    if p < 0.001:
        return "in less than 1 of 1,000 such comparisons"
    if p < 0.1:
        # 0.0499 is not 50 of 1,000: that would be no evidence.
        most = 49 if p < SHOWN_BELOW_P else 100
        return f"in {min(round(1000 * p), most)} of 1,000 such comparisons"
    return f"in {100 * p:.0f} of 100 such comparisons"


def say_runs(differences: Sequence[Difference]) -> str:
    """Whether two versions are of one run, before the list of what differs."""
    if not differences:
        return "Nothing that was recorded of the two versions differs."
    are_of_two = any(each.name == "run_id" for each in differences)
    return f"The versions are of {'two runs' if are_of_two else 'one run'}."


def say_images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def notes_of(summary: Summary) -> list[str]:
    """Notes that a reader needs before the numbers, without full stops."""
    notes = [*summary.notes]
    chosen = dict.fromkeys(
        name
        for name, version in zip(summary.names, (summary.a, summary.b), strict=True)
        if version.chosen_on_these_images is True
    )
    if chosen and summary.verdict != "not_comparable":
        were, they = ("were", "they look") if len(chosen) > 1 else ("was", "it looks")
        notes.append(
            f"{' and '.join(chosen)} {were} chosen as best on these images, so {they} "
            "too good"
        )
    if summary.missing:
        are = "is" if summary.missing == 1 else "are"
        # The terminal shows few lines of notes. Images left out are the first of them.
        notes.insert(
            1 if summary.left_out else 0,
            f"{say_images(summary.missing)} {are} left out, as a version did not "
            "answer; run.json says why",
        )
    return notes


@dataclass(frozen=True)
class Words:
    """A verdict for readers who do not know p-values."""

    badge: str
    """Two or three words: what the gates say."""

    mood: Literal["good", "bad", "open"]
    headline: str
    """One sentence without a full stop: what the numbers say."""

    sentences: tuple[str, ...]


def verdict_in_words(summary: Summary, *, with_accuracies: bool = True) -> Words:
    a, b = summary.names
    if summary.verdict == "not_comparable":
        headline = f"{b} cannot be compared with {a}"
        return Words("NOT COMPARABLE", "open", headline, summary.reasons)
    badge, mood = _badge(summary)
    if not summary.images:
        return Words(badge, mood, "No image was answered by both versions", ())
    if not summary.data.labelled:
        return Words(badge, mood, *_unlabelled(summary))
    headline, sentences = _labelled(summary)
    if with_accuracies:
        sentences = (_accuracies(summary), *sentences)
    return Words(badge, mood, headline, sentences)


def _badge(summary: Summary) -> tuple[str, Literal["good", "bad", "open"]]:
    if summary.verdict == "fail":
        return "FAIL", "bad"
    # Older summaries have `pass` without gates too.
    return ("PASS", "good") if summary.gates else ("NO GATE", "open")


def _unlabelled(summary: Summary) -> tuple[str, tuple[str, ...]]:
    a, b = summary.spoken_names
    rate = say(summary.disagreement_rate, "percent")
    return f"{b}'s first answer differs from {a}'s on {rate} of the images", (
        "The images have no labels, so it is unknown which version is right. The "
        "numbers show how much changes, not whether it gets better.",
    )


def _labelled(summary: Summary) -> tuple[str, tuple[str, ...]]:
    (a, b), top1 = summary.spoken_names, summary.top1
    broken, fixed = top1.broken or 0, top1.fixed or 0
    changed = say(summary.disagreement_rate, "percent")
    churn = f"The first answer changes on {changed} of the images."
    headline = _first_answers(top1, a, b)
    if moved := moved_most(summary):
        headline += f"; {moved}"
    if broken + fixed == 0:
        return headline, (churn,)
    p = top1.mcnemar_mid_p
    return headline, (
        f"{b} breaks {say_images(broken)} that {a} had right, and fixes {fixed:,} that "
        "it had wrong.",
        f"If neither were better, chance would split {say_images(broken + fixed)} "
        f"at least this unevenly {chance_in_words(1.0 if p is None else p)} "
        f"(McNemar's mid-p {say(p, 'p')}; the observed split counts half){_but(top1)}.",
        churn,
    )


def _first_answers(top1: PairedNumbers, a: str, b: str) -> str:
    """The test and the interval of first answers, in one sentence."""
    broken, fixed = top1.broken or 0, top1.fixed or 0
    if broken + fixed == 0:
        return f"{b} breaks no image and fixes none"
    change = "better" if fixed > broken else "worse"
    if _is_shown(top1):
        return f"{b} is {change} than {a} on images like these"
    if _but(top1):
        return f"It is too close to call whether {b} is {change} than {a}"
    return f"Neither {a} nor {b} is shown to be better"


def _is_shown(paired: PairedNumbers) -> bool:
    """Whether McNemar's mid-p and Newcombe's interval both show a difference.

    The interval alone would call 2 fixed of 2 images better, mid-p alone 5 of 1,000
    beside an interval that holds 0.
    """
    return _test_shows(paired) and _is_off_zero(paired.delta)


def _test_shows(paired: PairedNumbers) -> bool:
    p = paired.mcnemar_mid_p
    return p is not None and p < SHOWN_BELOW_P


def _is_off_zero(estimate: Estimate) -> bool:
    low, high = estimate.low, estimate.high
    return low is not None and high is not None and (low > 0 or high < 0)


def _but(paired: PairedNumbers) -> str:
    """How test and interval disagree; empty if they agree."""
    by_test, by_interval = _test_shows(paired), _is_off_zero(paired.delta)
    if by_test and not by_interval:
        return ", which is rare, but the interval of the change holds 0"
    if by_interval and not by_test:
        return ", which is not rare, though the interval of the change leaves 0 out"
    return ""


def moved_most(summary: Summary) -> str:
    """The largest change that is shown, unless it is that of the first answers.

    Empty if nothing else is. Points are compared with points; log loss and Brier score,
    which have other units, are named if no share moves.
    """
    if is_older(summary):
        return ""
    top1, top5 = summary.top1, summary.top5
    rows = {row.name: row for row in changes(summary, without="mean confidence")}
    error, loss, score = (
        (row.change, _move(row))
        for row in map(
            rows.__getitem__, ("calibration error", "log loss", "Brier score")
        )
    )
    shares = [
        (top1.delta if _is_shown(top1) else None, ""),
        (top5.delta if _is_shown(top5) else None, _five_move(summary)),
        error,
    ]
    for group in (shares, [loss, score]):
        moved = [
            (abs(change.value or 0), words)
            for change, words in group
            if change is not None and _is_off_zero(change)
        ]
        if moved:
            return max(moved, key=lambda entry: entry[0])[1]
    return ""


def _five_move(summary: Summary) -> str:
    b, change = summary.b_name, summary.top5.delta.value or 0
    often = f"{'more' if change > 0 else 'less'} often"
    points = say(abs(change), "points").removeprefix("+")
    return f"the truth is among {b}'s five answers {points} points {often}"


def _move(row: Change) -> str:
    before, after, kind = row.before, row.after, row.kind
    if before is None or after is None:
        return ""
    name = "the Brier score" if row.name == "Brier score" else row.name
    moves = f"{name} {'rises' if after > before else 'falls'}"
    if say(before, kind) != say(after, kind):
        return f"{moves} from {say(before, kind)} to {say(after, kind)}"
    # Shown, and too small for the places that it is written with.
    by = say(abs(after - before), row.change_kind).removeprefix("+")
    return f"{moves} by {by}{' points' if kind == 'percent' else ''}"


def _accuracies(summary: Summary) -> str:
    a = say(summary.a.top1_accuracy, "percent")
    b = say(summary.b.top1_accuracy, "percent")
    delta = summary.top1.delta
    low, high = say(delta.low, "points"), say(delta.high, "points")
    change = f"go from {a} to {b}: {say(delta.value, 'points')} points"
    if delta.value == 0:
        change = f"stay at {a}: 0 points"
    return (
        f"Right first answers {change}, and with 95 % confidence between {low} and "
        f"{high}."
    )
