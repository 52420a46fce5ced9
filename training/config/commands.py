"""Settings of the commands instead of a run, and the command line of all."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from classifier.bundle.network import Stem, check_network_name
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
from training.config.data_flags import DataConfig, Device, Part, check_names
from training.config.launch import _check_torchrun
from training.config.settings import TrainingConfig

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
    labels: Annotated[str | None, Flag("")] = None
    layout: Annotated[
        Layout | None,
        Flag("order of the input's axes", group=_IMPORTS, default="that of the graph"),
    ] = None
    size: Annotated[
        int | None,
        Flag(
            "height and width of the input",
            default="that of the graph; for weights 224, or the network's own",
            least=1,
            most=1024,
        ),
    ] = None
    output: Annotated[
        Output | None,
        Flag("kind of its output", default="decided from its answers"),
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
    def labels_file(self) -> Path | None:
        """None takes the model's metadata, its sidecar, else class_0, class_1, …"""
        return None if self.labels is None else Path(self.labels)

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
  torchrun --nnodes 1:2 --max-restarts 9 --rdzv-backend c10d --rdzv-id NAME \\
      --rdzv-endpoint HOST:29400 --nproc-per-node 2 -m training --data digits

exit codes: 0 done, 2 wrong usage or bad data, 3 not now (store, disk, device, a loss
that is no number), 4 a fault of ours, 130 interrupted"""


def parse_arguments(arguments: list[str]) -> Config:
    """The command's settings. Wrong usage ends the program with 2 and a message."""
    parser = new_parser(
        "training",
        (TrainingConfig, ResumeConfig, EvaluationConfig, QuantizeConfig, ImportConfig),
        groups=(
            *(_COMMANDS, "data", "network", "optimisation", "recipe", "machine"),
            "MLflow",
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
