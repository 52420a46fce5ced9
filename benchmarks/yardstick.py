"""A server's speed as a share of the bare model's at the nearest time."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.bare_model import Bare, nearest
from benchmarks.load import Load
from benchmarks.server_cost import Sample, ServerCost

BUSY = 64
"""Connections of the load that servers are compared by."""


@dataclass(frozen=True)
class NotMeasured:
    """A server that did not come up, or answered something else."""

    name: str
    reason: str


Outcome = ServerCost | NotMeasured


@dataclass(frozen=True)
class Yardstick:
    """The bare model's measurements, before and after each server."""

    measured: Sequence[Bare]

    def share(self, sample: Sample, *, images: int = 1) -> float:
        """Images a second, of those the bare model did at the nearest time."""
        return images * sample.load.rate / nearest(self.measured, at=sample.at).rate

    def busy_share(self, cost: ServerCost) -> float:
        return self.share(cost.singles[BUSY])

    def added_ms(self, sample: Sample) -> float:
        """Median time of a request, above the bare model's for one image."""
        bare = nearest(self.measured, at=sample.at)
        return sample.load.p50_ms - bare.single_p50_ms


def errors_of(load: Load) -> str:
    """Nothing, where there are none."""
    return f" and {load.errors:,} errors" if load.errors else ""
