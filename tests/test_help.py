"""--help and wrong flags of the three programs: at once, in groups, with defaults."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from compare.results.gates import gate_names, parse_gate

ROOT = Path(__file__).parent.parent
PROGRAMS = ("training", "serving", "compare")
SLOW = {"torch", "mlflow", "onnxruntime", "scipy", "sklearn", "pandas", "flask"}
"""Their imports take 0.2 to 3 s."""


def _run(program: str, flag: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", program, flag],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(("flag", "code"), [("--help", 0), ("--no-such-flag", 2)])
def test_the_command_line_is_answered_before_anything_slow_is_imported(
    program: str, flag: str, code: int
) -> None:
    done = _run(program, flag)

    assert done.returncode == code
    imported = set(re.findall(r"^import time:.*\| +(\w+)", done.stderr, re.MULTILINE))
    assert "argparse" in imported
    assert not imported & SLOW
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


def test_compare_names_the_gates_that_it_takes() -> None:
    epilog = " ".join(_run("compare", "--help").stdout.split("gates:")[1].split())

    names = epilog.split("The paths: ")[1].split(" exit codes")[0].split(", ")
    assert names == gate_names()
    for name in names:
        parse_gate(f"{name}>0")
