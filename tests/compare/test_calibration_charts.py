"""Pictures of calibration are of the bins' numbers."""

import xml.etree.ElementTree as ET
from typing import Any

from compare.calibration_charts import (
    confidence_histogram,
    most_images,
    reliability_diagram,
)

BINS: list[dict[str, Any]] = [
    {"low": 0.0, "high": 0.5, "images": 0, "accuracy": None, "confidence": None},
    {"low": 0.5, "high": 1.0, "images": 40, "accuracy": 0.25, "confidence": 0.75},
]


def _heights(svg: str) -> dict[str, float]:
    return {
        rect.attrib["class"]: float(rect.attrib["height"])
        for rect in ET.fromstring(svg).iter("rect")
    }


def test_a_bar_is_as_high_as_the_accuracy_and_its_gap_reaches_the_confidence() -> None:
    heights = _heights(reliability_diagram(BINS, version="v<8>", side="a"))

    assert heights == {"bar-a": 0.25 * 260, "miss": 0.5 * 260}


def test_right_and_wrong_images_are_stacked() -> None:
    heights = _heights(confidence_histogram(BINS, version="v8", most=80))

    assert heights == {"right": 10 / 80 * 110, "wrong": 30 / 80 * 110}


def test_both_versions_share_an_axis() -> None:
    assert most_images(BINS, [{**BINS[1], "images": 50}]) == 50
    assert most_images([], []) == 0
