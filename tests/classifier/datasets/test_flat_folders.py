"""Images without parts: recognised, split by their bytes, and labelled by a table."""

import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from classifier.datasets.dataset import BadDataset, Dataset
from classifier.datasets.split import Splitting, merged, read_split
from tests.classifier.conftest import Open

CLASSES = ("cat", "dog")
BY_HASH = Splitting(val_fraction=0.2)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of 40 files with an image's name; nothing here decodes them."""
    root = tmp_path / "photos"
    for class_id in CLASSES:
        (root / class_id).mkdir(parents=True)
        for number in range(40):
            (root / class_id / f"{number}.jpg").write_text(f"{class_id} {number}")
    return root


def _sides(dataset: Dataset) -> dict[str, str]:
    assert dataset.train is not None
    return {
        **dict.fromkeys(dataset.train.names, "train"),
        **dict.fromkeys(dataset.val.names, "val"),
    }


def _recorded(dataset: Dataset, *, takes_all: bool = False) -> Splitting:
    return Splitting(recorded=read_split(dataset.split), takes_all=takes_all)


def test_class_folders_without_parts_are_split_and_named_by_path(
    photos: Path, open_: Open
) -> None:
    dataset = open_(photos, splitting=BY_HASH)

    assert dataset.name == "photos"
    assert dataset.source == str(photos)
    assert dataset.labels.ids == CLASSES
    sides = _sides(dataset)
    assert len(sides) == 80
    assert 8 <= Counter(sides.values())["val"] <= 24
    assert "cat/0.jpg" in sides


def test_a_file_keeps_its_side_when_others_come_go_and_are_renamed(
    photos: Path, open_: Open
) -> None:
    before = _sides(open_(photos, splitting=BY_HASH))
    for number in range(40, 60):
        (photos / "dog" / f"{number}.jpg").write_text(f"dog {number}")
    (photos / "cat" / "3.jpg").unlink()
    (photos / "cat" / "4.jpg").rename(photos / "cat" / "four.jpg")

    after = _sides(open_(photos, splitting=BY_HASH))

    assert after["cat/four.jpg"] == before["cat/4.jpg"]
    both = before.keys() & after.keys()
    assert len(both) == 78
    assert all(after[name] == before[name] for name in both)


@pytest.mark.parametrize(("fraction", "one"), [(1e-9, "val"), (1 - 1e-9, "train")])
def test_each_class_has_an_image_on_either_side(
    photos: Path, open_: Open, fraction: float, one: str
) -> None:
    dataset = open_(photos, splitting=Splitting(val_fraction=fraction))

    of_side = Counter(
        name.partition("/")[0] for name, side in _sides(dataset).items() if side == one
    )
    assert of_side == dict.fromkeys(CLASSES, 1)


def test_copies_lie_on_one_side_and_in_one_class(photos: Path, open_: Open) -> None:
    for number in range(40):
        shutil.copy(photos / "cat" / f"{number}.jpg", photos / "cat" / f"c{number}.jpg")
    shutil.copy(photos / "cat" / "0.jpg", photos / "dog" / "cat.jpg")

    dataset = open_(photos, splitting=BY_HASH)

    sides = _sides(dataset)
    for number in range(40):
        assert sides[f"cat/{number}.jpg"] == sides[f"cat/c{number}.jpg"]
    assert "1 images lie in several classes" in dataset.notes


def test_a_class_that_cannot_be_split_is_refused(photos: Path, open_: Open) -> None:
    (photos / "eel").mkdir()
    for name in ("a.jpg", "copy.jpg"):
        (photos / "eel" / name).write_text("the same")

    with pytest.raises(BadDataset, match="class 'eel' has one image, or copies of one"):
        open_(photos, splitting=BY_HASH)


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
@pytest.mark.parametrize("above", ["photos", "."])
def test_an_archive_of_class_folders_is_split_alike(
    photos: Path, open_: Open, suffix: str, above: str
) -> None:
    archive = photos.parent / f"pets{suffix}"
    at = photos.parent if above == "photos" else photos
    pack = "zip -qr" if suffix == ".zip" else "tar -czf"
    inside = "photos" if above == "photos" else "cat dog"
    subprocess.run(f"{pack} {archive} {inside}", shell=True, check=True, cwd=at)

    dataset = open_(archive, splitting=BY_HASH)

    assert dataset.name == "pets"
    assert dataset.source == str(archive)
    assert _sides(dataset) == _sides(open_(photos, splitting=BY_HASH))


def test_the_recorded_split_holds_and_files_it_does_not_know_are_left_out(
    photos: Path, open_: Open
) -> None:
    first = open_(photos, splitting=BY_HASH)
    for number in range(40, 45):
        (photos / "dog" / f"{number}.jpg").write_text(f"dog {number}")
    (photos / first.val.names[0]).unlink()

    again = open_(photos, splitting=_recorded(first))
    whole = open_(photos, splitting=_recorded(first, takes_all=True), want_train=False)
    calibrating = open_(photos, splitting=_recorded(first, takes_all=True))

    assert again.val.names == first.val.names[1:]
    assert again.train == first.train
    assert again.notes[:2] == (
        "left out 5 files that the recorded split does not know; --part all takes them",
        "1 validation images of the recorded split are not there",
    )
    assert len(whole.val) == 84
    assert whole.train is None
    assert first.train is not None
    assert f"trained on {len(first.train)} of them, which flatters" in whole.notes[0]
    assert calibrating.val == again.val
    assert calibrating.train is not None
    assert len(calibrating.train) == len(first.train) + 5


def test_what_either_version_was_trained_on_measures_neither(
    photos: Path, open_: Open
) -> None:
    wide = open_(photos, splitting=Splitting(val_fraction=0.5))
    narrow = open_(photos, splitting=BY_HASH)
    both = merged(read_split(dataset.split) for dataset in (wide, narrow))

    dataset = open_(photos, splitting=Splitting(recorded=both), want_train=False)

    assert set(dataset.val.names) == set(wide.val.names) & set(narrow.val.names)


@pytest.mark.parametrize("takes_all", [False, True])
def test_without_a_recorded_split_only_all_images_can_be_taken(
    photos: Path, open_: Open, takes_all: bool
) -> None:
    splitting = Splitting(takes_all=takes_all)
    if takes_all:
        assert len(open_(photos, splitting=splitting, want_train=False).val) == 80
        return

    with pytest.raises(BadDataset, match="recorded no split; --part all takes"):
        open_(photos, splitting=splitting, want_train=False)


def test_other_images_than_the_runs_are_told_from_them(
    photos: Path, open_: Open
) -> None:
    recorded = _recorded(open_(photos, splitting=BY_HASH))
    for file in photos.glob("*/*.jpg"):
        file.write_text(f"other {file.name} {file.parent.name}")

    with pytest.raises(BadDataset, match=r"none of the 80 images .* --part all"):
        open_(photos, splitting=recorded)


def test_a_damaged_record_is_refused() -> None:
    with pytest.raises(BadDataset, match=r"split\.csv is damaged"):
        read_split("file,label,part,sha256\na.jpg,cat,both,00\n")
    assert read_split(None) is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("rm -r dog", "a data set is a folder with"),
        ("mkdir train && mv cat dog train", "name .*train with --data, and it is spl"),
        ("mkdir valid && mv cat dog valid", "rename or link 'valid' to 'val'"),
        ("rm dog/*", "a data set is a folder with"),
        ("mkdir eel", "class 'eel' has no images"),
    ],
)
def test_what_is_no_flat_folder_is_told_from_one(
    photos: Path, open_: Open, damage: str, message: str
) -> None:
    subprocess.run(damage, shell=True, check=True, cwd=photos)

    with pytest.raises(BadDataset, match=message):
        open_(photos, splitting=BY_HASH)


@pytest.mark.parametrize("name", ["train", "val"])
def test_a_class_called_like_a_part_is_a_class_among_others(
    photos: Path, open_: Open, name: str
) -> None:
    (photos / "dog").rename(photos / name)

    dataset = open_(photos, splitting=BY_HASH)

    assert dataset.labels.ids == ("cat", name)
    assert f"{name}/ is taken for a class, as others lie beside it" in dataset.notes
    again = open_(photos, want_train=False, splitting=_recorded(dataset))
    assert again.val.names == dataset.val.names
    inner = open_(photos.parent, splitting=BY_HASH)
    assert inner.labels.ids == ("cat", name)
    assert inner.notes[0] == "the data set is in photos"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # One part that has class folders, beside what looks like classes.
        ("mkdir train && mv cat train && cp -r dog eel", "beside it are dog, eel with"),
        ("mkdir val && mv cat val && cp -r dog eel", "if 'val' is a part, move the"),
        # Parts without class folders.
        ("mv cat train; mv dog val", "val has no class folders .*40 image"),
        ("mv cat train; cp -r dog val", "val has no class folders"),
        ("mv cat train; mv dog test", "'train' and 'test': rename or link"),
        ("mv cat train; cp -r dog test", "'train' and 'test': rename or link"),
    ],
)
def test_what_may_be_a_part_or_a_class_is_refused(
    photos: Path, open_: Open, change: str, message: str
) -> None:
    subprocess.run(change, shell=True, check=True, cwd=photos)

    with pytest.raises(BadDataset, match=message):
        open_(photos, splitting=BY_HASH)


def test_a_part_alone_is_measured_and_its_neighbours_are_told(
    photos: Path, open_: Open
) -> None:
    (photos / "val").mkdir()
    for class_id in CLASSES:
        shutil.copytree(photos / class_id, photos / "val" / class_id)

    dataset = open_(photos, want_train=False)

    assert len(dataset.val) == 80
    note = "val/ is taken for a part, so cat, dog beside it are not read"
    assert dataset.notes == (note,)


def test_known_tables_and_texts_beside_the_classes_are_not_counted(
    photos: Path, open_: Open
) -> None:
    for name in ("words.txt", "wnids.txt", "labels.csv", "README.md", "LICENSE"):
        (photos / name).write_text("cat\tCat, Felis catus\n")
    (photos / "README.roboflow.txt").write_text("no image")
    assert open_(photos, splitting=BY_HASH).notes == ()
    (photos / "notes.txt").write_text("no image")
    (photos / "cat" / "labels.csv").write_text("no image")

    dataset = open_(photos, splitting=BY_HASH)

    assert dataset.notes == ("left out of photos/: 1 .csv, 1 .txt",)
    assert dataset.labels.names == ("Cat", "dog")


def test_a_class_called_test_is_a_class(photos: Path, open_: Open) -> None:
    (photos / "dog").rename(photos / "test")

    assert open_(photos, splitting=BY_HASH).labels.ids == ("cat", "test")


@pytest.fixture
def table(photos: Path) -> Path:
    """The same images in one folder, and a table of their classes beside it."""
    lines = ["file,label"]
    for file in sorted(photos.glob("*/*.jpg")):
        name = f"{file.parent.name}-{file.name}"
        lines.append(f"{name},{file.parent.name}")
        file.rename(photos / name)
    for class_id in CLASSES:
        (photos / class_id).rmdir()
    table = photos.parent / "labels.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("\n", "\r\n"),
        ("file,label", "\ufeffFile, Label"),
        (",", ";"),
        (",", "\t"),
        ("\ncat-", "\nphotos/cat-"),  # as seen from the table's folder
        ("\ndog-", "\n./dog-"),
        (",", ",more,"),
        ("file,label", '\ufeff"FILE","LABEL"'),
        (",", '";"'),  # as a spreadsheet writes it in Germany
        ("\ncat-", "\n.\\cat-"),
        ("\ncat-", "\nphotos\\cat-"),
    ],
)
def test_a_table_gives_the_classes_of_images_in_one_folder(
    photos: Path, table: Path, open_: Open, old: str, new: str
) -> None:
    text = table.read_text()
    if "photos" in new:
        text = text.replace("\ndog-", new.replace("cat", "dog"))
    text = text.replace(old, new) if old else text
    if new == '";"':
        text = "\ufeff" + "".join(f'"{line}"\r\n' for line in text.splitlines())
    table.write_bytes(text.encode())

    dataset = open_(photos, labels=table, splitting=BY_HASH)

    assert dataset.labels.ids == CLASSES
    sides = _sides(dataset)
    assert len(sides) == 80
    assert "cat-0.jpg" in sides


def test_the_table_itself_is_not_left_out(
    photos: Path, table: Path, open_: Open
) -> None:
    (photos / "notes.txt").write_text("no image")
    inside = table.rename(photos / "truth.csv")

    dataset = open_(photos, splitting=BY_HASH, labels=inside)

    assert dataset.notes == ("left out of photos/: 1 .txt",)


def test_the_record_gives_the_classes_where_the_table_is_not_named_again(
    photos: Path, table: Path, open_: Open
) -> None:
    first = open_(photos, labels=table, splitting=BY_HASH)
    (photos / "new.jpg").write_text("new")

    again = open_(photos, splitting=_recorded(first))

    assert (again.val, again.train) == (first.val, first.train)
    assert "left out 1 file that" in again.notes[0]
    with pytest.raises(BadDataset, match=r"1 images have no class.*--labels"):
        open_(photos, splitting=_recorded(first, takes_all=True), want_train=False)


def test_images_without_a_line_are_left_out(
    photos: Path, table: Path, open_: Open
) -> None:
    (photos / "new.jpg").write_text("new")

    dataset = open_(photos, labels=table, splitting=BY_HASH)

    assert f"left out 1 image without a line in {table}" in dataset.notes
    assert "new.jpg" not in _sides(dataset)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nowhere.jpg,cat", r"1 of the 81 files .* are no images .*nowhere\.jpg"),
        ("cat-1.jpg,dog", r"line 82 of .* has a second label of 'cat-1\.jpg'"),
        ("cat-1.jpg,", "line 82 of .* has no file,label"),
        ("cat-1.jpg", "line 82 of .* has no file,label"),
        ("cat-1.jpg,cat", ""),
    ],
)
def test_a_wrong_line_of_the_table_is_named(
    photos: Path, table: Path, open_: Open, line: str, message: str
) -> None:
    table.write_text(f"{table.read_text()}{line}\n")
    if not message:
        assert len(_sides(open_(photos, labels=table, splitting=BY_HASH))) == 80
        return

    with pytest.raises(BadDataset, match=message):
        open_(photos, labels=table, splitting=BY_HASH)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg,cat\n", "must name the columns 'file' and 'label'"),
        ("", "must name the columns"),
        ("File,file,label\na,b,cat\n", "'file' and 'label', each once"),
        ("file,label\nd\\a.jpg,cat\n", "none of the 1 files"),
        ("file,label\na/b.jpg,cat\n", r"none of the 1 files .* such as 'cat-0\.jpg'"),
    ],
)
def test_another_table_is_refused(
    photos: Path, table: Path, open_: Open, text: str, message: str
) -> None:
    table.write_text(text)

    with pytest.raises(BadDataset, match=message):
        open_(photos, labels=table, splitting=BY_HASH)


def test_an_absent_table_is_told(photos: Path, open_: Open) -> None:
    with pytest.raises(BadDataset, match=r"there is no file .*nowhere"):
        open_(photos, labels=photos / "nowhere.csv", splitting=BY_HASH)


@pytest.mark.parametrize(
    ("more", "flag"),
    [
        ({"labels": Path("x.csv")}, "--labels"),
        ({"splitting": Splitting(takes_all=True)}, "--part all"),
    ],
)
def test_data_with_parts_takes_no_flags_of_flat_folders(
    folders: Path, open_: Open, more: dict[str, object], flag: str
) -> None:
    for source in (folders, "digits"):
        with pytest.raises(BadDataset, match=f"{flag} is for images without train/"):
            open_(source, **more)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_split_and_told_when_it_is_decoded(
    photos: Path, open_: Open
) -> None:
    (photos / "cat" / "0.jpg").chmod(0)

    assert _sides(open_(photos, splitting=BY_HASH))["cat/0.jpg"] == "train"
