"""The printed lines and the page of a matrix."""

import re
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from compare.matrix.output import churn_cells, flip_cells, matrix_html, matrix_lines
from compare.results.wording import ABSENT, say
from tests.compare.matrices import made_up_matrix


@pytest.mark.parametrize(
    ("numbers", "has_squares"),
    [
        (["1", "2"], True),
        ([str(n) for n in range(1, 17)], True),
        ([str(n) for n in range(1, 31)], False),
        (["116", "116.int8", "117", "117.int8"], True),
        ([f"{n}.int8" for n in range(100, 116)], False),
    ],
)
def test_lines_stay_within_eighty_columns(
    numbers: list[str], has_squares: bool
) -> None:
    lines = matrix_lines(made_up_matrix(numbers), Path("out"))

    assert max(map(len, lines)) <= 80
    assert any(line.startswith("first answers that differ") for line in lines) == (
        has_squares
    )
    assert all(
        any(line.startswith(f"v{number} ") for line in lines) for number in numbers
    )


def test_cells_are_the_pairs_shares() -> None:
    matrix = made_up_matrix(["1", "2", "3"])

    churn, flips = churn_cells(matrix), flip_cells(matrix)

    last = matrix.pairs[-1]
    assert (last.a, last.b) == ("2", "3")
    assert churn[1][2] == churn[2][1] == last.disagreement_rate
    assert flips[1][2] == last.broken / last.images
    assert flips[2][1] == last.fixed / last.images
    assert [churn[place][place] for place in range(3)] == [None] * 3


def test_no_images_leave_dashes() -> None:
    lines = matrix_lines(made_up_matrix(["1", "2"], images=0), Path("out"))

    assert any(line.split() == ["v1", ABSENT, ABSENT] for line in lines)


SIXTEEN = [str(number) for number in range(1, 17)]


def _open(driver: webdriver.Chrome, folder: Path, html: str) -> None:
    file = folder / "matrix.html"
    file.write_text(html, "utf-8")
    driver.get(file.as_uri())


def test_it_needs_nothing_from_anywhere() -> None:
    html = matrix_html(made_up_matrix(SIXTEEN))

    assert not re.findall(r"(?:src|href|url|import|<script)\b", html)
    assert "http" not in html


def test_names_are_text() -> None:
    html = matrix_html(made_up_matrix(["1", "2"], model="<script>alert(1)</script>"))

    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_every_number_is_in_a_table() -> None:
    matrix = made_up_matrix(["1", "2", "3"])

    html = matrix_html(matrix)

    for pair in matrix.pairs:
        row = f'<th scope="row">v{pair.a}</th><th scope="row">v{pair.b}</th>'
        (cells,) = re.findall(f"{re.escape(row)}(.*)</tr>", html)
        assert f"<td>{say(pair.disagreement_rate, 'percent')}</td>" in cells
        assert f"<td>{pair.broken}</td><td>{pair.fixed}</td>" in cells
    for version in matrix.versions:
        assert f"<td>{say(version.top1.value, 'percent')}</td>" in html


def test_no_images_leave_dashes_on_the_page() -> None:
    html = matrix_html(made_up_matrix(["1", "2"], images=0))

    assert "nan" not in html.lower()
    assert f"<td>{ABSENT}</td>" in html


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_nothing_sticks_out(
    driver: webdriver.Chrome, tmp_path: Path, dark: bool
) -> None:
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)

    _open(driver, tmp_path, matrix_html(made_up_matrix(SIXTEEN)))

    width = "return document.documentElement.scrollWidth"
    assert driver.execute_script(width) <= 390
    back = "return getComputedStyle(document.body).backgroundColor"
    assert driver.execute_script(back) == (
        "rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)"
    )
    assert driver.get_log("browser") == []  # type: ignore[no-untyped-call]
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_heat_map_has_a_cell_for_each_two(
    driver: webdriver.Chrome, tmp_path: Path
) -> None:
    _open(driver, tmp_path, matrix_html(made_up_matrix(SIXTEEN)))

    for kind in ("churn", "flips"):
        cells = driver.find_elements(By.CSS_SELECTOR, f"svg.{kind} .cell")
        assert len(cells) == 16 * 15
        texts = driver.find_elements(By.CSS_SELECTOR, f"svg.{kind} g text")
        assert len(texts) == 16 * 15


def test_a_hundred_versions_are_drawn_without_numbers() -> None:
    html = matrix_html(made_up_matrix([str(n) for n in range(1, 101)], images=20))

    assert html.count('class="cell"') == 2 * 100 * 99
    assert 'text-anchor="middle"' not in html
    assert len(html) < 8_000_000
