"""report.html in a real browser, in a frame that may run scripts and nothing else."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from compare.report.html.gallery import make_thumbnails
from compare.report.html.page import html_parts, json_in_script
from compare.results.comparison import Comparison
from compare.results.folder import RunFacts
from compare.results.image_order import showing_order
from compare.results.verdict import Verdict, judge
from tests.compare.conftest import (
    DATA,
    as_json,
    image_facts,
    made_up_comparison,
    served,
)
from tests.serving.browser_page import Page

FRAME = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<iframe sandbox="allow-scripts" style="width: 96vw; height: 96vh"></iframe>
<script>
  const report = new Blob([%s], {type: "text/html"});
  document.querySelector("iframe").src = URL.createObjectURL(report);
</script>"""
"""As `mlflow ui` shows an artifact."""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def compared() -> Comparison:
    return made_up_comparison(200)


@pytest.fixture(scope="module")
def verdict(compared: Comparison) -> Verdict:
    images = image_facts(len(compared.names))
    return judge(
        compared, a=served("8"), b=served("16"), gates=(), data=DATA, images=images
    )


@pytest.fixture(scope="module")
def summary(verdict: Verdict) -> dict[str, Any]:
    return as_json(verdict.summary)


@pytest.fixture(scope="module")
def url(
    tmp_path_factory: pytest.TempPathFactory,
    compared: Comparison,
    verdict: Verdict,
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("report")
    thumbnails = make_thumbnails(*_pictures(folder, compared))
    parts = html_parts(verdict, compared, facts=RunFacts(), thumbnails=thumbnails)
    report = "".join(parts)
    (folder / "report.html").write_text(report)
    (folder / "index.html").write_text(FRAME % json_in_script(report))
    handler = partial(_Quiet, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()
        thread.join()


def _pictures(folder: Path, compared: Comparison) -> tuple[list[str], list[Path]]:
    """Each image its own even colour."""
    names = [compared.names[row] for row in showing_order(compared)]
    files = [folder / name for name in names]
    for number, file in enumerate(files):
        colour = np.full((16, 16, 3), (number, 255 - number, 128), np.uint8)
        Image.fromarray(colour).save(file)
    return names, files


@pytest.fixture
def page(driver: webdriver.Chrome, url: str) -> Iterator[Page]:
    """Afterwards the console is empty and no request was made."""
    page = Page(driver)
    driver.get(url)
    driver.switch_to.frame(page.wait_for("iframe")[0])
    page.wait_for("#gallery-body:not([hidden])")
    yield page
    loaded = page.run("return performance.getEntriesByType('resource').length")
    assert loaded == 0
    driver.switch_to.default_content()
    assert page.log() == []


def _count(page: Page) -> int:
    return int(page.text("#count").split(" of ")[0].replace(",", ""))


def test_it_begins_with_all_that_changed(page: Page, compared: Comparison) -> None:
    changed = compared.disagrees | (compared.a_ranks != compared.b_ranks)

    assert _count(page) == changed.sum()
    assert len(page.wait_for("#cards .card", count=24)) == 24
    assert page.run("return window.origin") == "null"  # an opaque origin


def test_the_summary_inside_is_the_same(page: Page, summary: dict[str, Any]) -> None:
    inside = page.run("return document.getElementById('summary').textContent")

    assert json.loads(inside) == summary


@pytest.mark.parametrize("category", ["broken", "fixed", "both_right", "both_wrong"])
def test_an_area_of_the_mosaic_shows_its_images(
    page: Page, summary: dict[str, Any], category: str
) -> None:
    area = page.run(f"return document.querySelector('.mosaic .{category}')")
    area.click()

    assert _count(page) == summary["top1"][category]


def test_a_cell_of_the_rank_table_shows_its_images(
    page: Page, summary: dict[str, Any]
) -> None:
    for row, column in ((0, 1), (5, 2)):
        cells = page.run(
            "return [...document.querySelectorAll('#ranks .heat tbody a')]"
        )
        page.run("arguments[0].click()", cells[6 * row + column])
        assert _count(page) == summary["rank_transitions"][row][column]


def test_a_cell_of_the_confidence_table_shows_its_images(
    page: Page, summary: dict[str, Any]
) -> None:
    table = np.array(summary["confidence"]["table"])
    row, column = np.unravel_index(table.argmax(), table.shape)
    find = "return document.querySelectorAll('#confidence .heat tbody a')"

    page.run("arguments[0].click()", page.run(find)[10 * row + column])

    assert _count(page) == table[row, column]


def test_a_class_and_a_confusion_show_their_images(
    page: Page, compared: Comparison, summary: dict[str, Any]
) -> None:
    page.run("document.querySelector('#class-table tbody a').click()")
    name = page.text("#class-table tbody tr:first-child th")
    target = compared.labels.names.index(name)
    changed = compared.disagrees | (compared.a_ranks != compared.b_ranks)
    assert _count(page) == (changed & (compared.targets == target)).sum()

    page.run("document.querySelectorAll('.confusions tbody a')[2].click()")
    assert _count(page) == summary["confusions"]["gained"][0]["b"]


def test_typed_filters_and_clearing_change_the_count(page: Page) -> None:
    everything = _count(page)

    page.type("input[name=target]", "n3")
    some = _count(page)
    page.run("document.getElementById('clear').click()")

    assert 0 < some < everything
    assert _count(page) == everything


def test_cards_are_sorted_by_the_change_of_confidence(
    page: Page, compared: Comparison
) -> None:
    change = compared.b.probabilities[:, 0] - compared.a.probabilities[:, 0]
    choose = "const box = document.getElementById('sort'); box.value = arguments[0];"
    page.run(f"{choose} box.dispatchEvent(new Event('input', {{bubbles: true}}))",
             "confidence_up")  # fmt: skip

    first = page.text("#cards .card:first-child .file")

    differs = compared.disagrees | (compared.a_ranks != compared.b_ranks)
    assert first == compared.names[np.where(differs, change, -1).argmax()]


def test_enter_enlarges_arrows_go_on_and_escape_returns(page: Page) -> None:
    page.run("document.querySelector('#cards .open').focus()")
    files = [item.text for item in page.wait_for("#cards .file", count=24)]

    page.press(Keys.ENTER)
    page.wait_for("dialog[open]")
    seen = [page.text("#enlarged-name")]
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT):
        page.press(key)
        seen.append(page.text("#enlarged-name"))
    page.press(Keys.ESCAPE)

    assert seen == [files[0], files[1], files[2], files[1]]
    page.wait_for("dialog[open]", count=0)
    focused = "return document.activeElement.closest('.card').querySelector('.file')"
    assert page.run(f"{focused}.textContent") == files[1]


def test_each_card_shows_its_own_picture_and_marks_the_truth(
    page: Page, compared: Comparison
) -> None:
    middle = """
        const card = document.querySelector('#cards .card');
        const canvas = card.querySelector('canvas');
        return [card.querySelector('.file').textContent,
                [...canvas.getContext('2d').getImageData(32, 32, 1, 1).data]];"""
    page.wait_until(lambda: page.run(middle)[1][3] == 255)
    name, colour = page.run(middle)

    number = showing_order(compared).tolist().index(compared.names.index(name))
    assert np.abs(np.array(colour[:3]) - (number, 255 - number, 128)).max() < 12
    truth = compared.labels.names[compared.targets[compared.names.index(name)]]
    for item in page.run("return [...document.querySelectorAll("
                         "'#cards .card:first-child .truth .class')]"):  # fmt: skip
        assert item.text == truth


def test_it_fits_a_phone(page: Page) -> None:
    page.driver.switch_to.default_content()
    page.run("document.querySelector('iframe').style.width = '360px'")
    page.driver.switch_to.frame(page.wait_for("iframe")[0])

    page.wait_until(lambda: page.run("return window.innerWidth") == 360)
    assert page.run("return document.documentElement.scrollWidth") <= 360


def test_a_table_is_sorted_by_its_head(page: Page) -> None:
    read = "return [...document.querySelectorAll('#class-table tbody tr')].map(" \
           "row => Number(row.cells[6].dataset.value))"  # fmt: skip
    page.run("document.querySelectorAll('#class-table thead button')[6].click()")

    broken = page.run(read)

    assert broken == sorted(broken)


def test_without_scripts_all_but_the_gallery_can_be_read(
    driver: webdriver.Chrome, url: str, summary: dict[str, Any]
) -> None:
    page = Page(driver)
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get(url.replace("index.html", "report.html"))
        table = page.text("#ranks .heat tbody")
        missing = page.text("#gallery noscript")
        tested = summary["classes"]["tested"]
        classes = page.wait_for("#class-table tbody tr", count=tested)
        scripted = [page.wait_for(s)[0] for s in ("#gallery-body", ".scripted-only")]
        mosaic = page.wait_for(".mosaic")[0]

        assert "The gallery needs JavaScript" in missing
        assert table.split()[2] == f"{summary['rank_transitions'][0][0]:,}"
        assert all(row.is_displayed() for row in classes)
        assert mosaic.is_displayed()
        assert not any(element.is_displayed() for element in scripted)
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
