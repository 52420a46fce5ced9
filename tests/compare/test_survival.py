"""Whatever happens to service, client or disk: the same bytes as of a quiet run.

Real processes; a proxy between them tells when the middle has come.
"""

import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from compare.collect.answer_store import ANSWERS
from tests.compare.go_between import GoBetween, go_between
from tests.conftest import WAIT_SECONDS, RunningService, Store, read_url

SAME_BYTES = ("summary.json", "per_image.parquet", "per_class.csv")
IMAGES, BATCH_SIZE, REQUESTS = 896, 32, 28
MIDDLE = 10
"""The number of a request."""


class Client:
    """Comparisons of versions 1 and 2 over all digits, each in its own process."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self._cache = cache

    @contextmanager
    def started(
        self, url: str, *more: str, before_start: Callable[[], None] | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-m", "compare", "--a", "v1", "--b", "v2"]
        command += ["--url", url, "--data", "digits", "--cache", str(self._cache)]
        command += ["--batch-size", str(BATCH_SIZE)]
        with subprocess.Popen(
            [*command, "--out", str(self.folder), *more],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self._cache,  # where there is no store
            preexec_fn=before_start,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self, url: str, *more: str, **options: Any) -> tuple[int, str]:
        """Its exit code and what it said on standard error."""
        with self.started(url, *more, **options) as process:
            _, said = process.communicate(timeout=2 * WAIT_SECONDS)
            return process.returncode, said

    @property
    def kept(self) -> int:
        return (self.folder / ANSWERS).read_bytes().count(b"\n")

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        return facts

    def results(self) -> dict[str, bytes]:
        return {name: (self.folder / name).read_bytes() for name in SAME_BYTES}


@pytest.fixture(scope="module")
def quiet(
    service: RunningService, tmp_path_factory: pytest.TempPathFactory, cache: Path
) -> dict[str, bytes]:
    """The results of a run that nothing disturbs."""
    client = Client(tmp_path_factory.mktemp("quiet") / "out", cache)
    assert client.run(service.url) == (0, "")
    assert client.facts["retries"] == 0
    return client.results()


@pytest.fixture
def client(tmp_path: Path, cache: Path) -> Client:
    return Client(tmp_path / "out", cache)


@pytest.fixture
def between(service: RunningService) -> Iterator[GoBetween]:
    with go_between(service.url) as proxy:
        yield proxy


@contextmanager
def another_service(store: Store, *more: str) -> Iterator[RunningService]:
    command = [sys.executable, "-m", "serving", "--port", "0", "--versions", "v1,v2"]
    with subprocess.Popen(
        [*command, "--drain-seconds", "0", *more],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "MLFLOW_TRACKING_URI": store.uri},
    ) as process:
        try:
            yield RunningService(read_url(process), process)
        finally:
            process.kill()


def test_the_service_is_killed_and_started_again(
    quiet: dict[str, bytes], client: Client, store: Store
) -> None:
    with (
        another_service(store) as first,
        go_between(first.url) as between,
    ):
        killed = threading.Event()

        def kill(number: int) -> None:
            if number == MIDDLE:
                first.process.kill()
                first.process.wait()
                killed.set()

        between.before = kill
        with client.started(between.url) as process:
            assert killed.wait(WAIT_SECONDS)
            with another_service(store) as second:
                between.target = second.url
                assert process.wait(2 * WAIT_SECONDS) == 0

    assert client.facts["retries"] > 0
    assert client.results() == quiet


def test_the_service_is_gone_for_good_and_another_day_it_is_back(
    quiet: dict[str, bytes], client: Client, between: GoBetween, service: RunningService
) -> None:
    def vanish(number: int) -> None:
        if number == MIDDLE:
            between.target = "http://127.0.0.1:9"

    between.before = vanish

    code, said = client.run(between.url, "--patience", "2")

    assert code == 3
    assert "gave no usable answer" in said
    assert 0 < client.kept < IMAGES
    assert not any((client.folder / name).exists() for name in SAME_BYTES)

    assert client.run(service.url)[0] == 0
    assert client.results() == quiet


def test_answers_come_late_and_in_another_order(
    quiet: dict[str, bytes], client: Client, between: GoBetween
) -> None:
    """The third answer comes after the tenth, and so on, and the last ones at the end.

    Two requests are under way at once, so that one that is held never stops the other.
    """
    has_come = {number: threading.Event() for number in range(1, REQUESTS + 1)}

    def hold(number: int) -> None:
        if number in has_come:
            has_come[number].set()
        later = has_come.get(number + 7)
        if number % 10 == 3 and later is not None:
            assert later.wait(WAIT_SECONDS)

    between.after = hold

    assert client.run(between.url)[0] == 0
    assert client.facts["retries"] == 0
    assert client.results() == quiet


def test_the_service_is_overloaded(
    quiet: dict[str, bytes], client: Client, store: Store
) -> None:
    """One request at a time is worked on."""
    with another_service(store, "--threads", "1") as service:
        code, said = client.run(service.url, "--concurrency", "4")

    assert code == 0
    assert "reason=status 429" in said
    assert client.facts["retries"] > 0
    assert client.results() == quiet


def test_the_client_is_killed_and_started_again(
    quiet: dict[str, bytes], client: Client, between: GoBetween
) -> None:
    reached, killed = threading.Event(), threading.Event()

    def wait_for_kill(number: int) -> None:
        if number == MIDDLE:
            reached.set()
            assert killed.wait(WAIT_SECONDS)

    between.before = wait_for_kill
    with client.started(between.url) as process:
        assert reached.wait(WAIT_SECONDS)
        process.kill()
        process.wait()
    killed.set()
    kept = client.kept
    assert 0 < kept < IMAGES
    between.asked = MIDDLE  # not the middle again

    assert client.run(between.url)[0] == 0
    assert client.results() == quiet


def test_the_disk_is_full(
    quiet: dict[str, bytes], client: Client, service: RunningService
) -> None:
    """As the kernel tells it: no file of the client's may grow beyond a limit."""

    def allow_small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    code, said = client.run(service.url, before_start=allow_small_files)

    assert code == 3
    assert "File too large" in said
    assert "Traceback" not in said
    assert not (client.folder / "summary.json").exists()

    assert client.run(service.url)[0] == 0
    assert client.results() == quiet
