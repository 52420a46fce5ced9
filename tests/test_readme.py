"""Commands, flags, files and targets of README and the guides exist."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import classifier.__main__
import compare.config.command_line
import serving.config
import training.config.commands

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()

PARSERS: Mapping[str, Callable[[list[str]], object]] = {
    "classifier": classifier.__main__.new_parser().parse_args,
    "training": training.config.commands.parse_arguments,
    "serving": serving.config.parse_arguments,
    "compare": compare.config.command_line.parse_arguments,
}

GUIDES = ("existing-models.md", "own-images.md", "upkeep.md")
OPERATORS_GUIDES = ("operations.md", "team.md")
"""Most of their flags are those of docker, kubectl and others."""


def _joined(names: tuple[str, ...]) -> str:
    texts = [(ROOT / "docs" / name).read_text() for name in names]
    return "\n".join([README, *texts]).replace("\\\n", " ")


TEXT = _joined(GUIDES)
ALL_TEXT = _joined(GUIDES + OPERATORS_GUIDES)
COMMANDS = re.findall(
    rf"^(?:\$ )?python -m ({'|'.join(PARSERS)})\b(.*)$", ALL_TEXT, re.MULTILINE
) + re.findall(rf"`python -m ({'|'.join(PARSERS)}) ([^`\n]+)`", ALL_TEXT)


@pytest.mark.parametrize(("program", "arguments"), COMMANDS)
def test_every_command_of_readme_and_guides_is_understood(
    program: str, arguments: str, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("a-key\n")
    arguments = re.sub(r"--key \S+", f"--key {tmp_path / 'key'}", arguments)
    assert PARSERS[program](shlex.split(arguments))


def test_there_are_commands_of_each_program() -> None:
    assert {program for program, _ in COMMANDS} == set(PARSERS)


def test_every_flag_of_readme_and_guides_exists() -> None:
    known = "".join(map(_help, PARSERS))
    for command in re.findall(r"^    (\w+)", _help("classifier"), re.MULTILINE):
        known += _help("classifier", command)
    # Of other programs.
    outside = {"--workers", "--data-binary", "--nproc-per-node", "--editable"}
    outside |= {"--profile", "--rm", "--detach"}  # docker compose
    for flag in set(re.findall(r"--[a-z][a-z-]+", TEXT)) - outside:
        assert f"{flag} " in known or f"{flag}\n" in known, flag


def _help(*program: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", *program, "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout


@pytest.mark.parametrize("package", PARSERS)
def test_readme_names_the_rooms_and_the_story_of_each_package(package: str) -> None:
    (row,) = re.findall(rf"^\| `{package}/` \|.*$", README, re.MULTILINE)
    story, rooms = row.split("|")[3:5]

    there = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert set(re.findall(r"`(\w+)/`", rooms)) == there
    assert all((ROOT / path).is_file() for path in re.findall(r"`(.+?)`", story))


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`make ([\w-]+)`", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_demo_runs_the_readmes_commands() -> None:
    demo = (ROOT / "demo.sh").read_text()
    for flags in ("--per-class 15 --lr 0.01 --batch-size 32 --image-size 32",):
        assert flags in demo
        assert flags in README


def test_ci_runs_the_readmes_test_command() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()
