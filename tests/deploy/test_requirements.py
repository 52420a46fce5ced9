"""deploy/requirements: images install what is locked by hash, and what we need."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
LOCKS = {
    "serving-cpu": ("serving", "fast", "cpu"),
    "serving-gpu": ("serving", "fast", "gpu"),
    "training-gpu": ("training", "gpu"),
    "compare-cpu": ("compare", "serving", "cpu"),
}


def _locked(name: str) -> dict[str, list[Requirement]]:
    """Entries by library; one may have several, for several Pythons."""
    text = (FOLDER / f"{name}.txt").read_text()
    found: dict[str, list[Requirement]] = {}
    for entry in re.findall(r"^(\w\S*==.*?) \\\n    --hash", text, re.MULTILINE):
        requirement = Requirement(entry)
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_each_library_is_locked_in_the_range_that_flipside_takes(name: str) -> None:
    locked = _locked(name)
    wanted = [*PROJECT["dependencies"], *(w for x in LOCKS[name] for w in EXTRAS[x])]
    for want in map(Requirement, [*wanted, "setuptools>=77"]):
        entries = locked[canonicalize_name(want.name)]
        for entry in entries:
            (pinned,) = entry.specifier
            assert pinned.operator == "=="
            assert want.specifier.contains(pinned.version, prereleases=True), str(want)


@pytest.mark.parametrize(
    "file", sorted(FOLDER.glob("*.txt")), ids=lambda p: str(p.stem)
)
def test_every_entry_has_a_hash_and_no_index_is_named(file: Path) -> None:
    lines = file.read_text().splitlines()
    entries = [line for line in lines if re.match(r"\w", line)]

    assert entries
    assert all("==" in line and line.endswith("\\") for line in entries)
    assert not [line for line in lines if "://" in line or "index" in line.split()[:1]]


def test_a_service_has_neither_torch_nor_two_runtimes() -> None:
    for name in ("serving-cpu", "serving-gpu"):
        locked = _locked(name)
        assert "torch" not in locked
        assert len({"onnxruntime", "onnxruntime-gpu"} & set(locked)) == 1


def test_the_images_install_what_is_locked() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (names,) = re.findall(r"^LOCKS := (.*)$", makefile, re.MULTILINE)
    assert {*names.split()} == {path.stem for path in FOLDER.glob("*.txt")}
    assert {*names.split()} == {*LOCKS, "mlflow"}
    for file in (ROOT / "Dockerfile", ROOT / "deploy" / "mlflow" / "Dockerfile"):
        text = file.read_text()
        assert text.count("pip install") == text.count("--require-hashes") + text.count(
            "--no-deps --no-build-isolation ."
        )
