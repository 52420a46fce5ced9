"""A folder of flagged pictures: written whole, within limits, and read by compare."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from classifier.datasets import flagged
from classifier.datasets.dataset import BadDataset
from classifier.datasets.flagged import (
    PICKED,
    FlaggedFull,
    is_flagged,
    keep_flagged,
    make_flagged_folder,
)
from classifier.datasets.source import open_dataset
from compare.collect.images import WantedImages, open_images
from tests.conftest import encoded, picture

GOLDFISH = {"id": "n01", "name": "goldfish"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "flagged"
    make_flagged_folder(folder)
    return folder


def _image(seed: int) -> bytes:
    return encoded(picture(seed=seed))


def test_a_picture_is_kept_as_it_came_with_its_note_beside_it(folder: Path) -> None:
    image = _image(1)

    name, count = keep_flagged(folder, image, {"truth": GOLDFISH, "results": [1]})

    stem = hashlib.sha256(image).hexdigest()[:20]
    assert (name, count) == (f"{stem}.jpeg", 1)
    assert (folder / name).read_bytes() == image
    note = json.loads((folder / f"{stem}.json").read_text())
    assert note == {"image": name, "truth": GOLDFISH, "results": [1]}


def test_a_picture_that_is_there_gets_the_new_note(folder: Path) -> None:
    for truth in (None, GOLDFISH):
        name, count = keep_flagged(folder, _image(1), {"truth": truth})

    assert count == 1
    assert len(list(folder.iterdir())) == 3
    note = json.loads((folder / name).with_suffix(".json").read_text())
    assert note["truth"] == GOLDFISH


def test_it_is_full_at_a_number_of_pictures_however_many_come_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flagged, "MOST_PICTURES", 3)

    def keep(seed: int) -> bool:
        try:
            keep_flagged(folder, _image(seed), {"truth": None})
        except FlaggedFull:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(keep, range(8))) == 3
    assert len(list(folder.glob("*.jpeg"))) == 3


def test_it_is_full_at_a_number_of_bytes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flagged, "MOST_BYTES", 100)

    with pytest.raises(FlaggedFull, match=r"^0 pictures of 0\.00 MB are kept"):
        keep_flagged(folder, _image(1), {"truth": None})

    assert not list(folder.glob("*.jpeg*"))


def test_those_with_a_true_class_are_a_labelled_set_and_the_others_are_counted(
    folder: Path, tmp_path: Path
) -> None:
    truths = (GOLDFISH, None, {"id": "n02", "name": "tench"})
    names = [
        keep_flagged(folder, _image(seed), {"truth": truth})[0]
        for seed, truth in enumerate(truths)
    ]

    images = open_images(WantedImages(source=str(folder)), versions=())

    assert images.class_ids is not None
    classes = dict(zip(images.names, images.class_ids, strict=True))
    assert classes == {names[0]: "n01", names[2]: "n02"}
    assert images.class_names["n01"] == "goldfish"
    picked, note = images.notes
    assert picked == PICKED
    assert note.startswith("left out 1 flagged pictures without a true class; --part")
    whole = open_images(WantedImages(source=str(folder), takes_all=True), versions=())
    assert (sorted(whole.names), whole.class_ids) == (sorted(names), None)
    with pytest.raises(BadDataset, match="for compare and --evaluate"):
        open_dataset(str(folder), cache=tmp_path, want_train=True)


def test_without_any_true_class_they_are_images_without_labels(folder: Path) -> None:
    name, _ = keep_flagged(folder, _image(1), {"truth": None})

    images = open_images(WantedImages(source=str(folder)), versions=())

    assert (images.names, images.class_ids, images.notes) == ((name,), None, (PICKED,))


def test_a_picture_that_the_operator_deleted_is_not_missed(folder: Path) -> None:
    names = [
        keep_flagged(folder, _image(seed), {"truth": GOLDFISH})[0] for seed in range(2)
    ]
    (folder / names[0]).unlink()

    images = open_images(WantedImages(source=str(folder)), versions=())

    assert images.names == (names[1],)


@pytest.mark.parametrize(
    "note", ["no JSON", "[]", '{"image": "../x.jpeg", "truth": null}', '{"image": 1}']
)
def test_a_damaged_note_is_named(folder: Path, note: str) -> None:
    (folder / "0123.json").write_text(note)

    with pytest.raises(BadDataset, match=r"0123\.json is no note of a flagged picture"):
        open_images(WantedImages(source=str(folder)), versions=())


def test_an_empty_folder_says_how_pictures_come_there(folder: Path) -> None:
    assert is_flagged(folder)
    with pytest.raises(BadDataset, match="mark some on the service's page"):
        open_images(WantedImages(source=str(folder)), versions=())
