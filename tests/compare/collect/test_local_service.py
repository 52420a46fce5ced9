"""A service of our own is started before anything else, where that is certain."""

import socket
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import requests

from compare.collect.local_service import OwnService, early_service
from tests.conftest import Store, encoded, picture


@pytest.fixture(autouse=True)
def _use(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)


def _early(
    a: str, b: str, *, url: str | None = None, max_megapixels: float = 100.0
) -> AbstractContextManager[OwnService | None]:
    return early_service(
        url=url, model=None, versions=(a, b), max_megapixels=max_megapixels
    )


def _free_address() -> tuple[str, int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return "127.0.0.1", free.getsockname()[1]


def test_versions_named_by_number_are_served_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "compare.collect.local_service.DEFAULT_ADDRESS", _free_address()
    )

    with _early("v1", "V002", max_megapixels=0.001) as early:
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
    ("a", "b", "url"),
    [
        ("v1", "v2", "http://127.0.0.1:9"),
        ("v1", "latest", None),
        ("@best", "v2", None),
        ("v1", "best.int8", None),
    ],
)
def test_an_alias_or_a_service_that_is_named_is_looked_up_first(
    a: str, b: str, url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "compare.collect.local_service.DEFAULT_ADDRESS", _free_address()
    )

    with _early(a, b, url=url) as early:
        assert early is None


def test_whoever_listens_at_the_default_address_is_asked_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
        monkeypatch.setattr("compare.collect.local_service.DEFAULT_ADDRESS", address)

        with _early("v1", "v2") as early:
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
    monkeypatch.setenv("SERVING_PRECISION", "auto")

    with _early("v1", "v2") as early:
        assert early is not None
        answer = requests.get(f"{early.wait_for_url()}/versions/v1", timeout=60)

    entry = answer.json()
    assert (answer.status_code, entry["backend"]) == (200, "onnx")
    assert (entry["precision"], entry["precision_reason"]) == ("fp32", None)
