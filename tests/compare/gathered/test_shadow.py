"""`--shadow URL`: the report of what a service's shadow version has left."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests

from classifier.datasets.dataset import Dataset
from compare.__main__ import main
from compare.collect.client import ServiceUnavailable
from compare.gathered import shadow
from tests.conftest import WAIT_SECONDS, RunningService, Store, serving, until

COUNTS = {"version": "2", "default": "1", "keeps_images": True}
COUNTS |= {"images": 4, "disagreements": 1}


def _entry(number: str, *ids: str) -> dict[str, Any]:
    top = [{"id": id_, "name": id_, "probability": 0.5} for id_ in ids]
    version = {"model": "m", "version": number, "run_id": None, "epoch": 1}
    return {**version, "dataset_digest": None, "top": top}


def test_the_report_is_that_of_images_without_labels(
    store: Store,
    digits: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    keys = "".join(
        f"{scope} {scope} {hashlib.sha256(scope.encode()).hexdigest()}\n"
        for scope in ("predict", "admin")
    )
    (tmp_path / "keys").write_text(keys)
    for scope in ("predict", "admin"):
        (tmp_path / scope).write_text(scope)
    flags = ["--shadow", "v2", "--shadow-rate", "1", "--shadow-keep", "kept"]
    flags += ["--keys", "keys", "--versions", "v1", "--drain-seconds", "0"]
    with serving(store, *flags) as service, requests.Session() as session:
        session.headers["Authorization"] = "Bearer predict"
        ask = ["--shadow", service.url, "--key"]

        def counts() -> dict[str, Any]:
            found: dict[str, Any] = session.get(f"{service.url}/shadow").json()
            return found

        until(lambda: counts()["state"] == "ready")
        assert main([*ask, "admin"]) == 3
        nothing_yet = capsys.readouterr().err
        for file in digits.val.files[::9]:
            session.post(
                f"{service.url}/predict", data=file.read_bytes(), timeout=WAIT_SECONDS
            )
        until(lambda: counts()["disagreements"] > 3)
        until(lambda: len(list((tmp_path / "kept").glob("*.json"))) > 3)
        assert main([*ask, "admin", "--export", "b.csv"]) == 0
        assert main([*ask, "predict"]) == 2
        refused = capsys.readouterr().err

    assert "has kept no image yet" in nothing_yet
    assert "ask who runs it for one that may read images" in refused
    folder = tmp_path / "shadow-v1-v2"
    document = (folder / "summary.json").read_bytes()
    summary = json.loads(document)
    assert (summary["model"], summary["verdict"]) == (store.model, "no_gate")
    assert (summary["a"]["version"], summary["b"]["version"]) == ("1", "2")
    assert (summary["a"]["epoch"], summary["b"]["epoch"]) == (1, 2)
    assert summary["data"] == {**summary["data"], "labelled": False}
    assert summary["disagreement_rate"] == 1
    assert "only images on which the first answers differ" in summary["notes"][0]
    table = pq.read_table(folder / "per_image.parquet")
    names = list(map(str, table["image"].to_pylist()))
    kept = {file.name for file in (tmp_path / "kept").iterdir()}
    assert len(names) == summary["images"] > 3
    assert set(names) <= kept
    assert pq.read_table(folder / "thumbnails.parquet").num_rows == len(names)
    assert names[0] in (folder / "report.html").read_text()
    assert (tmp_path / "b.csv").is_file()
    assert main(["--from", str(folder)]) == 0
    assert (folder / "summary.json").read_bytes() == document


def test_a_service_that_keeps_nothing_is_told_how_to(
    service: RunningService, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--shadow", service.url]) == 3
    assert "start it with --shadow VERSION --shadow-keep F" in capsys.readouterr().err


class Answering:
    """A service that answers so, whatever it should."""

    url = "http://x"

    def __init__(self, listed: object) -> None:
        self.listed = listed

    def read(self, path: str) -> Any:
        return self.listed

    def download(self, path: str) -> bytes | None:
        return None if "gone" in path else path.encode()


@pytest.mark.parametrize(
    "listed",
    [
        {},
        {"images": 3},
        {"images": [{"image": "x"}]},
        {"images": [{"image": "x", "default": _entry("1"), "shadow": _entry("2")}]},
    ],
)
def test_what_is_no_list_of_pairs_is_another_service(listed: object) -> None:
    with pytest.raises(ServiceUnavailable, match="does not list images with two"):
        shadow._kept(Answering(listed), COUNTS)  # type: ignore[arg-type]  # a stand-in


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({**COUNTS, "keeps_images": False}, "start it with --shadow-keep FOLDER too"),
        (COUNTS, r"kept no image yet \(of 4 images that v2 was asked after v1"),
        ({**COUNTS, "images": 0, "disagreements": 0}, "the first answers differ on no"),
        ({**COUNTS, "images": None}, "its counts cannot be read"),
    ],
)
def test_where_nothing_is_kept_it_says_why(
    counts: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(shadow.NothingKept, match=message):
        shadow._kept(Answering({"images": []}), counts)  # type: ignore[arg-type]  # a stand-in


def test_names_of_a_service_are_no_paths_here(tmp_path: Path) -> None:
    entry = {"default": _entry("1", "a"), "shadow": _entry("2", "b")}
    names = ["../outside", "/etc/x", "gone"]
    service: Any = Answering({"images": [{"image": n, **entry} for n in names]})

    pairs = shadow._kept(service, COUNTS)
    images = shadow._download(service, pairs, tmp_path / ".")

    assert images.names == ("../outside", "/etc/x")
    assert [file.parent for file in images.files] == [tmp_path] * 2
    assert len(list(tmp_path.iterdir())) == 2


def test_classes_are_joined_by_id() -> None:
    entry = {"default": _entry("1", "b", "c"), "shadow": _entry("2", "a", "b")}
    service: Any = Answering({"images": [{"image": "x", **entry}]})

    a, b = shadow._sides("http://x", shadow._kept(service, COUNTS))

    assert a.version.labels == b.version.labels
    assert a.version.labels.ids == ("a", "b", "c")
    (((first,),), ((second,),)) = (
        side.source.predict([("x", b"")], [side.version]) for side in (a, b)
    )
    assert (first.indices, second.indices) == ((1, 2), (0, 1))  # type: ignore[union-attr]  # both are answers
