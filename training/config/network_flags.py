"""Settings of a run's network: its name, weights to start from, and its images."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from classifier.bundle.network import Stem, check_network_name, check_size
from classifier.console.flags import (
    Flag,
    not_empty,
)

WEIGHT_FILES = (".safetensors", ".pth", ".pt", ".bin")


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
    is_file = Path(text).suffix in WEIGHT_FILES or Path(text).exists()
    return os.path.abspath(os.path.expanduser(not_empty(text))) if is_file else text


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The network, and how its images are made."""

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

    def __post_init__(self) -> None:
        check_network_name(self.arch, self.stem)
        if self.image_size is not None:
            check_size(self.arch, self.image_size)
        if self.resize_to is not None and self.crop == "none":
            raise ValueError("resize_to is for a crop; leave out --crop none")

    @property
    def arch_in_names(self) -> str:
        """The network as a part of names: of the model and of folders."""
        return re.sub(r"\W+", "-", self.arch.removeprefix("timm:"))
