"""Layouts: tables of several systems, and images that users sorted themselves."""

import codecs
from collections.abc import Callable
from pathlib import Path
from typing import Literal
from unicodedata import normalize

import pytest

from classifier.datasets.dataset import BadDataset, part_digest
from classifier.datasets.layouts import class_names, table_lines
from tests.classifier.conftest import Open


@pytest.mark.parametrize(
    "data",
    [
        b"rose\tRos\xc3\xa9e, Rosa\nlily\tLily\n",
        b"\xef\xbb\xbfrose\tRos\xc3\xa9e, Rosa\r\nlily\tLily\r\n\r\n",
        b"rose\tRos\xe9e, Rosa\nlily\tLily\n",  # Latin-1
        b"rose\tRos\xe9e, Rosa\nlily\tLily\r",
        b"rose  Ros\xc3\xa9e, Rosa\nlily Lily",
        b"\n \nrose\t Ros\xc3\xa9e , Rosa\n\n\nlily\tLily\n\x1a \n",
        codecs.BOM_UTF16_LE + "rose\tRosée, Rosa\r\nlily\tLily\r\n".encode("utf-16-le"),
    ],
    ids=["plain", "mark and CRLF", "Latin-1", "CR", "blanks", "empty lines", "UTF-16"],
)
def test_names_are_read_in_every_encoding(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "words.txt").write_bytes(data)

    names = class_names(tmp_path, ["rose", "lily", "tulip"])

    assert names == {"rose": "Rosée", "lily": "Lily"}


def test_quotes_of_windows_are_read_and_other_lines_stay_utf8(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_bytes(b"a\tit\x92s\nb\t\xe2\x82\xac\nc\t\x81\n")

    assert [line for _, line in table_lines(file)] == [
        "a\tit\u2019s",
        "b\t€",
        "c\t\x81",
    ]


def test_a_class_is_named_in_every_unicode_form_of_its_id(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("café\tCoffee house\n")
    of_macos = normalize("NFD", "café")

    assert class_names(tmp_path, [of_macos]) == {of_macos: "Coffee house"}


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text.replace("\n", "\r\n") + "\r\n",
        lambda text: text.replace("\t", " "),
        lambda text: text + "\n\n",
    ],
)
def test_annotations_with_windows_line_ends_are_the_same(
    tiny: Path, open_: Open, change: Callable[[str], str]
) -> None:
    before = open_(tiny).val
    table = tiny / "val" / "val_annotations.txt"
    table.write_bytes(change(table.read_text()).encode())

    assert open_(tiny).val == before


@pytest.mark.parametrize("place", ["val/{}", "val/{}/images", "val/images/{}"])
@pytest.mark.parametrize("with_table", [True, False])
def test_images_that_were_sorted_into_class_folders_are_the_same_data(
    tiny: Path, open_: Open, place: str, with_table: bool
) -> None:
    before = open_(tiny).val
    digest = part_digest(before)
    table = tiny / "val" / "val_annotations.txt"
    for file, class_id in zip(before.files, before.class_ids, strict=True):
        folder = tiny / place.format(class_id)
        folder.mkdir(parents=True, exist_ok=True)
        file.rename(folder / file.name)
    if not with_table:
        table.unlink()
        if place != "val/images/{}":
            (tiny / "val" / "images").rmdir()

    dataset = open_(tiny)

    assert part_digest(dataset.val) == digest
    is_noted = any("val_annotations.txt is not read" in n for n in dataset.notes)
    assert is_noted == with_table


def test_copies_in_class_folders_do_not_replace_the_table(
    tiny: Path, open_: Open
) -> None:
    before = open_(tiny).val
    (tiny / "val" / "n01").mkdir()
    (tiny / "val" / "n01" / "copy.JPEG").write_bytes(before.files[0].read_bytes())

    dataset = open_(tiny)

    assert dataset.val.names == before.names
    assert "val_annotations.txt names all images" in dataset.notes[-1]


def test_a_part_that_is_half_sorted_is_refused(tiny: Path, open_: Open) -> None:
    file = open_(tiny).val.files[0]
    (tiny / "val" / "n02").mkdir()
    file.rename(tiny / "val" / "n02" / file.name)

    with pytest.raises(BadDataset, match=r"val is half sorted.*val_0\.JPEG"):
        open_(tiny)


def test_classes_that_differ_by_unicode_form_are_refused(
    folders: Path, open_: Open
) -> None:
    forms: dict[str, Literal["NFC", "NFD"]] = {"train": "NFC", "val": "NFD"}
    for part, form in forms.items():
        (folders / part / "rose").rename(folders / part / normalize(form, "rosée"))

    with pytest.raises(
        BadDataset, match=r"'ros\\xe9e' and 'rose\\u0301e', and differ by.*NFD.*convmv"
    ):
        open_(folders)


def test_two_classes_of_one_part_that_look_alike_are_noted(
    folders: Path, open_: Open
) -> None:
    for part in ("train", "val"):
        for name, form in (("rose", "caf\u00e9"), ("daisy", "cafe\u0301")):
            (folders / part / name).rename(folders / part / form)

    dataset = open_(folders)

    assert len(dataset.labels) == 2
    assert "look alike" in dataset.val.notes[0]
    assert "convmv" not in dataset.val.notes[0]
