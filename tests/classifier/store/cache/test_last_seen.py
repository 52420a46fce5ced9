"""Versions of a remote registry as last read: kept, found again, never half."""

from pathlib import Path

import pytest

from classifier.store.cache.last_seen import (
    keep_versions,
    last_models,
    last_versions,
)
from classifier.store.versions import Version

ADDRESS = "http://user:secret@mlflow:5000"
VERSIONS = [
    Version(model="birds", number="1", model_id="m-1", tags={"epoch": "1"}),
    Version(
        model="birds", number="2", model_id="m-2", aliases=("best",), is_qualified=True
    ),
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_versions_are_found_as_they_were_kept_by_address_and_model() -> None:
    keep_versions(ADDRESS, "birds", VERSIONS)

    found = last_versions(ADDRESS, "birds")

    assert found is not None
    assert [(v.number, v.aliases, v.tags) for v in found] == [
        ("1", (), {"epoch": "1"}),
        ("2", ("best",), {}),
    ]
    assert not any(version.is_qualified for version in found)
    assert last_models(ADDRESS) == ["birds"]
    assert last_versions(ADDRESS, "cars") is None
    assert last_versions("http://other:5000", "birds") is None


def test_no_password_of_an_address_is_kept(own_cache: Path) -> None:
    keep_versions(ADDRESS, "birds", VERSIONS)

    (file,) = own_cache.rglob("*.json")
    assert "secret" not in str(file)
    assert "secret" not in file.read_text()


def test_a_local_store_is_not_kept(own_cache: Path) -> None:
    keep_versions("sqlite:////tmp/mlflow.db", "birds", VERSIONS)

    assert list(own_cache.rglob("*.json")) == []


@pytest.mark.parametrize("text", ["", "{", "{}", '{"model": "a", "versions": [{}]}'])
def test_a_damaged_file_counts_as_none(own_cache: Path, text: str) -> None:
    keep_versions(ADDRESS, "birds", VERSIONS)
    (file,) = own_cache.rglob("*.json")
    file.write_text(text)

    assert last_versions(ADDRESS, "birds") is None
    assert last_models(ADDRESS) == []
