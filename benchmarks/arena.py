"""What all servers meet, one after the other, with the bare model in between."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.bare_model import Bare, BareModel
from benchmarks.contestants import Contest
from benchmarks.server_cost import measure_server, start_seconds
from benchmarks.servers import Launch, ServerFailed
from benchmarks.yardstick import NotMeasured, Outcome, Yardstick

STARTS = 3


@dataclass(frozen=True)
class Arena:
    """The same images, the same bare model, the same time for each."""

    contest: Contest
    bare: BareModel
    files: Sequence[bytes]
    seconds: float
    measured: list[Bare] = field(default_factory=list)

    def meet(
        self, name: str, make: Callable[[], Launch], *, is_ours: bool = True
    ) -> Outcome:
        """The server's cost, and the bare model's speed before and after it."""
        print(f"measuring {name}", file=sys.stderr)
        if not self.measured:
            self.measured.append(self.bare.measure(self.seconds))
        try:
            return measure_server(
                make(),
                self.bare,
                self.files,
                work=self.contest.work,
                seconds=self.seconds,
                is_ours=is_ours,
            )
        except ServerFailed as error:
            return NotMeasured(name, str(error))
        finally:
            self.measured.append(self.bare.measure(self.seconds))

    def starts(self, make: Callable[[], Launch]) -> list[float]:
        """Seconds from its start to its readiness, each time anew."""
        work, probe = self.contest.work, self.files[0]
        return start_seconds(make, work=work, probe=probe, times=STARTS)

    def yardstick(self) -> Yardstick:
        return Yardstick(tuple(self.measured))
