"""Network of a version, network.json: its name, source, stem, classes, precision."""

import re
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_args

from classifier.bundle.labels import MOST_CLASSES
from classifier.bundle.strict_json import fields_of, integer, one_of, string
from classifier.console.exits import WrongUsage

Precision = Literal["fp32", "int8"]
Stem = Literal["imagenet", "small"]

OWN_NETWORKS = ("tiny",)
"""Networks of flipside's own, which have no source."""

_NAMES = """
alexnet convnext_base convnext_large convnext_small convnext_tiny densenet121
densenet161 densenet169 densenet201 efficientnet_b0 efficientnet_b1 efficientnet_b2
efficientnet_b3 efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7
efficientnet_v2_l efficientnet_v2_m efficientnet_v2_s googlenet inception_v3 maxvit_t
mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_large
mobilenet_v3_small regnet_x_16gf regnet_x_1_6gf regnet_x_32gf regnet_x_3_2gf
regnet_x_400mf regnet_x_800mf regnet_x_8gf regnet_y_128gf regnet_y_16gf regnet_y_1_6gf
regnet_y_32gf regnet_y_3_2gf regnet_y_400mf regnet_y_800mf regnet_y_8gf resnet101
resnet152 resnet18 resnet34 resnet50 resnext101_32x8d resnext101_64x4d resnext50_32x4d
shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0
squeezenet1_0 squeezenet1_1 swin_b swin_s swin_t swin_v2_b swin_v2_s swin_v2_t vgg11
vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn vit_b_16 vit_b_32 vit_h_14
vit_l_16 vit_l_32 wide_resnet101_2 wide_resnet50_2
"""

TORCHVISION_NETWORKS = tuple(_NAMES.split())
"""torchvision.models.list_models(module=torchvision.models). A copy, because the import
takes 2 s; a test compares them."""

RESNETS = re.compile(r"(wide_)?resne(x?)t\d+.*")
"""Names of networks that have both stems."""

_OWN_SIZE = re.compile(r"vit_|swin_|maxvit_")
_OWN_SIZES = {"swin_v2_b": 256, "swin_v2_s": 256, "swin_v2_t": 256}
_INCEPTION_SIZES = (75, 299)

_TIMM_NAME = re.compile(r"[\w.]+")
_FUNCTION = re.compile(r"[^\W\d][\w.]*:[^\W\d]\w*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class UnknownNetwork(WrongUsage, ValueError):
    """A network cannot be built: no such name, or a function that is not there."""


class UnfitSize(WrongUsage, ValueError):
    """The network refuses images of this size."""


class NetworkNotAllowed(WrongUsage, ValueError):
    """A version's network is a user's code that the operator has not named."""


@dataclass(frozen=True)
class NetworkSpec:
    """The content of network.json, from which the network is built again."""

    architecture: str
    """A name of its source; `package.module:function` for a function of the user's."""

    stem: str
    """`small` or, for all networks but ResNets, always `imagenet`."""

    classes: int
    precision: Precision = "fp32"
    """`int8` has no file of weights; they are in the graph."""

    source: str | None = None
    """`torchvision`, `timm`, `onnx` or the function; None for flipside's own networks,
    and for the ResNet-18 of bundles made before there were others."""

    source_sha256: str | None = None
    """Digest of the source file of a function."""

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise ValueError(
                f"precision must be {' or '.join(get_args(Precision))}, "
                f"got {self.precision!r:.80}"
            )

    @property
    def is_function(self) -> bool:
        """Whether the network is built by code of a user's."""
        return self.source is not None and ":" in self.source

    @classmethod
    def from_json(cls, found: Any) -> "NetworkSpec":
        """Raises ValueError if a field is missing, wrong or unknown."""
        fields = fields_of(
            found,
            ("architecture", "stem", "classes"),
            optional=("precision", "source", "source_sha256"),
        )
        string(fields["architecture"], "architecture")
        one_of(fields["stem"], "stem", get_args(Stem))
        integer(fields["classes"], "classes", least=1, most=MOST_CLASSES)
        known = {name: value for name, value in fields.items() if value is not None}
        spec = cls(**known)
        _check_source(spec)
        return spec

    def to_json(self) -> dict[str, Any]:
        """Without the fields that are None, as readers of the first wave expect."""
        return {k: v for k, v in asdict(self).items() if v is not None}


def source_of(architecture: str) -> str | None:
    """The source of `--arch` as it is typed. Raises ValueError for no known network.

    A function's source is its own name, a timm network's is `timm`.
    """
    if architecture in OWN_NETWORKS:
        return None
    if architecture in TORCHVISION_NETWORKS:
        return "torchvision"
    if architecture.startswith("timm:") and _TIMM_NAME.fullmatch(architecture[5:]):
        return "timm"
    if _FUNCTION.fullmatch(architecture) and not architecture.startswith("timm:"):
        return architecture
    near = [name for name in TORCHVISION_NETWORKS if name.startswith(architecture)]
    near = near[:5] or get_close_matches(architecture, TORCHVISION_NETWORKS)
    raise ValueError(
        f"arch must be a network of torchvision, timm:NAME or package.module:function, "
        f"got {architecture!r}; "
        f"do you mean {', '.join(near or ('resnet18', 'mobilenet_v3_small'))}?"
    )


def check_network_name(architecture: str, stem: str) -> None:
    """Raises ValueError for a name of no network, or of one without this stem."""
    source_of(architecture)
    if stem != "imagenet" and not has_stems(architecture):
        raise ValueError(
            f"only ResNets have the stem {stem!r}, not {architecture}; leave out --stem"
        )


def has_stems(architecture: str) -> bool:
    """Whether the network comes with either stem."""
    return architecture in OWN_NETWORKS or bool(RESNETS.fullmatch(architecture))


def own_size(architecture: str) -> int | None:
    """Height and width of a network that takes no others; None if it takes many."""
    if not _OWN_SIZE.match(architecture):
        return None
    return _OWN_SIZES.get(architecture, 224)


def least_size(architecture: str) -> int:
    return _INCEPTION_SIZES[0] if architecture == "inception_v3" else 8


def has_auxiliary_heads(architecture: str, size: int) -> bool:
    """Whether the network has heads that only help to train it.

    Those of inception_v3 need a map of 17 x 17, which an image of 299 pixels leaves.
    """
    if architecture == "inception_v3":
        return size >= _INCEPTION_SIZES[1]
    return architecture == "googlenet"


def check_size(architecture: str, size: int, *, own: int | None = None) -> None:
    """Raises UnfitSize for a size that the network does not take.

    `own` is the only size of a network that is none of torchvision's.
    """
    own, least = own or own_size(architecture), least_size(architecture)
    if own is not None and size != own:
        raise UnfitSize(
            f"{architecture} takes images of {own} x {own} pixels only, and image_size "
            f"is {size}; leave out --image-size"
        )
    if size < least:
        raise UnfitSize(
            f"{architecture} takes images of {least} x {least} pixels or more, and "
            f"image_size is {size}; ask for --image-size {_INCEPTION_SIZES[1]}"
        )


def default_size(architecture: str, *, otherwise: int = 64) -> int:
    """The network's own height and width; `otherwise` if it takes many sizes."""
    own = _INCEPTION_SIZES[1] if architecture == "inception_v3" else otherwise
    return own_size(architecture) or own


def _check_source(spec: NetworkSpec) -> None:
    """Raises ValueError if name, source and digest do not belong together."""
    name, source = spec.architecture, spec.source
    if source is None:
        one_of(name, "architecture without a source", (*OWN_NETWORKS, "resnet18"))
    elif source == "torchvision":
        if name not in TORCHVISION_NETWORKS:
            raise ValueError(f"torchvision has no architecture {name!r:.80}")
    elif source == "timm":
        if not _TIMM_NAME.fullmatch(name):
            raise ValueError(f"timm has no architecture {name!r:.80}")
    elif source != "onnx" and not _FUNCTION.fullmatch(string(source, "source")):
        raise ValueError(
            f"source must be torchvision, timm, onnx or package.module:function, "
            f"got {source!r:.80}"
        )
    digest = spec.source_sha256
    if spec.is_function != (digest is not None):
        raise ValueError("source_sha256 belongs to a function, and to nothing else")
    if digest is not None and not _SHA256.fullmatch(string(digest, "source_sha256")):
        raise ValueError(f"source_sha256 must be 64 hex digits, got {digest!r:.80}")
    if spec.stem != "imagenet" and not has_stems(name):
        raise ValueError(f"only ResNets have the stem {spec.stem!r:.80}, not {name}")
