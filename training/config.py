"""The settings of `python -m training`, from its flags and torchrun's variables.

It imports no torch, so that flags are checked before torch's slow import.
"""

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from classifier.bundle.network import Stem, check_network_name, check_size
from classifier.bundle.sidecar import Layout, Output
from classifier.console.flags import (
    Flag,
    check_fields,
    field_values,
    flag_names,
    new_parser,
    not_empty,
)
from classifier.images.decoding_cost import OWN_FILES_MEGAPIXELS, check_max_megapixels
from classifier.storage import default_cache
from training.recipes import FULL_BATCH, LEAST_STEPS, RECIPES

Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    Flag("auto: a GPU where one is usable", group="machine"),
]

Part = Annotated[
    Literal["validation", "all"],
    Flag(
        "of images without train/ and val/: those that the version's run recorded for "
        "validation, or all (with --quantize the unknown ones calibrate)",
        group="data",
    ),
]


def _data_path(text: str) -> str:
    """`digits`, or an absolute path, as a run is resumed from any folder."""
    if text == "digits":
        return text
    return os.path.abspath(os.path.expanduser(not_empty(text)))


def _channels(text: str) -> str:
    """Three numbers, one a channel. Raises ValueError for anything else."""
    try:
        channels(text)
    except ValueError as error:
        raise ValueError(f"must be three numbers r,g,b, got {text!r}") from error
    return text


def channels(text: str) -> tuple[float, float, float]:
    red, green, blue = map(float, text.split(","))
    return red, green, blue


def _head_or_stages(text: str) -> int | str:
    if text != "head" and not re.fullmatch(r"[1-9]\d?", text):
        raise ValueError(f"must be head or a number of stages, got {text!r}")
    return text if text == "head" else int(text)


def _weights(text: str) -> str:
    """`imagenet`, a version's name, or an absolute path of a file."""
    is_file = "/" in text or Path(text).suffix or Path(text).exists()
    return os.path.abspath(os.path.expanduser(not_empty(text))) if is_file else text


def _in_recipes(name: str) -> str:
    """The values of a field of the recipes, for --help."""
    values = {recipe: getattr(RECIPES[recipe], name) for recipe in RECIPES}
    return ", ".join(f"{value:g} for {recipe}" for recipe, value in values.items())


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The images that a command reads, and the model whose versions it makes or reads.

    `model` is None for <dataset>-<arch>, or for the only model there is.
    """

    data: Annotated[
        str,
        Flag(
            "tiny-imagenet-200, a folder of train/<class>/* and val/<class>/*, or of "
            "<class>/*, an archive of these, or digits",
            group="data",
            metavar="PATH|digits",
            read=_data_path,
        ),
    ]
    labels: Annotated[
        str | None,
        Flag(
            "a table file,label of images that are not in class folders",
            metavar="FILE.csv",
            read=lambda text: os.path.abspath(os.path.expanduser(not_empty(text))),
        ),
    ] = None
    skip_broken: Annotated[
        bool,
        Flag("leave out images that do not decode", default="refuse them"),
    ] = False
    max_megapixels: Annotated[
        float, Flag("larger images do not decode", metavar="N")
    ] = OWN_FILES_MEGAPIXELS
    cache: Annotated[
        Path | None,
        Flag(
            "for unpacked archives and decoded images",
            metavar="FOLDER",
            default="$XDG_CACHE_HOME/flipside, else ~/.cache/flipside",
        ),
    ] = None
    model: Annotated[
        str | None,
        Flag(
            "registered model",
            group="MLflow",
            metavar="NAME",
            default="<dataset>-<arch>; with --evaluate and --quantize the only one "
            "there is",
        ),
    ] = None

    def __post_init__(self) -> None:
        check_fields(self)
        check_max_megapixels(self.max_megapixels)

    @property
    def labels_file(self) -> Path | None:
        return None if self.labels is None else Path(self.labels)

    @property
    def cache_folder(self) -> Path:
        return self.cache or default_cache()


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(DataConfig):
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
    arch: Annotated[
        str,
        Flag(
            "a network of torchvision, timm:NAME, or package.module:function, a "
            "function of your own (classes) -> nn.Module",
            group="network",
            metavar="NAME",
        ),
    ] = "resnet18"
    stem: Annotated[
        Stem,
        Flag(
            "of a ResNet; imagenet: 7x7, stride 2, max-pool; small: 3x3, stride 1, no "
            "pooling"
        ),
    ] = "imagenet"
    weights: Annotated[
        str | None,
        Flag(
            "weights to start from: those published for ImageNet, a .safetensors or "
            ".pth file, or a version; the head is new where the classes differ",
            metavar="imagenet|FILE|VERSION",
            read=_weights,
        ),
    ] = None
    train_only: Annotated[
        Literal["head"] | int | None,
        Flag(
            "train the head, or the head and the last N stages; the rest stays as the "
            "weights have it",
            metavar="head|N",
            default="all",
            read=_head_or_stages,
        ),
    ] = None
    augment: Annotated[
        bool,
        Flag(
            "with --train-only head: change the images anew in each epoch",
            default="the head's inputs are computed once, of the images as they are",
        ),
    ] = False
    image_size: Annotated[
        int | None,
        Flag(
            "height and width that the network sees",
            metavar="PIXELS",
            default="that of the weights or of the network, else 64",
            least=8,
            most=1024,
        ),
    ] = None
    resize_to: Annotated[
        int | None,
        Flag(
            "pixels of the shorter side before the crop",
            default="that of the weights, else the image size",
            least=8,
            most=2048,
        ),
    ] = None
    crop: Annotated[
        Literal["center", "none"] | None,
        Flag(
            "center: cut the middle out; none: stretch the whole image",
            default="that of the weights, else none",
        ),
    ] = None
    mean: Annotated[
        str | None,
        Flag(
            "means of the channels, 0..1",
            metavar="R,G,B",
            default="those of the weights, else ImageNet's",
            read=_channels,
        ),
    ] = None
    std: Annotated[
        str | None,
        Flag(
            "standard deviations of the channels",
            metavar="R,G,B",
            default="those of the weights, else ImageNet's",
            read=_channels,
        ),
    ] = None
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
    recipe: Annotated[
        Literal["plain", "strong", "finetune"] | None,
        Flag(
            "strong: shift, mirror, label smoothing, a rate that rises and falls, "
            "averaged weights; plain: none of it; finetune: windows and mirror, low "
            "rates below the head",
            default="finetune with --weights, else strong",
        ),
    ] = None
    batch_size: Annotated[
        int | Literal["auto"],
        Flag(
            f"images in a step; auto: {FULL_BATCH}, or less where an epoch would have "
            f"under {LEAST_STEPS} steps",
            metavar="N|auto",
        ),
    ] = "auto"
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
        Flag("of the training steps; auto: bf16 where the hardware has it"),
    ] = "auto"
    compile: Annotated[
        Literal["auto", "on", "off"],
        Flag("compile the training steps; auto: on a GPU, for long runs"),
    ] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
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
        check_network_name(self.arch, self.stem)
        if self.image_size is not None:
            check_size(self.arch, self.image_size)
        if self.resize_to is not None and self.crop == "none":
            raise ValueError("resize_to is for a crop; leave out --crop none")
        if self.mixup and self.cutmix:
            raise ValueError("an image is mixed once: give --mixup or --cutmix")
        check_names(self.model, self.experiment)

    @property
    def recipe_name(self) -> str:
        return self.recipe or ("finetune" if self.weights else "strong")

    @property
    def recipe_changes(self) -> dict[str, Any]:
        """The fields of the recipe that flags set, apart from the rate."""
        warm_up = self.warmup_epochs
        changes = {
            "weight_decay": self.weight_decay,
            "label_smoothing": self.label_smoothing,
            "mixup": self.mixup,
            "cutmix": self.cutmix,
            "average_epochs": self.ema,
            "warm_up": None if warm_up is None else min(1.0, warm_up / self.epochs),
        }
        return {name: value for name, value in changes.items() if value is not None}

    @property
    def arch_in_names(self) -> str:
        """The network as a part of names: of the model and of folders."""
        return re.sub(r"\W+", "-", self.arch.removeprefix("timm:"))


def check_names(model: str | None, experiment: str | None) -> None:
    """Raises ValueError; both become folders or parts of MLflow's filters and URIs."""
    for name, value in (("model", model), ("experiment", experiment)):
        if value is not None and not re.fullmatch(r"\w[\w .-]*", value):
            raise ValueError(
                f"{name} must be letters, digits, '.', '-', '_' and spaces, and "
                f"begin with one of the first two, got {value!r}"
            )


_COMMANDS = "instead of a new run"


@dataclass(frozen=True, kw_only=True)
class ResumeConfig:
    """A run to resume, and the flags that were typed beside --resume."""

    run: Annotated[
        str,
        Flag(
            "go on with a run that was stopped; its flags are its own, but for a "
            "higher --epochs, which trains a finished run further",
            name="resume",
            group=_COMMANDS,
            metavar="RUN_ID|last",
        ),
    ]
    allow_network: Annotated[
        tuple[str, ...],
        Flag(
            "with --resume: run this function of your own, which builds the network",
            name="allow-network",
            metavar="package.module:function",
            repeated=True,
        ),
    ] = ()
    given: dict[str, Any]
    """Must equal the run's own, but for `cache`: where files are kept changes no
    number."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(DataConfig):
    """A version to measure."""

    version: Annotated[
        str,
        Flag(
            "measure a version (v8, best, latest) on the validation images",
            name="evaluate",
            group=_COMMANDS,
            metavar="VERSION",
        ),
    ]
    part: Part = "validation"
    out: Annotated[
        Path | None,
        Flag(
            "with --evaluate: precision, recall, F1 and confusions of all classes",
            group=_COMMANDS,
            metavar="FILE.json",
            default="none",
        ),
    ] = None
    device: Device = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.out is not None and (not self.out.parent.is_dir() or self.out.is_dir()):
            raise ValueError(
                f"out must be a file in a folder that is there, got {str(self.out)!r}"
            )


@dataclass(frozen=True, kw_only=True)
class QuantizeConfig(DataConfig):
    """A version to quantise; training images calibrate, validation images measure."""

    version: Annotated[
        str,
        Flag(
            "make the int8 form of a version; ask for it as v8.int8",
            name="quantize",
            group=_COMMANDS,
            metavar="VERSION",
        ),
    ]
    part: Part = "validation"


_IMPORTS = "with --import, besides those of data, network and MLflow"


def _model_source(text: str) -> str:
    """A URI of MLflow's registry, or an absolute path."""
    is_uri = text.startswith("models:/")
    return text if is_uri else os.path.abspath(os.path.expanduser(not_empty(text)))


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """A model made elsewhere that becomes a version.

    The flags that a run has too are described there.
    """

    source: Annotated[
        str,
        Flag(
            "make a version of a model made elsewhere: an .onnx file, weights of "
            "--arch in a .safetensors or .pth file, or a model in MLflow",
            name="import",
            group=_COMMANDS,
            metavar="FILE|models:/NAME/3",
            read=_model_source,
        ),
    ]
    labels: Annotated[
        Path | None,
        Flag(
            "names of the classes by index: a text, one a line, or labels.json",
            group=_IMPORTS,
            metavar="FILE",
            default="the model's metadata, its sidecar, else class_0, class_1, …",
        ),
    ] = None
    layout: Annotated[
        Layout | None,
        Flag("order of the input's axes", default="as the graph tells"),
    ] = None
    size: Annotated[
        int | None,
        Flag(
            "height and width of the input",
            default="as the graph tells; of weights 224, or the network's own",
            least=1,
            most=1024,
        ),
    ] = None
    output: Annotated[
        Output | None,
        Flag("what it gives", default="as its answers look"),
    ] = None
    trust_pickle: Annotated[
        bool,
        Flag(
            "run the code in the file's pickle, with all rights of this user",
            default="refuse a pickle",
        ),
    ] = False
    arch: Annotated[str | None, Flag("")] = None
    stem: Annotated[Stem, Flag("")] = "imagenet"
    resize_to: Annotated[int | None, Flag("", least=1, most=2048)] = None
    crop: Annotated[Literal["center", "none"] | None, Flag("")] = None
    mean: Annotated[str | None, Flag("")] = None
    std: Annotated[str | None, Flag("")] = None
    data: Annotated[str | None, Flag("")] = None
    skip_broken: Annotated[bool, Flag("")] = False
    max_megapixels: Annotated[float, Flag("")] = OWN_FILES_MEGAPIXELS
    cache: Annotated[Path | None, Flag("")] = None
    model: Annotated[str | None, Flag("")] = None
    experiment: Annotated[str | None, Flag("")] = None

    def __post_init__(self) -> None:
        check_fields(self)
        check_max_megapixels(self.max_megapixels)
        check_names(self.model, self.experiment)
        if self.arch is not None:
            check_network_name(self.arch, self.stem)
        if self.resize_to is not None and self.crop == "none":
            raise ValueError("resize_to is for a crop; leave out --crop none")

    @property
    def cache_folder(self) -> Path:
        return self.cache or default_cache()


Config = (
    TrainingConfig | ResumeConfig | EvaluationConfig | QuantizeConfig | ImportConfig
)

_USAGE = """python -m training --data PATH|digits [flags]
       python -m training --resume RUN_ID|last [--epochs N]
       python -m training --evaluate VERSION --data PATH|digits
       python -m training --quantize VERSION --data PATH|digits
       python -m training --import FILE|models:/NAME/3 [--data PATH|digits]"""

_EPILOG = """examples:
  python -m training --data digits
  python -m training --data tiny-imagenet-200.zip --epochs 16
  python -m training --data my-images --recipe plain --stem small --per-class 100
  python -m training --data photos --arch mobilenet_v3_large --weights imagenet
  python -m training --data digits --epochs 100 --stop-after 5 --minutes 10
  python -m training --resume last
  python -m training --resume last --epochs 32
  python -m training --evaluate v8 --data tiny-imagenet-200
  python -m training --import birds.onnx --labels labels.txt --data my-birds
  torchrun --nproc-per-node 2 -m training --data tiny-imagenet-200

exit codes: 0 done, 2 wrong usage or bad data, 3 not now (store, disk, device, a loss
that is no number), 4 a fault of ours, 130 interrupted"""


def parse_arguments(arguments: list[str]) -> Config:
    """The command's settings. Wrong usage ends the program with 2 and a message."""
    parser = new_parser(
        "training",
        (TrainingConfig, ResumeConfig, EvaluationConfig, QuantizeConfig, ImportConfig),
        groups=(
            *(_COMMANDS, "data", "network", "optimisation", "machine", "MLflow"),
            _IMPORTS,
        ),
        usage=_USAGE,
        description="Train an image classifier; every epoch becomes a version.",
        epilog=_EPILOG,
    )
    typed = vars(parser.parse_args(arguments))
    commands = [
        name for name in ("resume", "evaluate", "quantize", "import") if name in typed
    ]
    if len(commands) > 1:
        parser.error(
            f"argument --{commands[1]}: not allowed with argument --{commands[0]}"
        )
    if not {"resume", "import", "data"}.intersection(typed):
        parser.error("the following arguments are required: --data")
    try:
        _check_torchrun()
        return _config(typed, *commands)
    except ValueError as error:
        parser.error(str(error))


def _config(typed: dict[str, Any], command: str = "") -> Config:
    if command == "resume":
        return ResumeConfig(
            run=typed.pop("resume"),
            allow_network=tuple(typed.pop("allow_network", ())),
            given=typed,
        )
    if not command:
        return TrainingConfig(**field_values(TrainingConfig, typed))
    kinds: dict[str, type[EvaluationConfig | QuantizeConfig | ImportConfig]] = {
        "evaluate": EvaluationConfig,
        "quantize": QuantizeConfig,
        "import": ImportConfig,
    }
    kind = kinds[command]
    if unused := sorted(set(typed) - flag_names(kind)):
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        what = "model" if command == "import" else "version"
        raise ValueError(f"--{command} takes a {what} as it is; it takes no {flags}")
    return kind(**field_values(kind, typed))


def is_first_process() -> bool:
    """Whether this process prints and publishes for all processes of the run."""
    return process_number("WORLD_SIZE", 1) == 1 or process_number("RANK", 0) == 0


def processes_here() -> int:
    """Processes of the run on this machine, which share its GPUs."""
    return process_number("LOCAL_WORLD_SIZE", process_number("WORLD_SIZE", 1))


def program() -> str:
    """The command before the arguments: `python -m training`, or torchrun's form."""
    if process_number("WORLD_SIZE", 1) == 1:
        return "python -m training"
    machines = process_number("GROUP_WORLD_SIZE", 1)
    nodes = f"--nnodes {machines} " if machines > 1 else ""
    return f"torchrun {nodes}--nproc-per-node {processes_here()} -m training"


def process_number(variable: str, default: int) -> int:
    """The value of a variable of torchrun. Raises ValueError if it is no number."""
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal():
        raise ValueError(f"{variable} must be a whole number, got {text!r}; {_REMEDY}")
    return int(text)


LARGEST_PORT = 65_535

_REMEDY = "torchrun sets it: start the processes with torchrun, or unset it"


def _check_torchrun() -> None:
    """Raises ValueError if torchrun's variables do not describe a process of a run."""
    size = process_number("WORLD_SIZE", 1)
    if size != 1:
        for variable in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
            if not os.environ.get(variable):
                raise ValueError(f"WORLD_SIZE is {size} without {variable}; {_REMEDY}")
        if process_number("MASTER_PORT", 0) > LARGEST_PORT:
            raise ValueError(
                f"MASTER_PORT is {os.environ['MASTER_PORT']}, and the largest port is "
                f"{LARGEST_PORT}; {_REMEDY}"
            )
    process_number("GROUP_WORLD_SIZE", 1)
    for variable, processes in (("RANK", size), ("LOCAL_RANK", processes_here())):
        rank = process_number(variable, 0)
        if size != 1 and rank >= processes:
            raise ValueError(
                f"{variable} is {rank}, and there are {processes} processes; {_REMEDY}"
            )
