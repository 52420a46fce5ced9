"""Settings of the commands that read images."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from classifier.console.flags import (
    Flag,
    check_fields,
    not_empty,
)
from classifier.images.decoding_cost import OWN_FILES_MEGAPIXELS, check_max_megapixels
from classifier.storage import default_cache

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
            "a table file,label of images that are not in class folders; with --import "
            "the names of the classes by index: a text, one a line, or labels.json",
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


def check_names(model: str | None, experiment: str | None) -> None:
    """Raises ValueError; both become folders or parts of MLflow's filters and URIs."""
    for name, value in (("model", model), ("experiment", experiment)):
        if value is not None and not re.fullmatch(r"\w[\w .-]*", value):
            raise ValueError(
                f"{name} must be letters, digits, '.', '-', '_' and spaces, and "
                f"begin with one of the first two, got {value!r}"
            )
