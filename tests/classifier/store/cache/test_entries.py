"""Files of remote stores: downloaded once, verified, removed when room is needed."""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from classifier.bundle.files import GRAPH, LABELS, WEIGHTS
from classifier.storage import file_sha256
from classifier.store.cache.entries import (
    MANIFEST,
    SIZE_VARIABLE,
    BadCacheSize,
    EntryCache,
)
from classifier.store.cache.room import size_of
from classifier.store.location import StoreUnavailable
from tests.conftest import Store


class FolderSource:
    """A folder as a store has it; `spoil` may change what arrives."""

    def __init__(
        self, folder: Path, spoil: Callable[[str, Path], object] = lambda name, file: 0
    ) -> None:
        self.location = "s3://bucket/folder"
        self.downloaded = list[str]()
        self._folder = folder
        self._spoil = spoil

    @property
    def digests(self) -> dict[str, str]:
        return {name: file_sha256(self._folder / name) for name in self.names()}

    def names(self) -> list[str]:
        return [name for name in os.listdir(self._folder) if name != MANIFEST]

    def file(self, name: str, to: Path) -> None:
        self.downloaded.append(name)
        shutil.copyfile(self._folder / name, to)
        self._spoil(name, to)


@pytest.fixture
def first(store: Store) -> FolderSource:
    return FolderSource(store.bundle("v1").folder)


@pytest.fixture
def second(store: Store) -> FolderSource:
    return FolderSource(store.bundle("v2").folder)


@pytest.fixture
def entries(tmp_path: Path) -> EntryCache:
    return EntryCache(tmp_path / "cache")


def fetch(entries: EntryCache, key: str, source: FolderSource) -> Path:
    return entries.fetch(key, lambda: source, digests=source.digests)


def test_two_versions_of_a_run_share_the_graph_which_is_downloaded_once(
    entries: EntryCache, first: FolderSource, second: FolderSource
) -> None:
    folders = [fetch(entries, "m-1", first), fetch(entries, "m-2", second)]

    assert [s.downloaded.count(GRAPH) for s in (first, second)] == [1, 0]
    assert [s.downloaded.count(WEIGHTS) for s in (first, second)] == [1, 1]
    assert os.path.samefile(*(folder / GRAPH for folder in folders))
    assert [(folder / WEIGHTS).stat().st_nlink for folder in folders] == [1, 1]
    for folder, source in zip(folders, (first, second), strict=True):
        assert {name: file_sha256(folder / name) for name in source.names()} == (
            source.digests
        )


def test_a_version_that_is_there_is_not_downloaded_again(
    entries: EntryCache, first: FolderSource, tmp_path: Path
) -> None:
    fetch(entries, "m-1", first)
    first.downloaded.clear()

    fetch(entries, "m-1", first)
    fetch(EntryCache(tmp_path / "cache"), "m-1", first)  # another process

    assert first.downloaded == []


def test_those_who_ask_at_the_same_time_get_one_download(
    first: FolderSource, tmp_path: Path
) -> None:
    caches = [EntryCache(tmp_path / "cache") for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda each: fetch(each, "m-1", first), caches))

    assert len(set(folders)) == 1
    assert sorted(first.downloaded) == sorted(first.names())


def test_a_damaged_download_is_fetched_again_once(
    entries: EntryCache, store: Store
) -> None:
    def spoil(name: str, file: Path) -> None:
        if name == WEIGHTS and source.downloaded.count(name) == 1:
            os.truncate(file, 100)

    source = FolderSource(store.bundle("v1").folder, spoil)

    folder = fetch(entries, "m-1", source)

    assert source.downloaded.count(WEIGHTS) == 2
    assert file_sha256(folder / WEIGHTS) == source.digests[WEIGHTS]


def test_a_download_that_stays_damaged_or_breaks_off_leaves_nothing_to_load(
    entries: EntryCache, store: Store, tmp_path: Path
) -> None:
    def break_off(name: str, file: Path) -> None:
        os.truncate(file, 100)
        if name == LABELS:
            raise StoreUnavailable("connection reset")

    source = FolderSource(store.bundle("v1").folder, break_off)

    with pytest.raises(StoreUnavailable, match="could not be downloaded 2 times"):
        fetch(entries, "m-1", source)

    assert entries.kept("m-1") is None
    left = [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    assert sum(file.stat().st_size for file in left) == 0  # locks


def test_a_file_that_is_damaged_on_the_disk_is_fetched_again(
    entries: EntryCache, first: FolderSource, second: FolderSource
) -> None:
    graph = fetch(entries, "m-1", first) / GRAPH
    sound = graph.read_bytes()
    graph.chmod(0o600)
    graph.write_bytes(sound.replace(b"images", b"imagex"))

    folders = [fetch(entries, "m-2", second), fetch(entries, "m-1", first)]

    assert second.downloaded.count(GRAPH) == 1
    assert first.downloaded.count(GRAPH) == 1
    assert {(folder / GRAPH).read_bytes() for folder in folders} == {sound}


def test_files_without_recorded_digests_are_checked_by_those_of_the_first_download(
    entries: EntryCache, first: FolderSource
) -> None:
    folder = entries.fetch("m-1", lambda: first, digests=None)
    os.truncate(folder / WEIGHTS, 100)

    again = entries.fetch("m-1", lambda: first, digests=None)

    assert first.downloaded.count(WEIGHTS) == 2
    assert file_sha256(again / WEIGHTS) == first.digests[WEIGHTS]


def test_the_least_recently_used_version_makes_room_and_a_loaded_one_never(
    first: FolderSource,
    second: FolderSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "cache"
    fetch(EntryCache(folder), "m", first)
    one = size_of(folder)
    monkeypatch.setenv(SIZE_VARIABLE, str(2.5 * one / 1e9))
    entries = EntryCache(folder)
    loaded = entries.bundle(lambda: fetch(entries, "m", first))
    for number in range(4):
        changed = tmp_path / f"v{number}"
        shutil.copytree(tmp_path / "cache" / "entries" / "m", changed)
        (changed / WEIGHTS).chmod(0o600)
        (changed / WEIGHTS).write_bytes(os.urandom(one))
        fetch(entries, f"m-{number}", FolderSource(changed))

    there = {path.name for path in (folder / "entries").glob("m*")}
    assert there == {"m", "m-3"}  # `m` was used before all others
    assert size_of(folder) <= 2.5 * one

    del loaded
    fetch(entries, "m-2", FolderSource(tmp_path / "v2"))
    assert not (folder / "entries" / "m").exists()


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/../../b"])
def test_a_name_that_leads_out_of_the_folder_is_refused(
    entries: EntryCache, first: FolderSource, name: str
) -> None:
    with pytest.raises(StoreUnavailable, match="no path in it"):
        entries.fetch("m-1", lambda: first, digests={name: "0" * 64})


def test_a_key_that_leads_out_of_the_cache_stays_in_it(
    entries: EntryCache, first: FolderSource, tmp_path: Path
) -> None:
    folder = fetch(entries, "../../out", first)

    assert folder.is_relative_to(tmp_path / "cache" / "entries")


@pytest.mark.parametrize("text", ["ten", "-1", "0", "nan"])
def test_a_wrong_size_of_the_cache_says_what_is_needed(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SIZE_VARIABLE, text)

    with pytest.raises(BadCacheSize, match=r"gigabytes .*, a number above 0"):
        EntryCache()
