"""docs/architecture.md lists the modules that exist, by their first lines."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()
TREE = "\nclassifier/" + PAGE.split("```text\nclassifier/")[1].split("```")[0]
PACKAGES = ("classifier", "training", "serving", "compare")
MODULES = [
    path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if path.name != "__init__.py"
]
MOST_ENTRIES = 10


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_tree_has_each_chapter_with_its_first_line(path: Path) -> None:
    purpose = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]

    room = TREE.split(f"\n{path.parent.relative_to(ROOT)}/")[1].split("\n\n")[0]
    assert f"  {path.name} " in room
    assert purpose in room


def test_the_tree_has_no_chapter_that_does_not_exist() -> None:
    named = [line.split()[0] for line in TREE.splitlines() if line.startswith("  ")]
    there = [path.name for path in MODULES]
    assert sorted(name for name in named if name.endswith(".py")) == sorted(there)


def test_no_folder_has_more_than_ten_entries() -> None:
    """`__init__.py` and `__main__.py` are not counted, nor is `upkeep`.

    It is the room of classifier's `__main__`: the library has a program too.
    """
    folders = {path for package in PACKAGES for path in (ROOT / package).rglob("*/")}
    folders |= {ROOT / package for package in PACKAGES}

    for folder in folders:
        names = {path.name for path in folder.iterdir()}
        names -= {"__init__.py", "__main__.py", "upkeep", "__pycache__"}
        assert len(names) <= MOST_ENTRIES, folder
