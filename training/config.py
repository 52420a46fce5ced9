"""The settings of a training run, from the command line."""

import argparse
import math
import os
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from classifier.decoding_cost import OWN_FILES_MEGAPIXELS, check_max_megapixels
from classifier.network import ARCHITECTURES, STEMS
from classifier.staging import default_cache
from training.recipes import RECIPES


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What a run needs to be told; everything else follows from the data."""

    data: str
    """`digits`, a folder, or an archive."""

    epochs: int = 16
    arch: str = "resnet18"
    stem: str = "imagenet"
    """`imagenet`: 7x7, stride 2, max-pool; `small`: 3x3, stride 1, no pooling."""

    image_size: int = 64
    """Height and width the network sees, in pixels."""

    recipe: str = "strong"
    batch_size: int = 256
    lr: float | None = None
    """Peak learning rate; None takes the recipe's, which is for batches of 256."""

    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the training steps; measuring and publishing are always fp32."""

    model: str | None = None
    """Registered model; None is <dataset>-<arch>."""

    experiment: str | None = None
    """MLflow experiment; None is the data set's name."""

    per_class: int | None = None
    """Train on the first N images of each class."""

    skip_broken: bool = False
    max_megapixels: float = OWN_FILES_MEGAPIXELS
    """Larger images count as broken."""

    compile: Literal["auto", "on", "off"] = "auto"
    """Whether torch compiles the training steps; auto: on a GPU, for long runs."""

    cache: Path | None = None
    """Unpacked archives and decoded images; None is one folder per user."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "per_class"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.batch_size < 2:
            raise ValueError("batch_size must be at least 2, for batch norm")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be 0 to {2**32 - 1}, got {self.seed}")
        for name in ("model", "experiment"):
            value = getattr(self, name)
            # Both become folders or parts of MLflow's filters and URIs.
            if value is not None and not re.fullmatch(r"\w[\w .-]*", value):
                raise ValueError(
                    f"{name} must be letters, digits, '.', '-', '_' and spaces, and "
                    f"begin with one of the first two, got {value!r}"
                )
        if not 8 <= self.image_size <= 512:
            raise ValueError(f"image_size must be 8 to 512, got {self.image_size}")
        check_max_megapixels(self.max_megapixels)
        if self.lr is not None and not (0 < self.lr < math.inf):
            raise ValueError(f"lr must be above 0 and finite, got {self.lr}")

    @property
    def cache_folder(self) -> Path:
        return self.cache or default_cache()


@dataclass(frozen=True, kw_only=True)
class ResumeConfig:
    """`--resume`: which run, and the flags that were typed beside it."""

    run: str
    """A run's id, or `last`."""

    given: dict[str, Any]
    """Must be the run's own: what it was begun with is what it goes on with."""

    @property
    def cache(self) -> Path | None:
        """The one flag that may differ: where files are kept changes no number."""
        return self.given.get("cache")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """`--evaluate v8`: what to measure, on which data."""

    version: str
    data: str
    model: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    skip_broken: bool = False
    max_megapixels: float = OWN_FILES_MEGAPIXELS
    cache: Path | None = None

    def __post_init__(self) -> None:
        check_max_megapixels(self.max_megapixels)

    @property
    def cache_folder(self) -> Path:
        return self.cache or default_cache()


@dataclass(frozen=True, kw_only=True)
class QuantizeConfig:
    """`--quantize v16`: of what an int8 form is made, and on which data."""

    version: str
    data: str
    """Calibrated on its training images, measured on its validation images."""

    model: str | None = None
    skip_broken: bool = False
    max_megapixels: float = OWN_FILES_MEGAPIXELS
    cache: Path | None = None

    def __post_init__(self) -> None:
        check_max_megapixels(self.max_megapixels)

    @property
    def cache_folder(self) -> Path:
        return self.cache or default_cache()


Config = TrainingConfig | ResumeConfig | EvaluationConfig | QuantizeConfig


def parse_arguments(arguments: list[str]) -> Config:
    """Exits with 2 and a message on wrong usage, as argparse does."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    evaluated, quantized = given.pop("evaluate"), given.pop("quantize")
    run = given.pop("resume")
    if run is None and "data" not in given:
        parser.error("the following arguments are required: --data")
    if "data" in given and given["data"] != "digits":
        # A run goes on from anywhere.
        given["data"] = os.path.abspath(os.path.expanduser(given["data"]))
    try:
        if run is not None:
            return ResumeConfig(run=run, given=given)
        if evaluated is not None:
            _refuse_others(parser, given, "--evaluate", EvaluationConfig)
            return EvaluationConfig(version=evaluated, **given)
        if quantized is not None:
            _refuse_others(parser, given, "--quantize", QuantizeConfig)
            return QuantizeConfig(version=quantized, **given)
        return TrainingConfig(**given)
    except ValueError as error:
        parser.error(str(error))


def _refuse_others(
    parser: argparse.ArgumentParser,
    given: dict[str, Any],
    flag: str,
    kind: type[EvaluationConfig | QuantizeConfig],
) -> None:
    """Flags of a training run, which would change nothing here."""
    known = {field.name for field in fields(kind)}
    unused = sorted(set(given) - known)
    if unused:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        parser.error(f"{flag} takes a version as it is; it takes no {flags}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Train an image classifier; every epoch becomes a version.",
        # Only what was typed is handed on: the defaults are TrainingConfig's.
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--data",
        metavar="PATH|digits",
        help="folder, archive, or digits",
    )
    add("--epochs", type=int, help="default 16")
    add("--arch", choices=tuple(ARCHITECTURES), help="default resnet18")
    add("--stem", choices=STEMS, help="default imagenet")
    add("--image-size", type=int, metavar="PIXELS", help="default 64")
    add("--recipe", choices=tuple(RECIPES), help="default strong")
    add("--batch-size", type=int, help="default 256")
    add("--lr", type=float, help="peak learning rate; default: the recipe's")
    add("--seed", type=int, help="default 0")
    add("--device", choices=("auto", "cpu", "cuda"), help="default auto")
    add("--precision", choices=("auto", "fp32", "bf16"), help="default auto")
    add("--model", metavar="NAME", help="registered model; default <dataset>-<arch>")
    add("--experiment", metavar="NAME", help="default: the data set's name")
    add("--per-class", type=int, metavar="N", help="first N training images a class")
    add(
        "--skip-broken", action="store_true", help="leave out images that do not decode"
    )
    add(
        "--max-megapixels",
        type=float,
        metavar="N",
        help="larger images do not decode; default 100",
    )
    add("--compile", choices=("auto", "on", "off"), help="training steps; default auto")
    add("--cache", type=Path, metavar="FOLDER", help="default: one per user")
    instead = parser.add_mutually_exclusive_group().add_argument
    instead(
        "--resume",
        metavar="RUN_ID|last",
        default=None,
        help="go on with a run that was stopped; its flags are its own",
    )
    instead(
        "--evaluate",
        metavar="VERSION",
        default=None,
        help="measure a version (v8, best, latest) on the validation images instead",
    )
    instead(
        "--quantize",
        metavar="VERSION",
        default=None,
        help="make the int8 form of a version instead; ask for it as v8.int8",
    )
    return parser
