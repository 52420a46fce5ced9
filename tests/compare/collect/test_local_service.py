"""A service of our own is started before anything else, where that is certain."""

import socket
from pathlib import Path

import pytest
import requests

from compare.collect.local_service import early_service
from compare.config import CompareConfig
from tests.conftest import Store, encoded, picture


@pytest.fixture(autouse=True)
def _use(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)


def _free_address() -> tuple[str, int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return "127.0.0.1", free.getsockname()[1]


def test_versions_named_by_number_are_served_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "compare.collect.local_service.DEFAULT_ADDRESS", _free_address()
    )

    config = CompareConfig(a="v1", b="V002", max_megapixels=0.001)
    with early_service(config) as early:
        assert early is not None
        url = early.wait_for_url()
        listed = requests.get(f"{url}/versions", timeout=60).json()
        large = encoded(picture(32, 32))
        refused = requests.post(f"{url}/predict", large, timeout=60).json()

    assert listed["model"] == store.model
    ready = [v["version"] for v in listed["versions"] if v["state"] == "ready"]
    assert ready == ["1", "2"]
    assert refused["error"]["code"] == "image_too_large"


@pytest.mark.parametrize(
    "config",
    [
        CompareConfig(a="v1", b="v2", url="http://127.0.0.1:9"),
        CompareConfig(a="v1", b="latest"),
        CompareConfig(a="@best", b="v2"),
        CompareConfig(a="v1", b="best.int8"),
    ],
)
def test_an_alias_or_a_service_that_is_named_is_looked_up_first(
    config: CompareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "compare.collect.local_service.DEFAULT_ADDRESS", _free_address()
    )

    with early_service(config) as early:
        assert early is None


def test_whoever_listens_at_the_default_address_is_asked_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
        monkeypatch.setattr("compare.collect.local_service.DEFAULT_ADDRESS", address)

        with early_service(CompareConfig(a="v1", b="v2")) as early:
            assert early is None


def test_our_own_service_has_no_settings_of_the_one_that_others_ask(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"somebody predict {64 * '0'}\n")
    monkeypatch.setattr(
        "compare.collect.local_service.DEFAULT_ADDRESS", _free_address()
    )
    monkeypatch.setenv("SERVING_KEYS", str(keys))
    monkeypatch.setenv("SERVING_BACKEND", "torch")

    with early_service(CompareConfig(a="v1", b="v2")) as early:
        assert early is not None
        answer = requests.get(f"{early.wait_for_url()}/versions/v1", timeout=60)

    assert (answer.status_code, answer.json()["backend"]) == (200, "torch")
