"""The settings of a training run, from the command line."""

import argparse
import math
import os
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from classifier.images.decoding_cost import OWN_FILES_MEGAPIXELS, check_max_megapixels
from classifier.storage import default_cache
from training.command_line import new_parser


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
    batch_size: int | Literal["auto"] = "auto"
    """auto: 256, or less where an epoch would have under 20 steps."""

    lr: float | None = None
    """Peak learning rate; None takes the recipe's, as the batch size changes it."""

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
        for name in ("epochs", "per_class"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.batch_size != "auto" and self.batch_size < 2:
            raise ValueError(
                f"batch_size must be at least 2, for batch norm, got {self.batch_size}"
            )
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


def is_first_process() -> bool:
    """Whether this process prints and publishes for all processes of the run."""
    return _number("WORLD_SIZE", 1) == 1 or _number("RANK", 0) == 0


def processes_here() -> int:
    """Processes of the run on this machine, which share its GPUs."""
    return _number("LOCAL_WORLD_SIZE", _number("WORLD_SIZE", 1))


def program() -> str:
    """The command before the arguments: `python -m training`, or torchrun's form."""
    if _number("WORLD_SIZE", 1) == 1:
        return "python -m training"
    machines = _number("GROUP_WORLD_SIZE", 1)
    nodes = f"--nnodes {machines} " if machines > 1 else ""
    return f"torchrun {nodes}--nproc-per-node {processes_here()} -m training"


def _number(variable: str, default: int) -> int:
    """One of torchrun's variables."""
    return int(os.environ.get(variable, default))


def parse_arguments(arguments: list[str]) -> Config:
    """Exits with 2 and a message on wrong usage, as argparse does."""
    defaults = {field.name: field.default for field in fields(TrainingConfig)}
    parser = new_parser(defaults)
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
