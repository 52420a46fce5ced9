"""Curves of latency rise to all requests."""

import re
import xml.etree.ElementTree as ET

import pytest

from compare.latency_chart import latency_curves


def test_each_version_has_a_curve_that_rises() -> None:
    svg = ET.fromstring(latency_curves([5, 4, 6], [7, 9, 8]))

    for side in "ab":
        (curve,) = (p for p in svg.iter("path") if p.get("class") == f"curve-{side}")
        numbers = [float(n) for n in re.findall(r"[\d.]+", curve.attrib["d"])]
        xs, ys = numbers[::2], numbers[1::2]
        assert xs == sorted(xs)
        assert ys == sorted(ys, reverse=True)  # SVG counts from above


@pytest.mark.parametrize("times", [[], [0.0], [1000.0] * 3, [0.1, 0.1]])
def test_odd_times_break_nothing(times: list[float]) -> None:
    curves = latency_curves(times, times)

    assert bool(curves) == bool(times)


def test_one_request_that_waited_does_not_squeeze_the_rest() -> None:
    usual = [5.0] * 199

    svg = latency_curves([*usual, 5000.0], usual)

    assert "1000" not in svg
