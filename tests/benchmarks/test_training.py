"""The plan of a training benchmark: its network and its section."""

from pathlib import Path

import pytest

from benchmarks.training import Plan


def _plan(arch: str, device: str = "cpu") -> Plan:
    return Plan(
        data=Path("photos"),
        device=device,
        arch=arch,
        per_class=None,
        val_per_class=None,
        epochs=2,
        conventional_epochs=2,
        rounds=1,
        batch_size=256,
        workers=2,
        steps_limit=None,
    )


@pytest.mark.parametrize(
    ("plan", "title"),
    [
        (_plan("resnet18"), "Training on a CPU"),
        (_plan("mobilenet_v3_large"), "Training on a CPU, mobilenet_v3_large"),
        (_plan("resnet18", "cuda"), "Training on one GPU"),
    ],
)
def test_each_network_has_a_section_of_its_own(plan: Plan, title: str) -> None:
    assert plan.title() == title


def test_both_programs_train_the_same_network() -> None:
    flags = _plan("mobilenet_v3_large").common()

    assert flags[flags.index("--arch") + 1] == "mobilenet_v3_large"
