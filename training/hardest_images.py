"""The validation images that a network thinks least likely to be what they are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from classifier.labels import Labels
from classifier.ranking import IntArray
from training.image_cache import DecodedPart
from training.picture_style import BLUE, GREY, ORANGE, WIDTH, shortened

SHOWN = 48
COLUMNS = 6

# In widths of an image: from one to the next, and the lines below each.
_STRIDE, _LINE, _ROW = 1.06, 0.15, 1.55

_LONGEST = 20
"""Letters of 7.5 points below an image."""


def hardest(target_probabilities: NDArray[np.float32], *, count: int) -> IntArray:
    """Positions of the least probabilities [N], hardest first, equals in order."""
    return np.argsort(target_probabilities, kind="stable")[:count]


def hardest_figure(
    val: DecodedPart,
    *,
    labels: Labels,
    first_answers: IntArray,
    target_probabilities: NDArray[np.float32],
    epoch: int,
) -> Figure:
    """A sheet of SHOWN of them, each with its name, truth and answer."""
    shown = hardest(target_probabilities, count=SHOWN)
    rows = -(-len(shown) // COLUMNS)
    inches_an_image = WIDTH / (COLUMNS * _STRIDE)
    height = 0.4 + rows * _ROW * inches_an_image
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    for place, position in enumerate(shown):
        row, column = divmod(place, COLUMNS)
        lines = (
            (val.names[position].rsplit("/", 1)[-1], GREY),
            (labels.names[val.targets[position]], BLUE),
            (f"→ {labels.names[first_answers[position]]}", ORANGE),
        )
        left, top = column * _STRIDE, row * _ROW
        _draw_image(axes, val.images[position], lines, left=left, top=top)
    axes.set(xlim=(0, COLUMNS * _STRIDE), ylim=(rows * _ROW, 0))
    axes.set_aspect("equal")
    axes.axis("off")
    axes.set_title(
        f"Images whose truth epoch {epoch} thinks least likely: name, truth, → answer",
        fontsize=11,
    )
    return figure


def _draw_image(
    axes: Any,
    image: NDArray[np.uint8],
    lines: Sequence[tuple[str, str]],
    *,
    left: float,
    top: float,
) -> None:
    """With `lines` of text and colour below it."""
    extent = (left, left + 1, top + 1, top)
    axes.imshow(image, extent=extent, interpolation="nearest")
    for place, (text, color) in enumerate(lines):
        axes.text(
            left,
            top + 1.03 + _LINE * place,
            shortened(text, _LONGEST),
            color=color,
            fontsize=7.5,
            va="top",
            in_layout=False,
        )
