"""Settings of a run's recipe: its name, and fields of it that flags set."""

from dataclasses import dataclass
from typing import Annotated, Literal

from classifier.console.flags import (
    Flag,
)
from training.recipes import FULL_BATCH, RECIPES


def _in_recipes(name: str) -> str:
    """The values of a field of the recipes, for --help."""
    values = {recipe: getattr(RECIPES[recipe], name) for recipe in RECIPES}
    return ", ".join(f"{value:g} for {recipe}" for recipe, value in values.items())


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """The recipe, and the fields of it that flags set."""

    recipe: Annotated[
        Literal["plain", "strong", "finetune"] | None,
        Flag(
            "strong: shift, mirror, label smoothing, a rate that rises and falls, "
            "averaged weights; plain: none of it; finetune: windows and mirror, low "
            "rates below the head",
            default="finetune with --weights, else strong",
        ),
    ] = None
    lr: Annotated[
        float | None,
        Flag(
            "highest learning rate",
            metavar="RATE",
            default=f"the recipe's, {_in_recipes('lr')} with batches of {FULL_BATCH}, "
            "and in proportion with others",
        ),
    ] = None
    weight_decay: Annotated[
        float | None,
        Flag(
            "L2 penalty of the weights",
            default=_in_recipes("weight_decay"),
            least=0,
            most=1,
        ),
    ] = None
    label_smoothing: Annotated[
        float | None,
        Flag(
            "share of a label spread over all classes",
            default=_in_recipes("label_smoothing"),
            least=0,
            most=0.9,
        ),
    ] = None
    mixup: Annotated[
        float | None,
        Flag(
            "share of images blended with another",
            default=_in_recipes("mixup"),
            least=0,
            most=1,
        ),
    ] = None
    cutmix: Annotated[
        float | None,
        Flag(
            "share of images with a box of another",
            default=_in_recipes("cutmix"),
            least=0,
            most=1,
        ),
    ] = None
    ema: Annotated[
        float | None,
        Flag(
            "epochs that the published average of the weights reaches back; 0: no "
            "average",
            default=_in_recipes("average_epochs"),
            least=0,
            most=1000,
        ),
    ] = None
    warmup_epochs: Annotated[
        float | None,
        Flag(
            "epochs over which the rate rises",
            default=f"a share of all: {_in_recipes('warm_up')}",
            least=0,
            most=10_000,
        ),
    ] = None
