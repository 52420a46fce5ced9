"""Epochs over which the cost per image is measured."""

import argparse

import pytest

from benchmarks.scaling import CPU_EPOCHS, GPU_EPOCHS, plan


@pytest.mark.parametrize("epochs", [CPU_EPOCHS, GPU_EPOCHS])
def test_each_size_has_two_epochs_or_more(
    epochs: str,
) -> None:
    assert min(plan(epochs).values()) >= 2


def test_a_run_of_one_epoch_is_refused() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="ask for 2"):
        plan("5:11,500:1")
