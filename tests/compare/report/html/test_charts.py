"""Charts are of the numbers that they are given."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import pytest

from compare.report.html.charts import (
    CATEGORY_SIGNS,
    Plot,
    confidence_histogram,
    latency_curves,
    mosaic_boxes,
    most_images,
    reliability_diagram,
)
from compare.report.html.page import environment
from compare.results.numbers import PairedNumbers
from compare.statistics.measure import Estimate, ReliabilityBin

CHARTS: Any = environment().get_template("charts.html.j2").module  # its macros

BINS = [
    ReliabilityBin(low=0.0, high=0.5, images=0, accuracy=None, confidence=None),
    ReliabilityBin(low=0.5, high=1.0, images=40, accuracy=0.25, confidence=0.75),
]


def _heights(svg: str) -> dict[str, float]:
    return {
        rect.attrib["class"]: float(rect.attrib["height"])
        for rect in ET.fromstring(svg).iter("rect")
    }


def test_a_bar_is_as_high_as_the_accuracy_and_its_gap_reaches_the_confidence() -> None:
    heights = _heights(CHARTS.draw(reliability_diagram(BINS, version="v<8>", side="a")))

    assert heights == {"bar-a": 0.25 * 260, "miss": 0.5 * 260}


def test_right_and_wrong_images_are_stacked() -> None:
    heights = _heights(CHARTS.draw(confidence_histogram(BINS, version="v8", most=80)))

    assert heights == {"right": 10 / 80 * 110, "wrong": 30 / 80 * 110}


def test_both_versions_share_an_axis() -> None:
    assert most_images(BINS, [replace(BINS[1], images=50)]) == 50
    assert most_images([], []) == 0


FILTERS = {name: f"show={name}" for name in CATEGORY_SIGNS}
TABLE: dict[str, Any] = {
    "both_right": 2018,
    "broken": 1095,
    "fixed": 975,
    "both_wrong": 5912,
}


def _rectangles(table: dict[str, Any]) -> dict[str, dict[str, float]]:
    svg = ET.fromstring(CHARTS.mosaic(PairedNumbers(**table), "v8", "t", FILTERS))
    return {
        rect.attrib["class"]: {
            key: float(rect.attrib[key]) for key in ("x", "y", "width", "height")
        }
        for rect in svg.iter("rect")
    }


def test_areas_are_as_the_counts() -> None:
    boxes = _rectangles(TABLE)

    total = sum(box["width"] * box["height"] for box in boxes.values())
    for name, count in TABLE.items():
        share = boxes[name]["width"] * boxes[name]["height"] / total
        # The gaps take a little from the columns with two areas.
        assert share == pytest.approx(count / 10_000, rel=0.02)


@pytest.mark.parametrize(
    "table",
    [
        {"both_right": 5, "broken": 0, "fixed": 0, "both_wrong": 0},
        {"both_right": 0, "broken": 0, "fixed": 3, "both_wrong": 1},
        {"both_right": 100_000, "broken": 1, "fixed": 0, "both_wrong": 1},
    ],
)
def test_only_what_exists_is_drawn_and_inside_the_picture(
    table: dict[str, int],
) -> None:
    boxes = _rectangles(table)

    assert set(boxes) == {name for name, count in table.items() if count}
    for box in boxes.values():
        assert 0 <= box["x"] <= box["x"] + box["width"] <= 440.2
        assert 24 <= box["y"] <= box["y"] + box["height"] <= 304.2


@pytest.mark.parametrize("table", [{}, dict.fromkeys(TABLE), dict.fromkeys(TABLE, 0)])
def test_no_images_are_no_picture(table: dict[str, Any]) -> None:
    assert mosaic_boxes(PairedNumbers(**table)) is None
    assert CHARTS.mosaic(PairedNumbers(**table), "v8", "t", FILTERS) == ""


def test_every_area_leads_to_its_images_and_says_its_count() -> None:
    svg = ET.fromstring(CHARTS.mosaic(PairedNumbers(**TABLE), "v8", "t", FILTERS))

    links = {link.attrib["data-filter"]: link for link in svg.iter("a")}

    assert set(links) == set(FILTERS.values())
    assert links["show=broken"].attrib["aria-label"] == "broken: 1,095, 10.95\xa0%"


def test_texts_are_escaped() -> None:
    svg = CHARTS.mosaic(PairedNumbers(**TABLE), 'v<8>"', '"<t>', FILTERS)

    assert ET.fromstring(svg).attrib["aria-label"] == '"<t>'


def test_an_interval_stands_where_its_numbers_are() -> None:
    estimate = Estimate(0.5, 0.0, 1.0)

    svg = ET.fromstring(CHARTS.interval_plot(estimate, -1, 1))

    (dot,) = svg.iter("circle")
    paths = {path.attrib["class"]: path.attrib["d"] for path in svg.iter("path")}
    assert float(dot.attrib["cx"]) == 5 + 150 * 0.75
    assert paths["range"] == "M80.0 9H155.0"
    assert paths["zero"] == "M80.0 1V17"


def test_no_value_is_no_picture() -> None:
    assert CHARTS.interval_plot(Estimate(), -1, 1) == ""


def test_a_dumbbell_tells_down_from_up() -> None:
    assert 'class="down"' in CHARTS.dumbbell(0.6, 0.4)
    assert 'class="up"' in CHARTS.dumbbell(0.4, 0.6)


def test_each_version_has_a_curve_that_rises() -> None:
    svg = ET.fromstring(CHARTS.draw(latency_curves([5, 4, 6], [7, 9, 8])))

    for side in "ab":
        (curve,) = (p for p in svg.iter("path") if p.get("class") == f"curve-{side}")
        numbers = [float(n) for n in re.findall(r"[\d.]+", curve.attrib["d"])]
        xs, ys = numbers[::2], numbers[1::2]
        assert xs == sorted(xs)
        assert ys == sorted(ys, reverse=True)  # SVG counts from above


@pytest.mark.parametrize("times", [[], [0.0], [1000.0] * 3, [0.1, 0.1]])
def test_odd_times_break_nothing(times: list[float]) -> None:
    curves = CHARTS.draw(latency_curves(times, times))

    assert bool(curves) == bool(times)


def test_one_request_that_waited_does_not_squeeze_the_rest() -> None:
    usual = [5.0] * 199

    svg = CHARTS.draw(latency_curves([*usual, 5000.0], usual))

    assert "1000" not in svg


def _plot(**others: Any) -> Plot:
    return Plot(**{"title": "", "x_ticks": [], "y_ticks": [], "x_name": "", **others})


def test_values_grow_from_the_lower_left_corner() -> None:
    plot = _plot(most_x=2, most_y=4, height=80)

    assert (plot.x(0), plot.x(2)) == (58, 358)
    assert (plot.y(0), plot.y(4)) == (90, 10)


def test_words_are_escaped() -> None:
    svg = CHARTS.draw(_plot(title='"', x_ticks=[(0, "<b>")]))

    assert "<b>" not in svg
    assert 'aria-label="&#34;"' in svg
