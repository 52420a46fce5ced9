"""What an epoch leaves: the network to publish, and the state to go on from."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.evaluate import Predictions
from training.history import EpochRecord


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Copies, so that training goes on while they are written."""

    record: EpochRecord
    weights: Mapping[str, NDArray[np.generic]]
    """The state dict to publish."""

    predictions: Predictions
    """Of these weights, on the validation images."""

    training_state: Mapping[str, Tensor]
    """What the next epoch depends on."""
