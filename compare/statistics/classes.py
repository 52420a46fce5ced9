"""Changes per class, tested with a false discovery rate; and confusions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import false_discovery_control

from compare.statistics.measure import Estimate
from compare.statistics.paired import PairedTable, mcnemar_mid_p, paired_difference
from compare.statistics.top_five import BoolArray, IntArray

FALSE_DISCOVERY_RATE = 0.05


@dataclass(frozen=True)
class ClassChange:
    """One class: how many of its images each version gets right."""

    index: int
    table: PairedTable
    delta: Estimate
    mid_p: float
    q_value: float
    """Benjamini-Hochberg over all classes that have images."""

    could_be_flagged: bool
    """Whether it would be flagged if all its discordant images were on one side."""

    @property
    def is_regression(self) -> bool:
        return self._is_flagged and self.table.broken > self.table.fixed

    @property
    def is_improvement(self) -> bool:
        return self._is_flagged and self.table.fixed > self.table.broken

    @property
    def _is_flagged(self) -> bool:
        return self.q_value <= FALSE_DISCOVERY_RATE


def class_changes(
    targets: IntArray, *, baseline: BoolArray, candidate: BoolArray
) -> list[ClassChange]:
    """One entry per class that has images, by index."""
    if len(targets) == 0:
        return []
    tables = _tables(targets, baseline=baseline, candidate=candidate)
    mid_ps = [mcnemar_mid_p(table) for table in tables.values()]
    # Benjamini and Hochberg, J. R. Statist. Soc. B 57:289 (1995).
    q_values = false_discovery_control(mid_ps, method="bh")
    could = could_be_flagged([*tables.values()], mid_ps)
    return [
        ClassChange(index, table, paired_difference(table), mid_p, float(q), can)
        for (index, table), mid_p, q, can in zip(
            tables.items(), mid_ps, q_values, could, strict=True
        )
    ]


def could_be_flagged(
    tables: Sequence[PairedTable], mid_ps: Sequence[float]
) -> list[bool]:
    """For each class: could any split of its discordant images be flagged?

    All its discordant images are put on one side; the other classes stay as they are.
    """
    ps = np.array(mid_ps)
    could = []
    for position, table in enumerate(tables):
        others = ps.copy()
        others[position] = mcnemar_mid_p(
            PairedTable(0, table.broken + table.fixed, 0, 0)
        )
        q_value = false_discovery_control(others, method="bh")[position]
        could.append(bool(q_value <= FALSE_DISCOVERY_RATE))
    return could


def _tables(
    targets: IntArray, *, baseline: BoolArray, candidate: BoolArray
) -> dict[int, PairedTable]:
    cells = 4 * targets + 2 * ~baseline + ~candidate
    counts = np.bincount(cells, minlength=4 * (int(targets.max()) + 1)).reshape(-1, 4)
    return {
        index: PairedTable(*map(int, row))
        for index, row in enumerate(counts)
        if row.any()
    }


LISTED = 20


@dataclass(frozen=True)
class Confusion:
    """Number of images of one class that each version takes for another class."""

    target: int
    answer: int
    baseline: int
    candidate: int


def confusion_changes(
    targets: IntArray, *, baseline: IntArray, candidate: IntArray, classes: int
) -> tuple[Sequence[Confusion], Sequence[Confusion]]:
    """Confusions gained and lost, at most 20 each, the largest change first.

    Equals are ordered by class index. All arrays are class indices of shape [N];
    `baseline` and `candidate` are first answers.
    """
    both = [_counts(targets, answers, classes) for answers in (baseline, candidate)]
    confusions = [
        Confusion(*divmod(code, classes), both[0].get(code, 0), both[1].get(code, 0))
        for code in sorted({*both[0], *both[1]})
    ]
    by_change = sorted(confusions, key=lambda c: -abs(c.candidate - c.baseline))
    gained = [c for c in by_change if c.candidate > c.baseline]
    lost = [c for c in by_change if c.candidate < c.baseline]
    return gained[:LISTED], lost[:LISTED]


def _counts(targets: IntArray, answers: IntArray, classes: int) -> dict[int, int]:
    """Number of images by target * classes + answer; right answers are left out."""
    wrong = answers != targets
    codes, counts = np.unique(
        targets[wrong] * classes + answers[wrong], return_counts=True
    )
    return dict(zip(codes.tolist(), counts.tolist(), strict=True))
