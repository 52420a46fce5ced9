"""What is known beside the answers: the data, the image files, a probe."""

from dataclasses import dataclass

from compare.agreement import BoolArray, FloatArray


@dataclass(frozen=True)
class DataFacts:
    name: str
    digest: str
    labelled: bool
    """False where nobody knows the truth: nothing can be right or wrong then."""


@dataclass(frozen=True)
class ImageFacts:
    """What the image files themselves show, in a comparison's order."""

    brightness: FloatArray
    """[N], mean luma 0..255; NaN where the image could not be read."""

    is_grey: BoolArray
    """[N], whether red, green and blue are alike at every pixel, but for rounding."""


@dataclass(frozen=True)
class Probe:
    """Images that were asked twice, and how many got another answer then."""

    images: int
    differing: int
