"""The page at /, as a test opens it, sees it and works it in Chromium."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.conftest import WAIT_SECONDS

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")

GIVE = """
    const kind = arguments[0], data = new DataTransfer();
    const bytes = Uint8Array.from(arguments[1]);
    data.items.add(new File([bytes], 'given.png', {type: 'image/png'}));
    document.body.dispatchEvent(kind === 'drop'
      ? new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})
      : new ClipboardEvent('paste', {clipboardData: data, bubbles: true}));
"""
"""Drops or pastes a file of these bytes."""


READ = """
    const table = document.querySelector('#answers table');
    if (!table) return [];
    return [...table.tHead.rows[0].cells].slice(1).map((_, at) =>
        [...table.tBodies[0].rows].flatMap(row => {
            const share = row.cells[at + 1].querySelector('data');
            const name = row.querySelector('.name').textContent;
            return share ? [[name, Number(share.value)]] : [];
        }).sort((one, other) => other[1] - one[1])).filter(top => top.length);
"""
"""For each version that has answered, its classes by probability."""


class Page:
    """What a person sees of it and does with it; waits for what is to come."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get(url)
        self.wait_for("#model:not(:empty), #trouble:not([hidden])")

    def wait_until(self, claim: Callable[[], Any]) -> Any:
        return WebDriverWait(self.driver, WAIT_SECONDS).until(lambda _: claim())

    def wait_for(self, selector: str, *, count: int = 1) -> list[WebElement]:
        self.wait_until(lambda: len(self._find(selector)) == count)
        return self._find(selector)

    def _find(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def wait_for_text(self, selector: str, text: str) -> None:
        self.wait_until(lambda: text in self.text(selector))

    def log(self) -> list[str]:
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries]

    def text(self, selector: str) -> str:
        return self.wait_for(selector)[0].text

    def pick(self, *files: Path) -> None:
        box = self.driver.find_element(By.ID, "file")
        box.send_keys("\n".join(str(file) for file in files))

    def tables(self, count: int) -> list[list[tuple[str, float]]]:
        """Of each version the names and probabilities that it shows."""
        self.wait_until(lambda: len(self.run(READ)) == count)
        return [[tuple(row) for row in top] for top in self.run(READ)]

    def type(self, selector: str, *keys: str) -> None:
        (box,) = self.wait_for(selector)
        box.clear()
        box.send_keys(*keys)

    def press(self, key: str) -> None:
        ActionChains(self.driver).send_keys(key).perform()

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)


@contextmanager
def open_browser(chromium: str, driver: str) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=Service(driver)) as browser:
        yield browser
