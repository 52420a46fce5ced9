"""Pictures on which the versions disagree."""

import base64
import json
from pathlib import Path

import pytest

from compare.collect.images import Images
from compare.report import differing
from compare.report.differing import write_differing
from compare.results.comparison import Comparison
from compare.results.record import Record
from tests.compare.conftest import made_up_comparison, served


def _images(comparison: Comparison, folder: Path) -> Images:
    """A file for each image, with its name as bytes."""
    files = tuple(folder / name for name in comparison.names)
    for file in files:
        file.write_bytes(file.name.encode())
    return Images(
        data_name="digits",
        source="digits",
        digest="d1",
        available=len(files),
        names=comparison.names,
        files=files,
        class_ids=None,
    )


def _record(images: Images) -> Record:
    return Record(
        a=served("8"),
        b=served("16"),
        data_name=images.data_name,
        data_digest=images.digest,
        names=images.names,
        class_ids=images.class_ids,
        available=images.available,
    )


@pytest.mark.parametrize("labelled", [True, False])
def test_they_are_kept_with_the_answers_of_both(tmp_path: Path, labelled: bool) -> None:
    comparison = made_up_comparison(labelled=labelled)
    images = _images(comparison, tmp_path)

    write_differing(tmp_path, _record(images), images, comparison)

    kept = json.loads((tmp_path / "differing.json").read_text())
    assert kept["a"] == {"model": "m", "version": "8", "run_id": "run-8"}
    assert kept["b"] == {"model": "m", "version": "16", "run_id": "run-16"}
    assert len(kept["pictures"]) == 12
    for picture in kept["pictures"]:
        row = comparison.names.index(picture["name"])
        assert comparison.disagrees[row]
        assert base64.b64decode(picture["b64"]) == picture["name"].encode()
        assert (picture["truth"] is not None) is labelled
        for side, top in (("a", comparison.a), ("b", comparison.b)):
            ids = [comparison.labels.ids[index] for index in top.indices[row]]
            assert [answer["id"] for answer in picture[side]] == ids
            probabilities = [answer["probability"] for answer in picture[side]]
            assert probabilities == top.probabilities[row].tolist()


def test_pictures_that_are_too_large_or_gone_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = made_up_comparison()
    images = _images(comparison, tmp_path)
    monkeypatch.setattr(differing, "MOST_BYTES", 20)

    write_differing(tmp_path, _record(images), images, comparison)

    kept = json.loads((tmp_path / "differing.json").read_text())
    assert [len(picture["name"]) <= 20 for picture in kept["pictures"]] == [True] * 2

    for file in images.files:
        file.unlink()
    write_differing(tmp_path, _record(images), images, comparison)
    assert not (tmp_path / "differing.json").exists()
