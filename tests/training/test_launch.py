"""How a process was started, from torchrun's variables."""

import pytest

from training.launch import is_first_process, program
from training.publishing.tracking import run_tags


@pytest.mark.parametrize(
    ("variables", "typed", "first"),
    [
        ({}, "python -m training", True),
        ({"WORLD_SIZE": "1", "RANK": "0"}, "python -m training", True),
        (
            {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "1"},
            "torchrun --nproc-per-node 2 -m training",
            False,
        ),
        (
            {
                "WORLD_SIZE": "8",
                "LOCAL_WORLD_SIZE": "4",
                "GROUP_WORLD_SIZE": "2",
                "RANK": "0",
            },
            "torchrun --nnodes 2 --nproc-per-node 4 -m training",
            True,
        ),
    ],
)
def test_a_run_names_the_program_that_was_typed(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    typed: str,
    first: bool,
) -> None:
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert program() == typed
    assert is_first_process() is first
    assert run_tags(["--seed", "3"])["command"] == f"{typed} --seed 3"
