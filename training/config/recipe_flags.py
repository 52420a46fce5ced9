"""Settings of a run's recipe: its name, and fields of it that flags set."""

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from classifier.console.flags import Flag
from training.recipes import FULL_BATCH, RECIPES, Recipe

OnOff = Literal["on", "off"]


def _in_recipes(name: str) -> str:
    """The values of a field of the recipes, for --help."""
    values = {recipe: getattr(RECIPES[recipe], name) for recipe in RECIPES}
    return ", ".join(f"{_text(value)} for {name}" for name, value in values.items())


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """The recipe, and the fields of it that flags set."""

    recipe: Annotated[
        Literal["plain", "strong", "finetune"] | None,
        Flag(
            "strong: shift, mirror, label smoothing, a rate that rises and falls, "
            "averaged weights; plain: none of it; finetune: windows and mirror, low "
            "rates below the head",
            group="recipe",
            default="finetune with --weights, else strong",
        ),
    ] = None
    lr: Annotated[
        float | None,
        Flag(
            "highest learning rate",
            metavar="RATE",
            default=f"the recipe's, {_in_recipes('lr')} with batches of {FULL_BATCH}, "
            "and in proportion with others; of finetune for a head alone from its "
            "inputs",
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
            default=f"{_in_recipes('label_smoothing')}, but 0 there for a head alone",
            least=0,
            most=0.9,
        ),
    ] = None
    schedule: Annotated[
        Literal["constant", "cosine"] | None,
        Flag("the rate over the steps", default=_in_recipes("schedule")),
    ] = None
    body_rate: Annotated[
        float | None,
        Flag(
            "rate of all layers below the head, as a share of the head's",
            default=_in_recipes("body_rate"),
            least=0,
            most=1,
        ),
    ] = None
    momentum: Annotated[
        float | None,
        Flag("of SGD", default=_in_recipes("momentum"), least=0, most=0.999),
    ] = None
    nesterov: Annotated[
        OnOff | None,
        Flag("Nesterov's momentum", default=_in_recipes("nesterov")),
    ] = None
    decay_norms_and_biases: Annotated[
        OnOff | None,
        Flag(
            "weight decay of norms and biases as well",
            default=_in_recipes("decay_norms_and_biases"),
        ),
    ] = None
    mirror: Annotated[
        OnOff | None,
        Flag(
            "mirror half of the images",
            default=f"{_in_recipes('mirror')}; off for digits",
        ),
    ] = None
    crop_padding: Annotated[
        int | None,
        Flag(
            "most pixels that an image is shifted by",
            metavar="PIXELS",
            default=_in_recipes("crop_padding"),
            least=0,
            most=64,
        ),
    ] = None
    least_area: Annotated[
        float | None,
        Flag(
            "least share of an image in a random window; 1: no windows",
            default=_in_recipes("least_area"),
            least=0.01,
            most=1,
        ),
    ] = None
    randaugment: Annotated[
        int | None,
        Flag(
            "magnitude of RandAugment's two changes of an image; 0: none",
            default=_in_recipes("randaugment"),
            least=0,
            most=30,
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

    @property
    def recipe_changes(self) -> dict[str, Any]:
        """The fields of the recipe that flags set, apart from rate and warm-up."""
        values = {name: getattr(self, name) for name in _SAME_NAMES}
        values["average_epochs"] = self.ema
        return {
            name: {"on": True, "off": False}.get(value, value)
            for name, value in values.items()
            if value is not None
        }


_SAME_NAMES = {field.name for field in fields(RecipeConfig)} & {
    field.name for field in fields(Recipe)
} - {"lr"}
"""Fields of a recipe whose flags have their names."""
