"""Both versions' answers and the truth, joined image by image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from classifier.bundle.labels import Labels, unicode_hint
from classifier.bundle.predictions_file import Predictions
from compare.collect.answer_store import PairOfAnswers
from compare.collect.schema import (
    Answer,
    NoAnswer,
    ServedVersion,
    TopAnswer,
    shown_names,
)
from compare.statistics.calibration import Scores, scores
from compare.statistics.top_five import TOP, BoolArray, IntArray, TopFive

NOT_ANSWERED = "not answered"
"""Reason of a missing answer if no other is known."""

UNKNOWN = -1
"""The target of an image without a label."""


class NotComparable(RuntimeError):
    """The answers cannot be compared; the message says why."""

    def __init__(
        self, reason: str, *, missing: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(reason)
        self.missing = missing or {}
        """Images without an answer, if they are the reason."""


@dataclass(frozen=True)
class Comparison:
    """N images that both versions answered, in the data's order."""

    labels: Labels
    """Classes of the baseline; all indices of a comparison are its."""

    names: tuple[str, ...]
    targets: IntArray
    """[N] class indices; all UNKNOWN if the data has no labels."""

    a: TopFive
    b: TopFive
    missing: Mapping[str, str]
    """Images that a version did not answer, and why."""

    a_scores: Scores
    b_scores: Scores
    """Of every probability that is known; a file may have more than five answers."""

    labelled: bool = True
    """False if the data has no labels; all ranks are 0 then and mean nothing."""

    @property
    def a_ranks(self) -> IntArray:
        return self.a.ranks(self.targets)

    @property
    def b_ranks(self) -> IntArray:
        return self.b.ranks(self.targets)

    @property
    def disagrees(self) -> BoolArray:
        """Whether the first answers differ."""
        first_differ: BoolArray = self.a.indices[:, 0] != self.b.indices[:, 0]
        return first_differ

    def categories(self) -> list[str]:
        """For each image both_right, broken, fixed, both_wrong_same or …_different.

        Without labels `same` or `different`, by the first answers.
        """
        if not self.labelled:
            return ["different" if differs else "same" for differs in self.disagrees]
        a_right, b_right = self.a_ranks == 1, self.b_ranks == 1
        wrong = np.where(self.disagrees, "both_wrong_different", "both_wrong_same")
        named = np.select(
            [a_right & b_right, a_right & ~b_right, ~a_right & b_right],
            ["both_right", "broken", "fixed"],
            wrong,
        )
        categories: list[str] = named.tolist()
        return categories


def check_classes(class_ids: Sequence[str], a: ServedVersion, b: ServedVersion) -> None:
    """Raises NotComparable unless the versions and the data have the same classes."""
    if set(a.labels.ids) != set(b.labels.ids):
        a_name, b_name = shown_names(a.key, b.key)
        only_a = sorted(set(a.labels.ids) - set(b.labels.ids))
        only_b = sorted(set(b.labels.ids) - set(a.labels.ids))
        raise NotComparable(
            f"{a_name} and {b_name} have other classes: {_some(only_a)} in "
            f"{a_name} alone, {_some(only_b)} in {b_name} alone"
        )
    unknown = sorted(set(class_ids) - set(a.labels.ids))
    if unknown:
        hint = unicode_hint(unknown, a.labels.ids)
        raise NotComparable(
            f"the versions do not know {len(unknown)} of the data's classes: "
            f"{_some(unknown)}; {hint or 'name their training data with --data'}"
        )


def align(
    names: Sequence[str],
    class_ids: Sequence[str] | None,
    answers: Mapping[str, PairOfAnswers],
    *,
    a: ServedVersion,
    b: ServedVersion,
    a_file: Predictions | None = None,
    b_file: Predictions | None = None,
) -> Comparison:
    """Join truth and answers by image name and class id, never by order.

    `class_ids` is None for data without labels. A file has more than the five answers,
    and the classes of its version.
    """
    missing = {name: why for name in names if (why := _failure(name, answers, a, b))}
    kept = [position for position, name in enumerate(names) if name not in missing]
    pairs = [answers[names[position]] for position in kept]
    index_of = a.labels.index_of
    b_to_a = [index_of[class_id] for class_id in b.labels.ids]
    targets = np.full(len(kept), UNKNOWN, np.int64)
    if class_ids is not None:
        targets[:] = [index_of[class_ids[position]] for position in kept]
    kept_names = tuple(names[position] for position in kept)
    a_to_a = list(range(len(a.labels)))
    of_a = top_five_of([answer for answer, _ in pairs], a_to_a)
    of_b = top_five_of([answer for _, answer in pairs], b_to_a)
    a_known = _known(a_file, kept_names, a_to_a) or of_a
    b_known = _known(b_file, kept_names, b_to_a) or of_b
    return Comparison(
        labels=a.labels,
        names=kept_names,
        targets=targets,
        a=of_a,
        b=of_b,
        missing=missing,
        a_scores=scores(a_known, targets, classes=len(a.labels)),
        b_scores=scores(b_known, targets, classes=len(b.labels)),
        labelled=class_ids is not None,
    )


def _known(
    file: Predictions | None, names: Sequence[str], new_index: Sequence[int]
) -> TopFive | None:
    """All answers of a file to these images, [N, k]."""
    if file is None:
        return None
    place_of = {name: place for place, name in enumerate(file.names)}
    rows = [place_of[name] for name in names]
    translated = np.array([*new_index, -1])[file.indices[rows]]
    return TopFive(translated, file.probabilities[rows].astype(np.float64))


def check_coverage(comparison: Comparison, *, allow_missing: int) -> None:
    """Raises NotComparable if more images than allowed lack an answer of a version."""
    missing = comparison.missing
    if len(missing) <= allow_missing:
        return
    name, why = next(iter(missing.items()))
    raise NotComparable(
        f"{len(missing)} of {len(missing) + len(comparison.names)} images have no "
        f"answer ({allow_missing} are allowed), such as {name}: {why}; repair them, "
        "or allow them with --allow-missing",
        missing=missing,
    )


def _failure(
    name: str, answers: Mapping[str, PairOfAnswers], a: ServedVersion, b: ServedVersion
) -> str:
    """Why an image has no pair of answers; empty if it has one."""
    pair = answers.get(name)
    if pair is None:
        return NOT_ANSWERED
    for version, answer in zip(shown_names(a.key, b.key), pair, strict=True):
        if isinstance(answer, NoAnswer):
            return f"{version}: {answer.code}, {answer.message}"
    return ""


def top_five_of(answers: Sequence[Answer], new_index: Sequence[int]) -> TopFive:
    """The answers as arrays, by `new_index` of their own indices."""
    indices = np.full((len(answers), TOP), -1, np.int64)
    probabilities = np.full((len(answers), TOP), np.nan)
    for row, answer in enumerate(answers):
        assert isinstance(answer, TopAnswer)
        indices[row, : len(answer.indices)] = [new_index[i] for i in answer.indices]
        probabilities[row, : len(answer.indices)] = answer.probabilities
    return TopFive(indices, probabilities)


def _some(ids: Sequence[str]) -> str:
    if not ids:
        return "none"
    return ", ".join(ids[:5]) + (", …" if len(ids) > 5 else "")
