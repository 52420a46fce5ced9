"""Agreements and disagreements of two versions, by hour, over all worker processes."""

import json
import math
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from classifier.storage import atomic_write

Pair = tuple[str, str]
"""Names of the default version and of its shadow."""

Result = Literal["agreed", "disagreed", "dropped", "failed"]
RESULTS: tuple[Result, ...] = get_args(Result)

HOURS = 24
HOUR_SECONDS = 3600

_SHAPE = (HOURS, 1 + len(RESULTS))
"""A row for each hour: its number since 1970, then the images of each result. The row
of an hour is taken again 24 hours later."""

_HEAD_BYTES = 4096
"""Length of a file's head: the pair as JSON, filled up with blanks."""

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Rate:
    """A share with Wilson's 95 % interval (JASA 22:209, 1927); None of no images."""

    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, count: int, total: int) -> "Rate":
        if total == 0:
            return cls(None, None, None)
        share, of_z = count / total, _Z**2 / total
        centre = (share + of_z / 2) / (1 + of_z)
        reach = math.sqrt(of_z * (share * (1 - share) + of_z / 4)) / (1 + of_z)
        # Rounding must not move the ends that are exact.
        low = 0.0 if count == 0 else centre - reach
        return cls(share, low, 1.0 if count == total else centre + reach)


@dataclass(frozen=True)
class Counts:
    """Images of one hour or more; those that both versions answered have a rate."""

    of: Counter[str]

    @property
    def rate(self) -> Rate:
        disagreed = self.of["disagreed"]
        return Rate.of(disagreed, self.of["agreed"] + disagreed)

    def to_json(self) -> dict[str, Any]:
        return {
            "images": self.of["agreed"] + self.of["disagreed"],
            "disagreements": self.of["disagreed"],
            "dropped": self.of["dropped"],
            "failed": self.of["failed"],
            "disagreement_rate": vars(self.rate),
        }


@dataclass(frozen=True)
class Hour:
    number: int
    """Hours since 1970."""

    pair: Pair
    counts: Counts

    def to_json(self) -> dict[str, Any]:
        start = datetime.fromtimestamp(self.number * HOUR_SECONDS, UTC)
        default, version = self.pair
        return {
            "start": f"{start:%Y-%m-%dT%H:%MZ}",
            "default": default,
            "version": version,
            **self.counts.to_json(),
        }


class HourlyCounts:
    """Counts of the last 24 hours. Each process writes to files of its own in a folder
    that all share, through a memory map, and reads those of all."""

    def __init__(
        self, folder: Path | None, *, now: Callable[[], float] = time.time
    ) -> None:
        """Without a folder the counts are of this process alone."""
        self._folder = folder
        self._now = now
        self._own: dict[Pair, NDArray[np.int64]] = {}
        self._changing = threading.Lock()

    def add(self, pair: Pair, result: Result, images: int = 1) -> None:
        with self._changing:
            table = self._own.get(pair)
            if table is None:
                table = self._own[pair] = self._new_table(pair)
            row = table[self.hour % HOURS]
            if row[0] != self.hour:
                row[:] = (self.hour, *(0 for _ in RESULTS))
            row[1 + RESULTS.index(result)] += images

    @property
    def hour(self) -> int:
        return int(self._now() // HOUR_SECONDS)

    def hours(self) -> list[Hour]:
        """Hours and pairs that have images, in order of time."""
        found: dict[tuple[int, Pair], Counter[str]] = {}
        for pair, table in self._tables():
            for number, *images in table.tolist():
                if self.hour - HOURS < number <= self.hour:
                    counts = found.setdefault((number, pair), Counter())
                    counts.update(dict(zip(RESULTS, images, strict=True)))
        return [
            Hour(number, pair, Counts(counts))
            for (number, pair), counts in sorted(found.items())
        ]

    def _new_table(self, pair: Pair) -> NDArray[np.int64]:
        empty = np.zeros(_SHAPE, np.int64)
        if self._folder is None:
            return empty
        # Not by the process's number alone, which another process may get later.
        file = self._folder / f"shadow-{os.getpid()}-{uuid.uuid4().hex}.counts"
        with atomic_write(file) as partial:
            head = json.dumps(pair).encode().ljust(_HEAD_BYTES)
            partial.write_bytes(head + empty.tobytes())
        return np.memmap(file, np.int64, "r+", _HEAD_BYTES, _SHAPE)

    def _tables(self) -> Iterator[tuple[Pair, NDArray[np.int64]]]:
        if self._folder is None:
            yield from list(self._own.items())
            return
        for file in self._folder.glob("shadow-*.counts"):
            data = file.read_bytes()
            default, version = json.loads(data[:_HEAD_BYTES])
            table = np.frombuffer(data, np.int64, offset=_HEAD_BYTES).reshape(_SHAPE)
            yield (default, version), table


def summed(hours: list[Hour], pair: Pair) -> Counts:
    """The counts of a pair over all hours."""
    of_pair = (hour.counts.of for hour in hours if hour.pair == pair)
    return Counts(sum(of_pair, Counter()))
