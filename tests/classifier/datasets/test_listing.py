"""Files that are listed as images, and notes about the others."""

import os
import socket
from pathlib import Path

import pytest

from classifier.datasets.dataset import BadDataset, part_digest
from classifier.datasets.listing import describe_kinds, has_images, list_images
from tests.classifier.conftest import Open
from tests.conftest import encoded, picture

PNG = encoded(picture(), "PNG")


def _files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PNG)
    return root


def test_images_are_listed_in_the_order_of_their_paths(tmp_path: Path) -> None:
    _files(tmp_path, "b.png", "a/z.JPG", "a-b/c.webp", "a.png")

    listing = list_images(tmp_path)

    assert listing.files == tuple(sorted(p for p in tmp_path.rglob("*") if p.is_file()))
    assert not listing.left_out


@pytest.mark.parametrize(
    "name", ["a.jfif", "a.JPE", "a.jpeg", "a.tif", "a.TIFF", "a.avif", "a", "0001"]
)
def test_known_suffixes_and_images_without_one_are_listed(
    tmp_path: Path, name: str
) -> None:
    assert list_images(_files(tmp_path, name)).names == (name,)


def test_other_files_are_counted_by_their_kind(tmp_path: Path) -> None:
    _files(tmp_path, "a.png", "._a.png", ".git/b.png", "__MACOSX/c.png", "Thumbs.db")
    _files(tmp_path, "x.heic", "y.HEIC", "notes.txt", "a.b c", "@eaDir/d.png")
    (tmp_path / "README").write_text("no image")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "gone").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket.png"))

    listing = list_images(tmp_path)

    assert listing.names == ("a.png",)
    assert describe_kinds(listing.left_out) == (
        "5 hidden, 2 .heic, 1 .txt, 1 device, 1 link that leads nowhere, 1 pipe, "
        "1 socket, 1 with an odd suffix, 1 without a suffix"
    )


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    elsewhere = _files(tmp_path / "elsewhere", "one.png", "deep/two.png")
    folder = _files(tmp_path / "folder", "own.png")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "file.png").symlink_to(elsewhere / "one.png")

    assert list_images(folder).names == (
        "file.png",
        "linked/deep/two.png",
        "linked/one.png",
        "own.png",
    )


def test_links_back_and_up_are_counted_and_not_followed(tmp_path: Path) -> None:
    cats = _files(tmp_path / "val" / "cat", "a.png", "z/b.png")
    _files(tmp_path / "val" / "dog", "c.png")
    (cats / "again").symlink_to(cats / "z")
    (cats / "self").symlink_to(".")
    (cats / "z" / "up").symlink_to("..")
    (cats / "others").symlink_to("../../val")
    (cats / "round.png").symlink_to("round.png")

    listing = list_images(cats)

    assert listing.names == ("a.png", "round.png", "z/b.png")
    assert listing.left_out == {"link to a folder that is listed already": 4}


def test_a_folder_that_is_named_like_an_image_is_a_folder(
    folders: Path, open_: Open
) -> None:
    _files(folders / "val" / "rose", "odd.JPEG/inside.png")

    names = open_(folders).val.names

    assert "rose/odd.JPEG/inside.png" in names
    assert "rose/odd.JPEG" not in names


def test_both_layouts_note_what_they_left_out_of_which_part(
    folders: Path, tiny: Path, open_: Open
) -> None:
    _files(folders, "train/rose/.ipynb_checkpoints/0.png", "train/stray.png")
    _files(tiny, "train/n01/images/._n01_0.JPEG", "val/images/Thumbs.db")

    assert open_(folders).notes == (
        "left out of train/: 2 .txt, 1 hidden, 1 image beside the classes",
        "left out of val/: 2 .txt",
    )
    assert open_(tiny).notes == (
        "left out of train/: 1 hidden",
        "left out of val/images/: 1 hidden",
    )


def test_a_plain_data_set_has_no_notes(tiny: Path, open_: Open) -> None:
    assert open_(tiny).notes == ()


@pytest.mark.parametrize("layout", ["folders", "tiny"])
def test_dead_links_stay_in_the_part(
    layout: str, open_: Open, request: pytest.FixtureRequest
) -> None:
    root = request.getfixturevalue(layout)
    before = open_(root).val
    digest = part_digest(before)
    file = before.files[1]
    file.unlink()
    file.symlink_to("/annex/objects/gone")

    after = open_(root).val

    assert after.names == before.names
    assert part_digest(after) != digest


def test_a_dead_link_that_could_be_a_class_is_refused(
    folders: Path, open_: Open
) -> None:
    (folders / "val" / "tulip").symlink_to("/mnt/gone/tulip")

    with pytest.raises(BadDataset, match=r"tulip is a link to '/mnt/gone/tulip'"):
        open_(folders)


def test_a_linked_class_is_a_class(folders: Path, open_: Open) -> None:
    (folders / "train" / "rose").rename(folders / "roses")
    (folders / "train" / "rose").symlink_to("../roses")

    train = open_(folders).train

    assert train is not None
    assert train.class_ids == ("daisy", "daisy", "rose", "rose")


def test_the_error_of_a_class_without_images_names_its_files(
    folders: Path, open_: Open
) -> None:
    for file in (folders / "val" / "rose").glob("*.png"):
        file.rename(file.with_suffix(".heic"))

    with pytest.raises(
        BadDataset,
        match=r"'rose' has no images in .*, which has 2 \.heic, 1 \.txt; .*\.jpg, ",
    ):
        open_(folders)


def test_has_images_stops_at_the_first_image(tmp_path: Path) -> None:
    assert not has_images(_files(tmp_path, "a.txt", ".b.png"))
    assert has_images(_files(tmp_path, "deep/down/c.png"))
