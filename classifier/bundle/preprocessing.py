"""Preprocessing of a version, preprocessing.json: size, resizing, mean and std."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from classifier.bundle.strict_json import fields_of, integer, number
from classifier.images.decoding import RgbImage, decode_image, resize
from classifier.images.decoding_cost import MEGAPIXELS

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
    resize: Literal["bilinear-antialias"] = "bilinear-antialias"
    color: Literal["rgb"] = "rgb"

    def __post_init__(self) -> None:
        if not (1 <= self.height <= MOST_SIDE and 1 <= self.width <= MOST_SIDE):
            raise ValueError(
                f"height and width must be 1..{MOST_SIDE}, "
                f"got {self.height}x{self.width}"
            )
        if self.resize != "bilinear-antialias" or self.color != "rgb":
            raise ValueError(
                f"unknown preprocessing {self.resize!r:.80}, {self.color!r:.80}"
            )
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError("mean and std must have 3 numbers, those of std above 0")

    @classmethod
    def from_json(cls, found: Any) -> "Preprocessing":
        """Raises ValueError if a field is missing, wrong or unknown."""
        names = ("height", "width", "mean", "std", "resize", "color")
        fields = fields_of(found, names)
        return cls(
            height=integer(fields["height"], "height", least=1, most=MOST_SIDE),
            width=integer(fields["width"], "width", least=1, most=MOST_SIDE),
            mean=_of_channels(fields["mean"], "mean"),
            std=_of_channels(fields["std"], "std"),
            resize=fields["resize"],
            color=fields["color"],
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def image(self, data: bytes, *, max_megapixels: float = MEGAPIXELS) -> RgbImage:
        """The image in a file's bytes, decoded and resized to [height, width, 3]."""
        image = decode_image(data, max_megapixels=max_megapixels)
        return resize(image, height=self.height, width=self.width)


def _of_channels(values: Any, name: str) -> tuple[float, float, float]:
    if not isinstance(values, list) or len(values) != 3:
        raise ValueError(f"{name} must be a list of 3 numbers, got {values!r:.80}")
    red, green, blue = (number(value, f"each number of {name}") for value in values)
    return red, green, blue
