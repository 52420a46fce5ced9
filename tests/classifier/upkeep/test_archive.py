"""Files that are no whole export are refused before anything is written."""

import hashlib
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from classifier.__main__ import main
from classifier.store.maintenance.archive import model_digest
from classifier.store.registry import Registry

CONTENT = b"the file of a version"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
ENTRY = f"files/{DIGEST}"

Document = dict[str, Any]
Edit = Callable[[Document], object]


def _document() -> Document:
    files = {"labels.json": DIGEST}
    model = {"model_id": "m-1", "run_id": "r1", "name": "epoch-01", "step": 1}
    run = {
        "run_id": "r1",
        "experiment": "digits",
        "name": "run",
        "status": "FINISHED",
        "started_ms": 1,
        "ended_ms": 2,
        "params": {},
        "tags": {},
        "metrics": [],
        "datasets": [],
        "inputs": [],
    }
    fp32 = {
        "record": {**model, "tags": {}},
        "files": files,
        "digest": model_digest("m-1", files),
    }
    version = {"number": "1", "aliases": [], "tags": {}, "fp32": fp32}
    return {
        "schema": 1,
        "made_by": "flipside 9",
        "model": "digits-tiny",
        "versions": [version],
        "runs": [{"record": run, "files": {}}],
        "comparisons": [],
    }


def _write(file: Path, document: Document, *, entry: str = ENTRY) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("manifest.json", json.dumps(document))
        archive.writestr(entry, CONTENT)


def _refused(file: Path, empty: Registry, capsys: pytest.CaptureFixture[str]) -> str:
    """The message of an import that ends with 2 and writes nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", empty.uri)
        assert main(["import", str(file)]) == 2
    assert not empty.has_model("digits-tiny")
    assert [e.name for e in empty.client.search_experiments()] == ["Default"]
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def _set(*path: Any, to: Any) -> Edit:
    def edit(document: Document) -> None:
        place: Any = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to

    return edit


FP32 = ("versions", 0, "fp32")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_set("schema", to=2), "its schema is 2, and this flipside reads 1"),
        (_set("schema", to=None), "its schema is None"),
        (_set("versions", to=3), "manifest.json is wrong at versions"),
        (_set("versions", 0, "number", to="-1"), "no number of a version"),
        (_set("runs", to=[]), "the run of version 1 is not in it"),
        (_set("runs", 0, "record", "run_id", to="' OR 1"), "is not in it"),
        (_set(*FP32, "digest", to="0" * 64), "the digest of version 1 is another"),
        (_set("runs", 0, "files", to={"../x": DIGEST}), "no path below"),
        (_set("runs", 0, "files", to={"/etc/x": DIGEST}), "no path below"),
        (_set("runs", 0, "files", to={"a/./x": DIGEST}), "no path below"),
        (_set("runs", 0, "files", to={"C:\\x": DIGEST}), "no path below"),
        (_set("runs", 0, "files", to={"x": "0" * 64}), "is not in it"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused(
    edit: Edit,
    words: str,
    tmp_path: Path,
    empty: Registry,
    capsys: pytest.CaptureFixture[str],
) -> None:
    document = _document()
    edit(document)
    _write(tmp_path / "x.zip", document)

    assert words in _refused(tmp_path / "x.zip", empty, capsys)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "files/x", f"files/{'A' * 64}"])
def test_a_name_that_export_does_not_write_is_refused(
    name: str, tmp_path: Path, empty: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(tmp_path / "x.zip", _document(), entry=name)

    assert "is no name of an export's file" in _refused(
        tmp_path / "x.zip", empty, capsys
    )


def test_a_damaged_file_is_refused(
    tmp_path: Path, empty: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.zip"
    _write(file, _document())
    data = file.read_bytes()
    file.write_bytes(data.replace(CONTENT, CONTENT.upper(), 1))
    assert f"{ENTRY} is damaged" in _refused(file, empty, capsys)

    file.write_bytes(data[: len(data) // 2])
    assert "cannot be imported: " in _refused(file, empty, capsys)


def test_a_file_under_the_digest_of_another_is_refused(
    tmp_path: Path, empty: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("manifest.json", json.dumps(_document()))
        archive.writestr(ENTRY, b"another")

    assert "its sha256 is another" in _refused(file, empty, capsys)


def test_zip_bombs_are_refused_before_they_are_unpacked(
    tmp_path: Path, empty: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.zip"
    _write(file, _document())
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"files/{'0' * 64}", bytes(1 << 26))

    assert "as a zip bomb is" in _refused(file, empty, capsys)


def test_links_are_refused(
    tmp_path: Path, empty: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.zip"
    _write(file, _document())
    link = zipfile.ZipInfo(f"files/{'0' * 64}")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(link, "/etc/passwd")

    assert "is a link" in _refused(file, empty, capsys)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused(
    tmp_path: Path, empty: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.zip"
    _write(file, _document())
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(ENTRY, CONTENT)

    assert "is in it twice" in _refused(file, empty, capsys)


def test_other_files_are_refused(
    tmp_path: Path, empty: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.zip"
    file.write_bytes(b"no zip")
    assert "export the versions again" in _refused(file, empty, capsys)

    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(ENTRY, CONTENT)
    assert "it is no export of flipside" in _refused(file, empty, capsys)

    assert "there is no file" in _refused(tmp_path / "absent.zip", empty, capsys)
