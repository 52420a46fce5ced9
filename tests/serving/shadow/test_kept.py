"""The folder of images on which default and shadow version differ."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classifier.storage import BadPlace
from serving.shadow import kept as module
from serving.shadow.kept import KeptImages, NothingKept
from tests.conftest import encoded, picture

PIXELS = np.asarray(picture(16, 16))
JPEG = encoded(picture())


def test_a_file_is_kept_as_it_was_sent_and_pixels_as_a_picture(tmp_path: Path) -> None:
    kept = KeptImages(tmp_path / "new" / "folder")

    kept.add(JPEG, PIXELS, {"default": 1, "shadow": 2})
    kept.add(None, PIXELS, {"default": 3, "shadow": 4})

    first, second = kept.entries()
    assert (first["default"], second["shadow"]) == (1, 4)
    assert first["image"].endswith(".jpeg")
    assert kept.image(first["image"]) == JPEG
    read = Image.open(BytesIO(kept.image(second["image"])))
    np.testing.assert_array_equal(np.asarray(read), PIXELS)
    assert (tmp_path / "new" / "folder").stat().st_mode & 0o77 == 0


def test_the_oldest_goes_first_and_files_of_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    others = ["notes.json", "00000101T000000000000Z.png", "a.jpeg"]
    for name in others:
        (tmp_path / name).write_text("mine")
    kept = KeptImages(tmp_path)

    for number in range(5):
        kept.add(JPEG, PIXELS, {"number": number})

    assert [entry["number"] for entry in kept.entries()] == [2, 3, 4]
    assert len(list(tmp_path.iterdir())) == 2 * 3 + len(others)
    assert all((tmp_path / name).read_text() == "mine" for name in others)


def test_an_image_without_its_answers_is_not_listed(tmp_path: Path) -> None:
    """As after a kill between the two files."""
    kept = KeptImages(tmp_path)
    kept.add(JPEG, PIXELS, {})
    (document,) = tmp_path.glob("*.json")
    document.unlink()

    assert kept.entries() == []


@pytest.mark.parametrize("name", ["x.jpeg", "../secret", "notes.json", ""])
def test_no_other_file_is_read(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "kept"
    kept = KeptImages(folder)
    (tmp_path / "secret").write_text("secret")
    (folder / "notes.json").write_text(json.dumps({}))

    with pytest.raises(NothingKept, match="GET /shadow/images"):
        kept.image(name)


def test_a_place_that_is_no_folder_is_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    with pytest.raises(BadPlace, match="--shadow-keep"):
        KeptImages(file)
