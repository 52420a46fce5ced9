"""Both versions' answers and the truth, joined image by image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from classifier.bundle.labels import ClassMap, Labels, match_classes, unicode_hint
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
    """Classes of the baseline, and then those that the candidate alone has."""

    names: tuple[str, ...]
    targets: IntArray
    """[N] class indices; all UNKNOWN if the data has no labels."""

    a: TopFive
    b: TopFive
    missing: Mapping[str, str]
    """Images that a version did not answer, and why."""

    a_scores: Scores
    b_scores: Scores
    """Scores over all known probabilities; a file may have more than five answers."""

    left_out: int = 0
    """Number of images of classes that one version lacks."""

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


@dataclass(frozen=True)
class Vocabulary:
    """The classes of both versions: the baseline's, then the candidate's other ones."""

    labels: Labels
    b_index: tuple[int, ...]
    """Indices in `labels` of the candidate's own classes."""

    index_of: Mapping[str, int]
    """Index of each version's class ids; the baseline's come first."""

    common: frozenset[int]
    """Indices of the classes that both have."""

    @property
    def is_shared(self) -> bool:
        """Whether both versions have the same classes."""
        return len(self.common) == len(self.labels)

    def compares(self, class_id: str) -> bool:
        """Whether images of this class are compared.

        All are if both versions have the same classes; check_classes() refuses others.
        """
        return self.is_shared or self.index_of.get(class_id) in self.common


def join_classes(
    a: ServedVersion, b: ServedVersion, class_map: ClassMap = ()
) -> Vocabulary:
    """`class_map` has pairs of a's and b's ids for the same class."""
    chosen = {of_b: of_a for of_a, of_b in class_map}
    matched = match_classes(a.labels, b.labels, chosen)
    ids, names = list(a.labels.ids), list(a.labels.names)
    index_of = dict(a.labels.index_of)
    b_index = []
    for id_, name in zip(b.labels.ids, b.labels.names, strict=True):
        if id_ in matched:
            b_index.append(a.labels.index_of[matched[id_]])
        else:
            b_index.append(len(ids))
            ids.append(id_)
            names.append(name)
        index_of.setdefault(id_, b_index[-1])
    common = frozenset(a.labels.index_of[id_] for id_ in matched.values())
    labels = Labels(tuple(ids), tuple(names))
    return Vocabulary(labels, tuple(b_index), index_of, common)


def check_classes(
    class_ids: Sequence[str],
    a: ServedVersion,
    b: ServedVersion,
    class_map: ClassMap = (),
) -> None:
    """Raises NotComparable unless the versions and the data have classes in common."""
    both = join_classes(a, b, class_map)
    a_name, b_name = shown_names(a.key, b.key)
    if not both.common:
        raise NotComparable(
            f"{a_name} and {b_name} have no class in common: {_some(a.labels.ids)} in "
            f"{a_name}, {_some(b.labels.ids)} in {b_name}; classes are matched by id, "
            "then by name; name the others in a file with --class-map"
        )
    unknown = sorted(set(class_ids) - set(both.index_of))
    if unknown:
        hint = unicode_hint(unknown, a.labels.ids)
        raise NotComparable(
            f"the versions do not know {len(unknown)} of the data's classes: "
            f"{_some(unknown)}; {hint or 'name their training data with --data'}"
        )


def describe_left_out(
    left_out: Mapping[str, int],
    a: ServedVersion,
    b: ServedVersion,
    class_map: ClassMap = (),
) -> str:
    """Which images are not compared, and why; empty if all are.

    `left_out` is the number of images of each class that one version lacks.
    """
    both = join_classes(a, b, class_map)
    of_a, of_b = range(len(a.labels)), set(both.b_index)
    a_name, b_name = shown_names(a.key, b.key)
    lacking: dict[str, list[str]] = {}
    for class_id in left_out:
        index = both.index_of.get(class_id, UNKNOWN)
        by = b_name if index in of_a else a_name if index in of_b else "neither"
        lacking.setdefault(by, []).append(class_id)
    said = []
    for by, ids in lacking.items():
        images = sum(left_out[class_id] for class_id in ids)
        names = [
            both.labels.names[both.index_of[id_]] if id_ in both.index_of else id_
            for id_ in ids
        ]
        are = "1 image is" if images == 1 else f"{images:,} images are"
        classes = "1 class" if len(ids) == 1 else f"{len(ids):,} classes"
        knows = "neither version has" if by == "neither" else f"{by} does not have"
        said.append(f"{are} left out, of {classes} that {knows} ({_some(names)})")
    return "; ".join(said)


def align(
    names: Sequence[str],
    class_ids: Sequence[str] | None,
    answers: Mapping[str, PairOfAnswers],
    *,
    a: ServedVersion,
    b: ServedVersion,
    class_map: ClassMap = (),
    left_out: int = 0,
    a_file: Predictions | None = None,
    b_file: Predictions | None = None,
) -> Comparison:
    """Join truth and answers by image name and class id, never by order.

    `class_ids` is None for data without labels. A file has more than the five answers,
    and the classes of its version.
    """
    missing = {name: why for name in names if (why := failure_of(name, answers, a, b))}
    kept = [position for position, name in enumerate(names) if name not in missing]
    pairs = [answers[names[position]] for position in kept]
    both = join_classes(a, b, class_map)
    targets = np.full(len(kept), UNKNOWN, np.int64)
    if class_ids is not None:
        targets[:] = [both.index_of[class_ids[position]] for position in kept]
    kept_names = tuple(names[position] for position in kept)
    a_index, b_index = tuple(range(len(a.labels))), both.b_index
    of_a = top_five_of([answer for answer, _ in pairs], a_index)
    of_b = top_five_of([answer for _, answer in pairs], b_index)
    a_known = _known(a_file, kept_names, a_index) or of_a
    b_known = _known(b_file, kept_names, b_index) or of_b
    return Comparison(
        labels=both.labels,
        names=kept_names,
        targets=targets,
        a=of_a,
        b=of_b,
        missing=missing,
        a_scores=scores(a_known, targets, classes=len(a.labels)),
        b_scores=scores(b_known, targets, classes=len(b.labels)),
        left_out=left_out,
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


def failure_of(
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
