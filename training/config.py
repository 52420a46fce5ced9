"""The settings of a training run, from the command line."""

import argparse
import math
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

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
        if self.lr is not None and not (0 < self.lr < math.inf):
            raise ValueError(f"lr must be above 0 and finite, got {self.lr}")

    @property
    def cache_folder(self) -> Path:
        return self.cache or default_cache()


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """`--evaluate v8`: what to measure, on which data."""

    version: str
    data: str
    model: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    skip_broken: bool = False
    cache: Path | None = None

    @property
    def cache_folder(self) -> Path:
        return self.cache or default_cache()


def parse_arguments(arguments: list[str]) -> TrainingConfig | EvaluationConfig:
    """Exits with 2 and a message on wrong usage, as argparse does."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    version = given.pop("evaluate")
    try:
        if version is None:
            return TrainingConfig(**given)
        return EvaluationConfig(version=version, **_only_evaluation(parser, given))
    except ValueError as error:
        parser.error(str(error))


def _only_evaluation(
    parser: argparse.ArgumentParser, given: dict[str, Any]
) -> dict[str, Any]:
    known = {field.name for field in fields(EvaluationConfig)}
    unused = sorted(set(given) - known)
    if unused:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        parser.error(f"--evaluate measures a version as it is; it takes no {flags}")
    return given


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
        required=True,
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
    add("--cache", type=Path, metavar="FOLDER", help="default: one per user")
    add(
        "--evaluate",
        metavar="VERSION",
        default=None,
        help="measure a version (v8, best, latest) on the validation images instead",
    )
    return parser
