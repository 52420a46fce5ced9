"""How many epochs the cost per image is measured over."""

import argparse

import pytest

from benchmarks.scaling import CPU_EPOCHS, GPU_EPOCHS, plan


@pytest.mark.parametrize("epochs", [CPU_EPOCHS, GPU_EPOCHS])
def test_each_size_has_an_epoch_besides_the_first_which_is_left_out(
    epochs: str,
) -> None:
    assert min(plan(epochs).values()) >= 2


def test_a_run_of_which_nothing_would_count_is_refused() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="ask for 2"):
        plan("5:11,500:1")
