"""A page of several tables: each is replaced alone, and names nobody's folders."""

import sys
from pathlib import Path

import pytest

from benchmarks.report import has_table, write_table


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    command = ["/opt/x/benchmarks/training.py", "--data", "/home/somebody/tiny/"]
    monkeypatch.setattr(sys, "argv", command)
    return tmp_path / "benchmarks.md"


def test_a_table_takes_the_place_of_the_last_one_of_its_title(page: Path) -> None:
    write_table("Training", ("", "ratio"), [("old", "1.0")], page=page)
    write_table("Training on a GPU", ("", "ratio"), [("other", "2.0")], page=page)
    write_table("Training", ("", "ratio"), [("new", "3.0")], note="A note.", page=page)

    text = page.read_text()
    assert text.startswith("# Benchmarks\n\n## Training\n")
    assert "old" not in text
    assert text.index("| new | 3.0 |") < text.index("A note.")
    assert text.index("A note.\n\n## Training on a GPU") < text.index("| other | 2.0 |")


def test_writing_the_same_table_twice_changes_nothing(page: Path) -> None:
    for title in ("One", "Two", "One"):
        write_table(title, ("", "ratio"), [("row", "1.0")], page=page)
    once = page.read_text()
    write_table("Two", ("", "ratio"), [("row", "1.0")], page=page)

    assert page.read_text() == once


def test_the_command_names_the_last_part_of_a_path_alone(page: Path) -> None:
    write_table("Training", ("",), [("row",)], page=page)

    assert "benchmarks.training --data tiny`" in page.read_text()
    assert "somebody" not in page.read_text()


def test_a_title_is_there_only_where_it_is_whole(page: Path) -> None:
    assert not has_table("Training", page)

    write_table("Training on a GPU", ("",), [("row",)], page=page)

    assert has_table("Training on a GPU", page)
    assert not has_table("Training", page)
