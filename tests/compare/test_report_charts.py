"""Pictures show what the numbers say: areas, places, nothing where nothing is."""

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from compare.report_charts import CATEGORY_SIGNS, dumbbell, interval_plot, mosaic

FILTERS = {name: f"show={name}" for name in CATEGORY_SIGNS}
TABLE = {"both_right": 2018, "broken": 1095, "fixed": 975, "both_wrong": 5912}


def _rectangles(table: dict[str, Any]) -> dict[str, dict[str, float]]:
    svg = ET.fromstring(mosaic(table, a="v8", title="t", filters=FILTERS))
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
    assert mosaic(table, a="v8", title="t", filters=FILTERS) == ""


def test_every_area_leads_to_its_images_and_says_its_count() -> None:
    svg = ET.fromstring(mosaic(TABLE, a="v8", title="t", filters=FILTERS))

    links = {link.attrib["data-filter"]: link for link in svg.iter("a")}

    assert set(links) == set(FILTERS.values())
    assert links["show=broken"].attrib["aria-label"] == "broken: 1,095, 10.95 %"


def test_texts_are_escaped() -> None:
    svg = mosaic(TABLE, a='v<8>"', title='"<t>', filters=FILTERS)

    assert ET.fromstring(svg).attrib["aria-label"] == '"<t>'


def test_an_interval_stands_where_its_numbers_are() -> None:
    estimate = {"value": 0.5, "low": 0.0, "high": 1.0}

    svg = ET.fromstring(interval_plot(estimate, least=-1, most=1))

    (dot,) = svg.iter("circle")
    paths = {path.attrib["class"]: path.attrib["d"] for path in svg.iter("path")}
    assert float(dot.attrib["cx"]) == 5 + 150 * 0.75
    assert paths["range"] == "M80.0 9H155.0"
    assert paths["zero"] == "M80.0 1V17"


@pytest.mark.parametrize("estimate", [None, {}, {"value": None}])
def test_no_value_is_no_picture(estimate: object) -> None:
    assert interval_plot(estimate, least=-1, most=1) == ""
    assert dumbbell(None, 0.5) == ""


def test_a_dumbbell_tells_down_from_up() -> None:
    assert 'class="down"' in dumbbell(0.6, 0.4)
    assert 'class="up"' in dumbbell(0.4, 0.6)
