"""--help and wrong flags of the programs: at once, in groups, with defaults."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from compare.results.gates import gate_names, parse_gate

ROOT = Path(__file__).parent.parent
PROGRAMS = ("training", "serving", "compare")
COMMANDS = ("list", "show v1", "verify", "diff v1 v2")
"""Of `python -m classifier`."""

SLOW = {"torch", "mlflow", "onnxruntime", "scipy", "sklearn", "pandas", "flask"}
"""Their imports take 0.2 to 3 s."""


def _run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", program, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


@pytest.mark.parametrize(
    "program", [*PROGRAMS, "classifier", *(f"classifier {each}" for each in COMMANDS)]
)
@pytest.mark.parametrize(("flag", "code"), [("--help", 0), ("--no-such-flag", 2)])
def test_the_command_line_is_answered_before_anything_slow_is_imported(
    program: str, flag: str, code: int
) -> None:
    done = _run(*program.split(), flag)

    assert done.returncode == code
    imported = set(re.findall(r"^import time:.*\| +(\w+)", done.stderr, re.MULTILINE))
    assert "argparse" in imported
    assert not imported & SLOW
    assert not program.startswith("classifier") or "numpy" not in imported
    assert "Traceback" not in done.stderr
    if code == 2:
        assert "unrecognized arguments: --no-such-flag" in done.stderr


@pytest.mark.parametrize(
    ("program", "groups"),
    [
        (
            "training",
            ["instead of a new run", "data", "network", "optimisation", "machine"],
        ),
        ("serving", ["what is served", "where it listens", "limits and times"]),
        ("compare", ["the comparison", "the verdict", "gates"]),
        ("classifier", ["commands"]),
    ],
)
def test_help_has_groups_examples_and_exit_codes(
    program: str, groups: list[str]
) -> None:
    text = _run(program, "--help").stdout

    for group in [*groups, "examples", "exit codes"]:
        assert re.search(rf"^{group}:", text, re.MULTILINE), group
    assert f"  python -m {program} " in text.split("examples:")[1]


@pytest.mark.parametrize("program", PROGRAMS)
def test_defaults_are_given_in_words(program: str) -> None:
    text = " ".join(_run(program, "--help").stdout.split())

    assert text.count("(default: ") >= 8
    assert "None" not in text
    assert "==SUPPRESS==" not in text
    assert ".0)" not in text  # 25, and not 25.0


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_for_the_store_has_examples_and_exit_codes(command: str) -> None:
    name = command.split()[0]
    text = _run("classifier", name, "--help").stdout

    assert f"  python -m classifier {name}" in text.split("\nexamples:\n")[1]
    assert "\nexit codes: 0 " in text
    assert "--model NAME" in text
    assert "--json" in text


def test_without_a_command_it_says_how_to_find_one() -> None:
    done = _run("classifier")

    assert done.returncode == 2
    assert "name a command; --help lists them" in done.stderr


def test_compare_names_the_gates_that_it_takes() -> None:
    epilog = " ".join(_run("compare", "--help").stdout.split("gates:")[1].split())

    names = epilog.split("The paths: ")[1].split(" exit codes")[0].split(", ")
    assert names == gate_names()
    for name in names:
        parse_gate(f"{name}>0")
