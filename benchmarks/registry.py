"""Cost of following the registry: many replicas at a store of 1,000 versions.

The store is `mlflow server` with PostgreSQL, both on this machine (`make team-tools`
installs them). A poller is the thread by which a replica of the service follows the
registry, without the service.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

from benchmarks.harness import cpu_seconds, descendants, write_table
from classifier.store.registry import Registry
from classifier.store.versions import Version
from serving.versions.registry_watch import WHOLE_SECONDS, RegistryWatch
from tests.mlflow_server import free_port, mlflow_server
from tests.team.parts import postgres

MODEL = "digits-resnet18"
TAGS = {f"tag_{number}": "0.123456789" for number in range(20)}
LOOKS, READINGS = 200, 5


class SharedReading(Registry):
    """All pollers start from one full reading: 100 at once measure something else."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.known: list[Version] | None = None
        self.look_seconds: list[float] = []

    def versions(self, model: str) -> list[Version]:
        if self.known is None:
            self.known = super().versions(model)
        return self.known

    def versions_since(self, *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return super().versions_since(*args, **kwargs)
        finally:
            self.look_seconds.append(time.perf_counter() - started)


@dataclass
class Poller:
    watch: RegistryWatch
    seen_at: dict[str, float] = field(default_factory=dict)
    """When this poller saw that `best` names a version."""

    def note(self) -> None:
        for version in self.watch.versions:
            if "best" in version.aliases:
                self.seen_at.setdefault(version.number, time.monotonic())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--versions", type=int, default=1000)
    parser.add_argument("--pollers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, postgres("registry") as database:
        uri = f"{database}/registry"
        fill(uri, asked.versions)
        port = free_port()
        with mlflow_server(port, Path(name), database=uri, artifacts=()) as server:
            address = f"http://127.0.0.1:{port}"
            rows = [
                *alone(address, server, asked.pollers),
                *together(asked, address, server),
            ]
    write_table(
        "Following the registry",
        ("", "measured", "wanted"),
        rows,
        note=(
            f"{asked.versions:,} versions of {len(TAGS)} tags in PostgreSQL 15 behind "
            f"`mlflow server --workers 1`; {asked.pollers} pollers in one process, "
            f"each with --follow-seconds 5. CPU of the server is that of MLflow's "
            f"processes, without PostgreSQL's. A full reading follows a change that a "
            f"look cannot see, and comes every {WHOLE_SECONDS:.0f} s."
        ),
    )


def fill(uri: str, versions: int) -> None:
    client = Registry(uri, create=True).client
    client.create_registered_model(MODEL)
    for _ in range(versions):
        client.create_model_version(
            MODEL, "runs:/elsewhere/model", tags=TAGS, await_creation_for=0
        )
    client.set_registered_model_alias(MODEL, "best", "1")


def alone(
    address: str, server: "Popen[bytes]", pollers: int
) -> Sequence[tuple[str, str, str]]:
    """What a look and a full reading of one replica cost."""
    registry = Registry(address)
    known = registry.versions(MODEL)
    look = cost(lambda: registry.versions_since(MODEL, known), LOOKS, server)
    whole = cost(lambda: registry.versions(MODEL), READINGS, server)
    return [
        ("a look: core-ms of the replica", f"{look.client_ms:.1f}", "at most 5"),
        ("a look: core-ms of the server", f"{look.server_ms:.1f}", ""),
        ("a full reading: core-ms of the replica", f"{whole.client_ms:.0f}", ""),
        ("a full reading: core-ms of the server", f"{whole.server_ms:.0f}", ""),
        (
            "full readings of all pollers: cores of the server, reckoned",
            f"{pollers * whole.server_ms / 1000 / WHOLE_SECONDS:.2f}",
            "",
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class Cost:
    client_ms: float
    server_ms: float


def cost(ask: Callable[[], object], times: int, server: "Popen[bytes]") -> Cost:
    ask()
    client, of_server = time.process_time(), server_seconds(server)
    for _ in range(times):
        ask()
    return Cost(
        client_ms=1000 * (time.process_time() - client) / times,
        server_ms=1000 * (server_seconds(server) - of_server) / times,
    )


def server_seconds(server: "Popen[bytes]") -> float:
    return cpu_seconds(descendants(server.pid))


def together(
    asked: argparse.Namespace, address: str, server: "Popen[bytes]"
) -> Sequence[tuple[str, str, str]]:
    """What the server does for all pollers, and when an alias has reached each."""
    registry = SharedReading(address)
    with polling(registry, asked.pollers) as pollers:
        registry.look_seconds.clear()
        began_at, used = time.monotonic(), server_seconds(server)
        threading.Event().wait(asked.seconds / 2)
        moved_at = time.monotonic()
        registry.set_alias(MODEL, "best", "2")
        threading.Event().wait(asked.seconds / 2)
        seconds = time.monotonic() - began_at
        share = (server_seconds(server) - used) / seconds
    looks = registry.look_seconds
    reached = [poller.seen_at.get("2", float("inf")) - moved_at for poller in pollers]
    quantiles = statistics.quantiles(looks, n=100)
    return [
        ("looks a second, all pollers", f"{len(looks) / seconds:.1f}", "about 20"),
        ("cores of the server meanwhile", f"{share:.2f}", ""),
        (
            "a look, median and 99th percentile, ms",
            f"{1000 * quantiles[49]:.0f} and {1000 * quantiles[98]:.0f}",
            "",
        ),
        ("an alias has reached all, s", f"{max(reached):.1f}", "at most 10"),
    ]


@contextmanager
def polling(registry: SharedReading, count: int) -> Iterator[list[Poller]]:
    pollers = [
        Poller(RegistryWatch(registry, MODEL, every_seconds=5.0)) for _ in range(count)
    ]
    for poller in pollers:
        poller.watch.start(poller.note)
    try:
        yield pollers
    finally:
        for poller in pollers:
            poller.watch.close()


if __name__ == "__main__":
    main()
