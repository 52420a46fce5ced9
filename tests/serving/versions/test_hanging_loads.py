"""A version that hangs while it loads holds up nothing else."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from classifier.store.versions import UnknownVersion, Version
from serving.inference.predictor import Predictor
from serving.inference.requests import DeadlinePassed
from serving.versions.slot import NotReady
from serving.worker_sync import Control
from tests.conftest import (
    WAIT_SECONDS,
    Store,
    children,
    encoded,
    picture,
    read_url,
    until,
    workers,
)
from tests.serving.graphs import endless
from tests.serving.pools import make_pool, opener


class _Hanging:
    """Opens versions 3 when it is released, and others at once."""

    def __init__(self, store: Store) -> None:
        self.opened: list[str] = []
        self.begun, self.go_on = threading.Event(), threading.Event()
        self._open = opener(store.registry, self.opened)

    def __call__(self, version: Version) -> Predictor:
        if version.number == "3":
            self.begun.set()
            assert self.go_on.wait(WAIT_SECONDS)
        return self._open(version)


def test_a_load_that_hangs_holds_up_no_other_change(copy: Store) -> None:
    hanging = _Hanging(copy)
    pool = make_pool(copy, "v1", "v2", open_predictor=hanging)
    pool.load_wanted()
    with ThreadPoolExecutor(1) as threads:
        adding = threads.submit(pool.add, "v3")
        assert hanging.begun.wait(WAIT_SECONDS)

        assert pool.add("v4").state == "ready"
        assert pool.remove("v2").status.state == "available"
        assert pool.get("v4")

        hanging.go_on.set()
        assert adding.result(WAIT_SECONDS).state == "ready"
    assert pool.names.state()["numbers"] == {"1": "1", "4": "4", "3": "3"}


def test_a_name_whose_version_hangs_holds_up_no_other_name(copy: Store) -> None:
    hanging = _Hanging(copy)
    for name in ("slow", "quick"):
        copy.registry.set_alias(copy.model, name, "1")
    pool = make_pool(copy, "@slow", "@quick", open_predictor=hanging)
    pool.load_wanted()
    copy.registry.set_alias(copy.model, "slow", "3")
    with ThreadPoolExecutor(1) as threads:
        following = threads.submit(pool.read_registry)
        assert hanging.begun.wait(WAIT_SECONDS)

        copy.registry.set_alias(copy.model, "quick", "4")
        pool.read_registry()

        assert pool.get("@quick").version.number == "4"
        assert pool.get("@slow").version.number == "1"
        hanging.go_on.set()
        following.result(WAIT_SECONDS)
    assert pool.get("@slow").version.number == "3"
    assert hanging.opened.count("3") == 1


def test_a_name_that_moves_on_while_its_version_hangs_goes_where_it_leads(
    copy: Store,
) -> None:
    hanging = _Hanging(copy)
    copy.registry.set_alias(copy.model, "live", "1")
    pool = make_pool(copy, "@live", open_predictor=hanging)
    pool.load_wanted()
    copy.registry.set_alias(copy.model, "live", "3")
    with ThreadPoolExecutor(1) as threads:
        following = threads.submit(pool.read_registry)
        assert hanging.begun.wait(WAIT_SECONDS)
        copy.registry.set_alias(copy.model, "live", "4")
        pool.read_registry()
        hanging.go_on.set()
        following.result(WAIT_SECONDS)

    pool.read_registry()

    assert pool.get("@live").version.number == "4"
    ready = [s.version.number for s in pool.statuses() if s.state == "ready"]
    assert ready == ["4"]


def test_who_waits_for_a_load_has_a_deadline_and_company_has_a_limit(
    copy: Store,
) -> None:
    hanging = _Hanging(copy)
    copy.registry.set_alias(copy.model, "best", "1")
    pool = make_pool(copy, open_predictor=hanging, most_waiting=2)
    pool.load_wanted()

    with pytest.raises(DeadlinePassed, match="version 3 is still being loaded"):
        pool.get("v3", deadline=time.monotonic())
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(pool.get, "v3") for _ in range(2)]
        slot = pool.memory.slots.get("3")
        assert slot is not None
        until(lambda: slot.waiting == 2)
        with pytest.raises(NotReady, match="2 requests wait for it; try again soon"):
            pool.get("v3")
        assert pool.get("v2").version.number == "2"  # while that one hangs

        hanging.go_on.set()
        assert {w.result(WAIT_SECONDS).version.number for w in waiting} == {"3"}
    assert hanging.opened.count("3") == 1


def test_what_is_loaded_when_nobody_waits_any_more_counts(copy: Store) -> None:
    hanging = _Hanging(copy)
    copy.registry.set_alias(copy.model, "best", "1")
    pool = make_pool(copy, open_predictor=hanging, max_loaded=2)
    pool.load_wanted()
    pool.get("v2")
    with pytest.raises(DeadlinePassed):
        pool.get("v3", deadline=time.monotonic())

    hanging.go_on.set()

    until(lambda: pool.status("v3").state == "ready")
    until(lambda: pool.status("v2").state == "available")
    assert pool.get("v1").version.number == "1"


def test_a_version_that_is_taken_away_while_it_hangs_is_gone_at_once(
    copy: Store,
) -> None:
    hanging = _Hanging(copy)
    copy.registry.set_alias(copy.model, "best", "1")
    pool = make_pool(copy, open_predictor=hanging)
    pool.load_wanted()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(pool.get, "v3")
        assert hanging.begun.wait(WAIT_SECONDS)

        pool.remove("v3")

        with pytest.raises(UnknownVersion, match="taken away"):
            waiting.result(WAIT_SECONDS)
    hanging.go_on.set()


def test_a_load_that_hangs_in_one_process_holds_up_no_change_in_another(
    copy: Store,
) -> None:
    hanging = _Hanging(copy)
    pools = [make_pool(copy, "v1", open_predictor=hanging), make_pool(copy, "v1")]
    for pool in pools:
        pool.load_wanted()
    service = f"test-{uuid4().hex}"
    first, second = (Control(pool, service=service) for pool in pools)
    with ThreadPoolExecutor(1) as threads:
        adding = threads.submit(first.add, "v3")
        assert hanging.begun.wait(WAIT_SECONDS)

        assert second.add("v4").state == "ready"
        assert second.remove("v1").state == "available"

        hanging.go_on.set()
        assert adding.result(WAIT_SECONDS).state == "ready"
    assert pools[0].names.state() == pools[1].names.state()


def test_a_service_ends_while_a_version_hangs(copy: Store, tmp_path: Path) -> None:
    copy.registry.set_alias(copy.model, "best", "1")
    copy.bundle("v2").graph.write_bytes(endless())
    command = [sys.executable, "-m", "serving", "--port", "0", "--drain-seconds", "0"]
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": copy.uri,
        "XDG_CACHE_HOME": str(tmp_path),
    }
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment
        ) as process,
        ThreadPoolExecutor(2) as threads,
    ):
        url = read_url(process)
        image = encoded(picture())
        adding = threads.submit(requests.post, f"{url}/versions/v2")
        asking = threads.submit(requests.post, f"{url}/predict?version=v2", data=image)
        until(lambda: len(_trials(process.pid)) > 0)
        (trial,) = _trials(process.pid)
        late = requests.post(
            f"{url}/predict?version=v2",
            data=image,
            headers={"X-Request-Timeout-Ms": "1"},
        )
        assert late.status_code == 504
        assert requests.post(f"{url}/predict", data=image).status_code == 200
        assert requests.get(f"{url}/readyz").status_code == 200

        process.terminate()

        for future in (adding, asking):
            answer = future.result(WAIT_SECONDS)
            assert answer.status_code == 503
            assert "the service is being stopped" in answer.text
        process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0
    until(lambda: not Path(f"/proc/{trial}").exists())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_service_that_ends_before_it_is_ready_leaves_no_trial_behind(
    copy: Store, tmp_path: Path, number: int
) -> None:
    copy.bundle("v2").graph.write_bytes(endless())
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": copy.uri,
        "XDG_CACHE_HOME": str(tmp_path),
    }
    arguments = ["--port", "0", "--drain-seconds", "0", "--versions", "v2"]
    with subprocess.Popen(
        [sys.executable, "-m", "serving", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        until(lambda: len(_trials(process.pid)) > 0)
        (trial,) = _trials(process.pid)
        (worker,) = workers(process.pid)

        os.kill(process.pid if number == signal.SIGTERM else worker, number)

        until(lambda: trial not in _trials(process.pid))
        process.terminate()
        _, said = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0
    assert "error: " not in said


def _trials(process: int) -> list[int]:
    """The processes that a service's workers have started."""
    return [trial for worker in workers(process) for trial in children(worker)]
