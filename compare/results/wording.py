"""Numbers and verdicts of a summary as people read them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

ABSENT = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
SHOWN_BELOW_P = 0.05

PLACES = ("1st", "2nd", "3rd", "4th", "5th", "none")
"""Of the truth among five answers, as rows and columns of rank_transitions have it."""

Kind = Literal["percent", "points", "number", "change", "p", "count", "ms"]


def look_up(document: object, path: str) -> Any:
    """What stands at `top1.delta.value`; None where any part of the way is missing."""
    value: Any = document
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def five_can_miss(summary: Mapping[str, Any]) -> bool:
    """False where both lists of five hold every truth and the same classes.

    So of five classes or fewer, always: "truth among five" says nothing then.
    """
    paths = ("a.top5_accuracy", "b.top5_accuracy", "overlap.top5")
    return any(look_up(summary, path) != 1 for path in paths)


def is_older(summary: Mapping[str, Any]) -> bool:
    """Whether it was written before 2026-11-30: it has no log loss, and its interval of
    the change of calibration error did not hold what it said."""
    return "log_loss_delta" not in summary


def say(value: object, kind: Kind) -> str:
    """A number with its unit; an en dash where there is none.

    Fractions of 1 are said in percent or, differences, in percentage points.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ABSENT
    return {
        "percent": f"{100 * value:.2f} %",
        "points": signed_points(value),
        "number": f"{value:.3f}",
        "change": signed_change(value),
        "p": "< 0.0001" if value < 0.0001 else _p(value),
        "count": f"{value:,.0f}",
        "ms": f"{value:.2f} ms",
    }[kind].replace("-", MINUS)


def signed_points(fraction: float) -> str:
    """Percentage points, with two places."""
    return _signed(100 * fraction, places=2)


def signed_change(value: float) -> str:
    """A difference of log losses or Brier scores, with three places."""
    return _signed(value, places=3)


def _signed(value: float, *, places: int) -> str:
    """Two places more where these would hide on which side of 0 the value is."""
    text, longer = f"{value:+.{places}f}", f"{value:+.{places + 2}f}"
    return longer if float(longer) and not float(text) else text


def _p(value: float) -> str:
    """Two digits, or as many as show on which side of 0.05 it is."""
    texts = (f"{value:.{digits}g}" for digits in range(2, 18))
    below = value < SHOWN_BELOW_P
    return next(text for text in texts if (float(text) < SHOWN_BELOW_P) == below)


def say_interval(estimate: object, kind: Kind) -> str:
    """`9.18 to 10.35 %`; empty where there is no interval."""
    low, high = look_up(estimate, "low"), look_up(estimate, "high")
    if low is None or high is None:
        return ""
    unit = {"percent": " %", "ms": " ms"}.get(kind, "")
    return f"{say(low, kind).removesuffix(unit)} to {say(high, kind)}"


def say_estimate(estimate: object, kind: Kind) -> str:
    """`9.75 % (9.18 to 10.35 %)`, or the value alone."""
    value = look_up(estimate, "value")
    interval = say_interval(estimate, kind)
    return f"{say(value, kind)} ({interval})" if interval else say(value, kind)


def say_value(value: object, kind: Kind) -> str:
    """A number, or an estimate with its interval."""
    return say_estimate(value, kind) if isinstance(value, Mapping) else say(value, kind)


def chance_in_words(p: float) -> str:
    """How often luck alone would do this, for those who have never met a p-value."""
    if p < 0.001:
        return "in less than 1 of 1,000 such comparisons"
    if p < 0.1:
        # 0.0499 is not 50 of 1,000: that would be no evidence.
        most = 49 if p < SHOWN_BELOW_P else 100
        return f"in {min(round(1000 * p), most)} of 1,000 such comparisons"
    return f"in {100 * p:.0f} of 100 such comparisons"


def say_images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def version_name(summary: Mapping[str, Any], side: str) -> str:
    return f"v{look_up(summary, f'{side}.version')}"


def is_labelled(summary: Mapping[str, Any]) -> bool:
    return look_up(summary, "data.labelled") is not False


def notes_of(summary: Mapping[str, Any]) -> list[str]:
    """What to know before the numbers are believed; sentences without a full stop."""
    notes = [*(summary.get("notes") or [])]
    chosen = dict.fromkeys(
        version_name(summary, side)
        for side in ("a", "b")
        if look_up(summary, f"{side}.chosen_on_these_images") is True
    )
    if chosen and summary["verdict"] != "not_comparable":
        were = "were" if len(chosen) > 1 else "was"
        notes.append(
            f"{' and '.join(chosen)} {were} chosen as best on these very images, "
            "which flatters"
        )
    if missing := summary.get("missing"):
        are = "is" if missing == 1 else "are"
        # First: the terminal shows few lines of notes.
        notes.insert(
            0,
            f"{say_images(missing)} {are} left out, as a version did not answer; "
            "run.json says why",
        )
    return notes


@dataclass(frozen=True)
class Words:
    """A verdict, said to somebody who has never met a p-value."""

    badge: str
    """Two or three words: what the gates say."""

    mood: Literal["good", "bad", "open"]
    headline: str
    """One sentence without a full stop: what the numbers say."""

    sentences: tuple[str, ...]


def verdict_in_words(
    summary: Mapping[str, Any], *, with_accuracies: bool = True
) -> Words:
    a, b = version_name(summary, "a"), version_name(summary, "b")
    if summary["verdict"] == "not_comparable":
        headline = f"{b} cannot be compared with {a}"
        return Words("NOT COMPARABLE", "open", headline, tuple(summary["reasons"]))
    badge, mood = _badge(summary)
    if not summary.get("images"):
        return Words(badge, mood, "No image was answered by both versions", ())
    if not is_labelled(summary):
        return Words(badge, mood, *_unlabelled(summary, a, b))
    headline, sentences = _labelled(summary, a, b)
    if with_accuracies:
        sentences = (_accuracies(summary), *sentences)
    return Words(badge, mood, headline, sentences)


def _badge(summary: Mapping[str, Any]) -> tuple[str, Literal["good", "bad", "open"]]:
    if summary["verdict"] == "fail":
        return "FAIL", "bad"
    # Older summaries have `pass` here too; nothing was asked, so nothing passed.
    return ("PASS", "good") if summary["gates"] else ("NO GATE", "open")


def _unlabelled(
    summary: Mapping[str, Any], a: str, b: str
) -> tuple[str, tuple[str, ...]]:
    rate = say(summary.get("disagreement_rate"), "percent")
    return f"{b} answers otherwise than {a} on {rate} of the images", (
        "The images have no labels, so nobody can tell here which of the two is right: "
        "what follows is how much changes, not whether it changes for the better.",
    )


def _labelled(
    summary: Mapping[str, Any], a: str, b: str
) -> tuple[str, tuple[str, ...]]:
    top1 = summary["top1"]
    broken, fixed, p = top1["broken"], top1["fixed"], top1["mcnemar_mid_p"]
    changed = say(summary.get("disagreement_rate"), "percent")
    churn = f"The first answer changes on {changed} of the images."
    headline = _first_answers(top1, a, b)
    if moved := moved_most(summary, b):
        headline += f"; {moved}"
    if broken + fixed == 0:
        return headline, (churn,)
    return headline, (
        f"{b} breaks {say_images(broken)} that {a} had right, and fixes {fixed:,} that "
        "it had wrong.",
        f"If neither were better, luck alone would split {say_images(broken + fixed)} "
        f"at least this unevenly {chance_in_words(p)} (McNemar's mid-p {say(p, 'p')}; "
        f"this very split counts half){_but(top1)}.",
        churn,
    )


def _first_answers(top1: Mapping[str, Any], a: str, b: str) -> str:
    """The test and the interval of first answers, said together."""
    broken, fixed = top1["broken"], top1["fixed"]
    if broken + fixed == 0:
        return f"{b} breaks no image and fixes none"
    change = "better" if fixed > broken else "worse"
    if _is_shown(top1):
        return f"{b} is {change} than {a} on images like these"
    if _but(top1):
        return f"It is too close to call whether {b} is {change} than {a}"
    return f"Neither {a} nor {b} is shown to be better"


def _is_shown(paired: object) -> bool:
    """Whether a difference is: McNemar's mid-p and Newcombe's interval must agree.

    The interval alone would call 2 fixed of 2 images better, mid-p alone 5 of 1,000
    beside an interval that holds 0.
    """
    return _test_shows(paired) and _is_off_zero(look_up(paired, "delta"))


def _test_shows(paired: object) -> bool:
    p = look_up(paired, "mcnemar_mid_p")
    return p is not None and p < SHOWN_BELOW_P


def _is_off_zero(estimate: object) -> bool:
    low, high = look_up(estimate, "low"), look_up(estimate, "high")
    return low is not None and high is not None and (low > 0 or high < 0)


def _but(paired: Mapping[str, Any]) -> str:
    """How test and interval disagree; empty where they do not."""
    by_test, by_interval = _test_shows(paired), _is_off_zero(paired["delta"])
    if by_test and not by_interval:
        return ", which is rare, but the interval of the change holds 0"
    if by_interval and not by_test:
        return ", which is not rare, though the interval of the change leaves 0 out"
    return ""


def moved_most(summary: Mapping[str, Any], b: str) -> str:
    """The largest change that is shown, unless it is that of the first answers.

    Empty where nothing else is. Points are compared with points; log loss and Brier
    score, which have other units, are named where no share moves.
    """
    if is_older(summary):
        return ""
    top1, top5 = summary.get("top1"), summary.get("top5")
    shares = {
        "top1": look_up(top1, "delta") if _is_shown(top1) else None,
        "top5": look_up(top5, "delta") if _is_shown(top5) else None,
        "expected_calibration_error": summary.get("calibration_error_delta"),
    }
    scores = {
        "log_loss": summary.get("log_loss_delta"),
        "brier_score": summary.get("brier_score_delta"),
    }
    for changes in (shares, scores):
        moved = {
            name: abs(look_up(change, "value"))
            for name, change in changes.items()
            if _is_off_zero(change)
        }
        if moved:
            return _said_to_move(max(moved, key=lambda name: moved[name]), summary, b)
    return ""


def _said_to_move(name: str, summary: Mapping[str, Any], b: str) -> str:
    if name == "top1":
        return ""
    if name == "top5":
        change = look_up(summary, "top5.delta.value")
        more = "more" if change > 0 else "less"
        points = say(abs(change), "points").removeprefix("+")
        return f"the truth is among {b}'s five answers {points} points {more} often"
    words, kind = _NAMES[name]
    before, after = (look_up(summary, f"{side}.{name}") for side in "ab")
    moves = f"{words} {'rises' if after > before else 'falls'}"
    if say(before, kind) != say(after, kind):
        return f"{moves} from {say(before, kind)} to {say(after, kind)}"
    # Shown, and too small for the places that it is said with.
    size = abs(after - before)
    by = f"{signed_points(size)} points" if kind == "percent" else signed_change(size)
    return f"{moves} by {by.removeprefix('+')}"


_NAMES: Mapping[str, tuple[str, Kind]] = {
    "expected_calibration_error": ("calibration error", "percent"),
    "log_loss": ("log loss", "number"),
    "brier_score": ("the Brier score", "number"),
}


def _accuracies(summary: Mapping[str, Any]) -> str:
    a, b = (say(summary[side]["top1_accuracy"], "percent") for side in "ab")
    delta = summary["top1"]["delta"]
    low, high = say(delta["low"], "points"), say(delta["high"], "points")
    change = f"go from {a} to {b}: {say(delta['value'], 'points')} points"
    if delta["value"] == 0:
        change = f"stay at {a}: 0 points"
    return (
        f"Right first answers {change}, and with 95 % confidence between {low} and "
        f"{high}."
    )
