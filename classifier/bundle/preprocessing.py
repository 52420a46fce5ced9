"""Preprocessing of a version, preprocessing.json: size, resizing, mean and std."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from classifier.bundle.strict_json import fields_of, integer, number
from classifier.images.decoding import RgbImage, decode_image
from classifier.images.decoding_cost import MEGAPIXELS
from classifier.images.resizing import Filter, Resizing

MOST_SIDE = 4096
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """Size and normalisation of a version's images."""

    height: int
    width: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Per channel, as fractions of 1; subtracted inside the network's graph."""

    std: tuple[float, float, float] = IMAGENET_STD
    resize: Filter = "bilinear-antialias"
    color: Literal["rgb"] = "rgb"
    resize_to: int | None = None
    """Pixels of the shorter side before the crop; None stretches to height and width.
    """

    crop: Literal["center"] | None = None

    def __post_init__(self) -> None:
        if not (1 <= self.height <= MOST_SIDE and 1 <= self.width <= MOST_SIDE):
            raise ValueError(
                f"height and width must be 1..{MOST_SIDE}, "
                f"got {self.height}x{self.width}"
            )
        if self.resize not in get_args(Filter) or self.color != "rgb":
            raise ValueError(
                f"unknown preprocessing {self.resize!r:.80}, {self.color!r:.80}"
            )
        if self.crop not in (None, "center") or (self.crop and not self.resize_to):
            raise ValueError(
                f"crop must be center, with a resize_to, got {self.crop!r:.80}"
            )
        if self.resize_to is not None and not self.crop:
            raise ValueError("resize_to needs a crop; without, images are stretched")
        if self.resize_to is not None and self.resize_to < max(self.height, self.width):
            raise ValueError(
                f"resize_to must be at least height and width, got {self.resize_to} "
                f"for {self.height}x{self.width}"
            )
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError("mean and std must have 3 numbers, those of std above 0")

    @classmethod
    def from_json(cls, found: Any) -> "Preprocessing":
        """Raises ValueError if a field is missing, wrong or unknown."""
        names = ("height", "width", "mean", "std", "resize", "color")
        fields = fields_of(found, names, optional=("resize_to", "crop"))
        resize_to = fields.get("resize_to")
        return cls(
            height=integer(fields["height"], "height", least=1, most=MOST_SIDE),
            width=integer(fields["width"], "width", least=1, most=MOST_SIDE),
            mean=_of_channels(fields["mean"], "mean"),
            std=_of_channels(fields["std"], "std"),
            resize=fields["resize"],
            color=fields["color"],
            resize_to=None
            if resize_to is None
            else integer(resize_to, "resize_to", least=1, most=MOST_SIDE),
            crop=fields.get("crop"),
        )

    def to_json(self) -> dict[str, Any]:
        """Without a crop, the fields that readers of the first wave know."""
        return {k: v for k, v in asdict(self).items() if v is not None}

    @property
    def resizing(self) -> Resizing:
        return Resizing(self.height, self.width, self.resize, self.resize_to)

    def image(self, data: bytes, *, max_megapixels: float = MEGAPIXELS) -> RgbImage:
        """The image in a file's bytes, decoded and resized to [height, width, 3]."""
        return self.resizing(decode_image(data, max_megapixels=max_megapixels))


def _of_channels(values: Any, name: str) -> tuple[float, float, float]:
    if not isinstance(values, list) or len(values) != 3:
        raise ValueError(f"{name} must be a list of 3 numbers, got {values!r:.80}")
    red, green, blue = (number(value, f"each number of {name}") for value in values)
    return red, green, blue
