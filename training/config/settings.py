"""Settings of a run, from its flags."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from classifier.console.flags import (
    Flag,
)
from training.config.data_flags import DataConfig, Device, check_names
from training.config.network_flags import NetworkConfig
from training.config.recipe_flags import RecipeConfig
from training.recipes import FULL_BATCH, LEAST_STEPS


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(DataConfig, NetworkConfig, RecipeConfig):
    """The settings of a run; all else follows from the data."""

    experiment: Annotated[
        str | None,
        Flag("where the run is listed", metavar="NAME", default="the data set's name"),
    ] = None
    per_class: Annotated[
        int | None,
        Flag(
            "train on the first N images of each class",
            group="data",
            default="all",
            least=1,
        ),
    ] = None
    val_fraction: Annotated[
        float,
        Flag(
            "share for validation of images without train/ and val/; the hash of a "
            "file's bytes decides",
            metavar="X",
            group="data",
        ),
    ] = 0.2
    epochs: Annotated[
        int, Flag("passes over the training images", group="optimisation", least=1)
    ] = 16
    stop_after: Annotated[
        int | None,
        Flag(
            "end after N epochs in a row without a validation accuracy that is better "
            "by more than its standard error",
            default="all epochs",
            least=1,
        ),
    ] = None
    minutes: Annotated[
        float | None,
        Flag(
            "end after the epoch in which so much time is over, counted from the start "
            "of the command",
            default="no limit",
        ),
    ] = None
    batch_size: Annotated[
        int | Literal["auto"],
        Flag(
            f"images in a step; auto: {FULL_BATCH}, or less where an epoch would have "
            f"under {LEAST_STEPS} steps or the memory is short",
            metavar="N|auto",
        ),
    ] = "auto"
    class_weights: Annotated[
        Literal["none", "balanced"],
        Flag("balanced: in the loss every class weighs the same, however many images"),
    ] = "none"
    sampler: Annotated[
        Literal["shuffle", "balanced"],
        Flag(
            "shuffle: every image once an epoch; balanced: as many images, equally "
            "from every class"
        ),
    ] = "shuffle"
    seed: Annotated[int, Flag("of all that is drawn", least=0, most=2**32 - 1)] = 0
    device: Device = "auto"
    # Measuring and publishing are always fp32.
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        Flag("of the training steps; auto: bf16 where it is faster"),
    ] = "auto"
    compile: Annotated[
        Literal["auto", "on", "off"],
        Flag("compile the training steps; auto: on a GPU, for long runs"),
    ] = "auto"

    def __post_init__(self) -> None:
        DataConfig.__post_init__(self)
        NetworkConfig.__post_init__(self)
        if self.batch_size != "auto" and self.batch_size < 2:
            raise ValueError(
                f"batch_size must be at least 2, for batch norm, got {self.batch_size}"
            )
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise ValueError(f"minutes must be above 0 and finite, got {self.minutes}")
        if self.class_weights == self.sampler == "balanced":
            raise ValueError(
                "class_weights and sampler do the same, and both would do it twice; "
                "leave one of them out"
            )
        if not 0 < self.val_fraction < 1:
            raise ValueError(
                f"val_fraction must be above 0 and below 1, got {self.val_fraction}"
            )
        if self.lr is not None and not (0 < self.lr < math.inf):
            raise ValueError(f"lr must be above 0 and finite, got {self.lr}")
        if self.mixup and self.cutmix:
            raise ValueError("an image is mixed once: give --mixup or --cutmix")
        check_names(self.model, self.experiment)

    @property
    def recipe_name(self) -> str:
        return self.recipe or ("finetune" if self.weights else "strong")
