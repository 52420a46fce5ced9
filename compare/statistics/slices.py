"""The comparison on parts of the images: dark, bright, grey, coloured."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import false_discovery_control

from compare.statistics.paired import PairedTable, mcnemar_mid_p
from compare.statistics.top_five import BoolArray, FloatArray, paired_table


@dataclass(frozen=True)
class ImageFacts:
    """Facts of the image files, in a comparison's order."""

    brightness: FloatArray
    """[N], mean luma 0..255; NaN if the image could not be read."""

    is_grey: BoolArray
    """[N], whether red, green and blue are equal at every pixel, up to rounding."""


QUARTERS = (
    "darkest quarter",
    "second darkest quarter",
    "second brightest quarter",
    "brightest quarter",
)


@dataclass(frozen=True)
class Slice:
    """A part of the images, and the change on it."""

    name: str
    group: str
    table: PairedTable
    mid_p: float
    q_value: float
    """Benjamini-Hochberg over all slices."""


def slices(
    images: ImageFacts, *, baseline: BoolArray, candidate: BoolArray
) -> list[Slice]:
    """The parts that have images. `baseline` and `candidate`, [N]: is it right?"""
    named = [
        (
            name,
            group,
            paired_table(baseline=baseline[inside], candidate=candidate[inside]),
        )
        for name, group, inside in _groups(images)
        if inside.any()
    ]
    if not named:
        return []
    mid_ps = [mcnemar_mid_p(table) for _, _, table in named]
    q_values = false_discovery_control(mid_ps, method="bh")
    return [
        Slice(name, group, table, mid_p, float(q_value))
        for (name, group, table), mid_p, q_value in zip(
            named, mid_ps, q_values, strict=True
        )
    ]


def _groups(images: ImageFacts) -> Iterator[tuple[str, str, BoolArray]]:
    """Name, part and membership [N]; images of equal brightness are in one part."""
    readable = np.isfinite(images.brightness)
    if readable.any():
        edges = np.quantile(images.brightness[readable], (0.25, 0.5, 0.75))
        quarter = np.searchsorted(edges, images.brightness, side="left")
        for place, group in enumerate(QUARTERS):
            yield "brightness", group, readable & (quarter == place)
    yield "colour", "grey", readable & images.is_grey
    yield "colour", "colour", readable & ~images.is_grey
