"""comparison.json, and the folder that it marks as a comparison's."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from compare.results.gates import parse_gate
from compare.results.record import (
    COMPARISON,
    ForeignFolder,
    Record,
    open_folder,
    read_record,
)
from tests.compare.conftest import served


def _record() -> Record:
    return Record(
        a=replace(served("8"), aliases=("best",)),
        b=served("16", ("n0", "n1")),
        data_name="digits",
        data_digest="d2" * 32,
        names=("ü.png", "b.png"),
        class_ids=("n0", "n1"),
        available=3,
        gates=(parse_gate("delta.low<-0.005"),),
        allow_missing=1,
        data_notes=("left out of val/: 1 .txt",),
    )


def test_a_record_is_read_as_it_was_kept(tmp_path: Path) -> None:
    record = _record()

    assert open_folder(tmp_path, record, fresh=False) == record
    assert read_record(tmp_path) == record


def test_another_backend_is_another_comparison_if_both_are_known(
    tmp_path: Path,
) -> None:
    def record(served_as: str | None) -> Record:
        whole = _record()
        return replace(whole, a=replace(whole.a, served_as=served_as))

    open_folder(tmp_path, record("onnx;fp32"), fresh=False)

    unknown = open_folder(tmp_path, record(None), fresh=False)
    assert unknown.a.served_as == "onnx;fp32"
    with pytest.raises(ForeignFolder, match="another backend of the baseline"):
        open_folder(tmp_path, record("openvino;fp32"), fresh=False)


def test_other_data_and_images_left_out_are_noted() -> None:
    assert _record().notes == [
        "v8 was validated on other data: digest d1, here d2d2d2d2d2d2",
        "v16 was validated on other data: digest d1, here d2d2d2d2d2d2",
        "only 2 of 3 images were compared, a fixed sample by class",
        "left out of val/: 1 .txt",
    ]
    plain = replace(_record(), data_notes=())
    assert replace(plain, data_digest="d1", available=2).notes == []
    one = replace(plain, data_digest="d1", names=("ü.png",), class_ids=("n0",))
    assert one.notes == ["only 1 of 3 images was compared, a fixed sample by class"]
    # without labels a digest is of another kind
    assert replace(plain, class_ids=None).notes == [
        "only 2 of 3 images were compared, a fixed sample"
    ]


def test_an_older_record_says_that_the_first_images_were_asked(tmp_path: Path) -> None:
    open_folder(tmp_path, _record(), fresh=False)
    kept = json.loads((tmp_path / COMPARISON).read_text())
    del kept["is_sample"]
    (tmp_path / COMPARISON).write_text(json.dumps(kept))

    note = read_record(tmp_path).notes[-2]

    assert note.startswith(
        "only the first 2 of 3 images were compared, which may be of"
    )


def test_a_record_of_the_first_wave_has_no_notes_of_its_data(tmp_path: Path) -> None:
    open_folder(tmp_path, _record(), fresh=False)
    document = json.loads((tmp_path / COMPARISON).read_text())
    del document["data_notes"]
    (tmp_path / COMPARISON).write_text(json.dumps(document))

    assert read_record(tmp_path) == replace(_record(), data_notes=())


def test_aliases_stay_those_of_the_first_start(tmp_path: Path) -> None:
    """Aliases move; the same answers must give the same files later."""
    open_folder(tmp_path, _record(), fresh=False)
    later = replace(_record(), a=replace(served("8"), aliases=()), gates=())

    kept = open_folder(tmp_path, later, fresh=False)

    assert kept.a.aliases == ("best",)
    assert kept.gates == ()
    other = replace(later, b=served("9"))
    assert open_folder(tmp_path, other, fresh=True).a.aliases == ()


@pytest.mark.parametrize("content", [None, "", "{}", "[1]", '{"a": 1}'])
def test_a_folder_without_a_record_is_foreign(
    content: str | None, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / COMPARISON).write_text(content)

    with pytest.raises(ForeignFolder, match="holds no comparison"):
        read_record(tmp_path)


def test_the_same_comparison_may_go_on_in_its_folder(tmp_path: Path) -> None:
    open_folder(tmp_path / "x", _record(), fresh=False)
    (tmp_path / "x" / "answers.jsonl").write_text("kept")

    open_folder(tmp_path / "x", _record(), fresh=False)

    assert (tmp_path / "x" / "answers.jsonl").read_text() == "kept"


@pytest.mark.parametrize(
    "other",
    [
        replace(_record(), a=served("7")),
        replace(_record(), b=replace(served("16"), run_id="another")),
        replace(_record(), data_digest="def"),
        replace(_record(), a=replace(served("8"), model="n")),
    ],
)
def test_another_comparison_is_refused_unless_fresh(
    tmp_path: Path, other: Record
) -> None:
    folder = tmp_path / "x"
    open_folder(folder, other, fresh=False)
    (folder / "answers.jsonl").write_text("of the other")

    with pytest.raises(ForeignFolder, match=r"another .*--fresh"):
        open_folder(folder, _record(), fresh=False)
    assert (folder / "answers.jsonl").read_text() == "of the other"

    open_folder(folder, _record(), fresh=True)
    assert read_record(folder) == _record()


def test_a_folder_that_an_older_version_began_goes_on(tmp_path: Path) -> None:
    """It wrote identity.json first, and was killed."""
    (tmp_path / "identity.json").write_text("{}")

    open_folder(tmp_path, _record(), fresh=False)

    assert read_record(tmp_path) == _record()


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")

    with pytest.raises(ForeignFolder, match="no comparison"):
        open_folder(tmp_path, _record(), fresh=False)


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a file")

    with pytest.raises(ForeignFolder, match="is a file"):
        open_folder(tmp_path / "x", _record(), fresh=False)


def test_a_folder_that_a_kill_left_at_its_first_moment_is_continued(
    tmp_path: Path,
) -> None:
    (tmp_path / "comparison.json.partial").write_text("{")

    open_folder(tmp_path, _record(), fresh=False)

    assert [file.name for file in tmp_path.iterdir()] == ["comparison.json"]
