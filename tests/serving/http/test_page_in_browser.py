"""The page at /, in a real browser without a screen."""

import hashlib
import json
import re
import shlex
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import make_server

from classifier.datasets.dataset import Dataset
from classifier.store.comparisons import read_comparisons
from compare.collect.images import WantedImages, open_images
from serving.app import create_app
from serving.config import ServingConfig
from serving.http.pages import WRITTEN_FOR, read_document
from serving.metrics import Metrics
from serving.versions.loading import open_pool
from tests.conftest import WAIT_SECONDS, RunningService, Store, until
from tests.serving.browser_page import GIVE, Page


@pytest.fixture
def page(driver: webdriver.Chrome) -> Iterator[Page]:
    """After every test: no complaint in the console, nothing from another host."""
    page = Page(driver)
    yield page
    # Chromium writes down every refusal, and some tests ask for one.
    refused = re.compile(
        r"\S+/(predict|versions|flagged|shadow)\S* - Failed to load resource"
    )
    assert [line for line in page.log() if not refused.match(line)] == []
    entries = "performance.getEntriesByType('resource').map(e => e.name)"
    origin = page.run("return location.origin")
    loaded = page.run(f"return {entries}")
    assert [u for u in loaded if not u.startswith((origin, f"blob:{origin}"))] == []


@pytest.fixture(scope="module")
def answers(service: RunningService, digits: Dataset) -> dict[Path, Any]:
    """What POST /predict says of 60 images: each version's names and probabilities."""
    found = {}
    for file in digits.val.files[::15]:
        answer = requests.post(
            f"{service.url}/predict?version=v1&version=v2",
            data=file.read_bytes(),
            timeout=WAIT_SECONDS,
        )
        found[file] = [
            [(top["name"], top["probability"]) for top in result["top"]]
            for result in answer.json()["results"]
        ]
    return found


def _find(answers: dict[Path, Any], *, agree: bool) -> Path:
    return next(f for f, (a, b) in answers.items() if (a[0][0] == b[0][0]) is agree)


def test_it_may_load_nothing_from_elsewhere(service: RunningService) -> None:
    answer = requests.get(service.url, timeout=WAIT_SECONDS)
    script = requests.get(f"{service.url}/static/page.js", timeout=WAIT_SECONDS)

    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'; img-src 'self' blob: data:; ")
    assert "unsafe" not in policy
    assert "<script>" not in answer.text
    assert "style=" not in answer.text
    for each in (answer, script):
        assert each.headers["X-Content-Type-Options"] == "nosniff"


def test_the_reference_shows_each_route_and_how_to_ask_it(
    page: Page, service: RunningService
) -> None:
    page.driver.get(f"{service.url}/docs")
    operations = [
        operation
        for path in read_document()["paths"].values()
        for operation in path.values()
        if "summary" in operation
    ]
    shown = page.wait_for(".opblock", count=len(operations))
    summaries = {each.text.split("\n")[-1] for each in shown}
    assert {o["summary"] for o in operations} <= summaries

    page.driver.get(f"{service.url}/docs#/Predictions/predict")
    page.driver.refresh()
    (about,) = page.wait_for("#operations-Predictions-predict .opblock-description")
    assert f"-F image=@y.jpg {service.url}/predict" in about.text
    assert WRITTEN_FOR not in about.text


def test_a_picked_picture_is_answered_by_every_version_as_predict_does(
    page: Page, service: RunningService, answers: dict[Path, Any], store: Store
) -> None:
    file = _find(answers, agree=True)
    page.open(service.url)

    page.pick(file)

    assert page.tables(2) == answers[file]
    name = answers[file][0][0][0]
    assert page.text("#verdict") == f"v1 and v2 agree: {name}"
    size = "8 \N{MULTIPLICATION SIGN} 8 pixels"
    page.wait_for_text("#caption", f"{file.name} · {size} · v1 and v2 in ")
    heads = page.wait_for("#answers thead th + th", count=2)
    for number, head in zip("12", heads, strict=True):
        version = store.registry.resolve(store.model, number)
        accuracy = version.val_top1_accuracy
        assert accuracy is not None
        assert f"epoch {number} · validation {100 * accuracy:.2f} % · " in head.text
        assert head.text.endswith(f"{datetime.now(UTC):%Y}")
        for word in (f"v{number}", *version.aliases):
            assert word in head.text


def test_where_first_answers_differ_words_and_marks_say_so(
    page: Page, service: RunningService, answers: dict[Path, Any]
) -> None:
    file = _find(answers, agree=False)
    names = [[name for name, _ in top] for top in answers[file]]
    page.open(service.url)

    page.pick(file)

    assert page.tables(2) == answers[file]
    assert page.text("#verdict") == f"v1 and v2 disagree: {names[0][0]}, {names[1][0]}"
    common = len({*names[0]} & {*names[1]})
    assert page.text("#overlap") == f"In both lists: {common} of 5 classes."
    rows = page.wait_for("#answers tbody tr", count=len({*names[0], *names[1]}))
    shown = [row.find_element(By.CLASS_NAME, "name").text for row in rows]
    assert shown[:2] == [names[0][0], names[1][0]]
    assert {*shown} == {*names[0], *names[1]}
    for row, name in zip(rows, shown, strict=True):
        cells = row.find_elements(By.TAG_NAME, "td")
        for cell, mine, top in zip(cells, names, answers[file], strict=True):
            is_first = "differs" in (cell.get_attribute("class") or "")
            assert is_first is (name == mine[0])
            least = max(0.1, 100 * top[-1][1])
            bound = f"{'≤' if least > 0.1 else '<'} {least:.1f} %"
            assert (cell.text == bound) is (name not in mine), cell.text


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_may_be_dropped_or_pasted(
    page: Page, service: RunningService, answers: dict[Path, Any], way: str
) -> None:
    file = _find(answers, agree=False)
    page.open(service.url)

    page.run(GIVE, way, list(file.read_bytes()))

    assert page.tables(2) == answers[file]
    assert page.text("#caption").startswith("given.png")


def test_all_of_it_works_by_keyboard(
    page: Page, service: RunningService, answers: dict[Path, Any]
) -> None:
    page.open(service.url)
    page.run("document.body.dataset.opened = 0")
    page.run(
        "document.getElementById('file').onclick = (event) => {"
        "event.preventDefault(); document.body.dataset.opened++ }"
    )

    for key in (Keys.TAB, Keys.TAB, Keys.ENTER, Keys.SPACE):
        page.press(key)

    page.wait_for("body[data-opened='2']")
    page.pick(*list(answers)[:2])
    page.wait_for("#pictures :is(.agree, .disagree)", count=2)
    for key in (Keys.TAB, Keys.TAB, Keys.ENTER):  # the second picture
        page.press(key)
    second = answers[list(answers)[1]]
    page.wait_until(lambda: page.tables(2) == second)
    for key in (Keys.TAB, Keys.SPACE):  # unticks the first version
        page.press(key)
    assert page.tables(1) == [second[1]]


def test_several_pictures_make_a_list_to_go_back_to(
    page: Page, service: RunningService, answers: dict[Path, Any]
) -> None:
    files = list(answers)[:6]
    differing = sum(answers[f][0][0][0] != answers[f][1][0][0] for f in files)
    page.open(service.url)

    page.pick(*files)

    buttons = page.wait_for("#pictures :is(.agree, .disagree)", count=6)
    assert page.text("#tally") == f"The first answers differ on {differing} of 6."
    assert page.tables(2) == answers[files[0]]
    buttons[4].click()
    assert page.text("#caption").startswith(files[4].name)
    assert page.tables(2) == answers[files[4]]
    assert buttons[4].get_attribute("aria-current") == "true"


def test_a_phone_shows_it_without_scrolling_sideways(
    page: Page, copy: Store, answers: dict[Path, Any]
) -> None:
    """The table of four versions scrolls in itself."""
    phone = {"width": 360, "height": 760, "deviceScaleFactor": 1, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        with _serving(copy, ServingConfig(versions="v1,v2,v3,v4")) as port:
            page.open(f"http://127.0.0.1:{port}")
            page.pick(*list(answers)[:9])
            page.wait_for("#pictures :is(.agree, .disagree)", count=9)
            page.tables(4)
            width = page.run("return document.scrollingElement.scrollWidth")
            seen = page.run("return innerWidth")
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    assert width <= seen == 360


def test_a_file_that_is_no_image_gets_the_services_message(
    page: Page, service: RunningService, answers: dict[Path, Any], tmp_path: Path
) -> None:
    file, image = tmp_path / "letter.txt", next(iter(answers))
    file.write_text("<img src=x> no image")
    told = requests.post(
        f"{service.url}/predict",
        data=file.read_bytes(),
        headers={"Content-Type": "application/octet-stream"},
        timeout=WAIT_SECONDS,
    ).json()["error"]["message"]
    page.open(service.url)

    page.pick(file, image)

    page.wait_for("#pictures :is(.agree, .disagree)")  # the other is answered
    assert page.text("#verdict") == "No answer"
    assert page.text("#overlap") == told
    assert "letter.txt" in page.text("#caption")


@contextmanager
def _serving(
    store: Store, config: ServingConfig, *, port: int = 0, below: str = ""
) -> Iterator[int]:
    """Its port, while it serves; `below` is the path at which a proxy has it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store.uri)
        pool = open_pool(config, Metrics())
    pool.load_wanted()
    app = create_app(config, pool=pool)
    mounted = DispatcherMiddleware(NotFound(), {below: app}) if below else app
    server = make_server("127.0.0.1", port, mounted, threaded=True)
    thread = threading.Thread(target=server.serve_forever, name="test-service")
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join(WAIT_SECONDS)
        server.server_close()


def test_a_version_that_is_not_loaded_is_asked_by_a_tick(
    page: Page, store: Store, answers: dict[Path, Any]
) -> None:
    file = _find(answers, agree=False)
    with _serving(store, ServingConfig(versions="all")) as port:
        page.open(f"http://127.0.0.1:{port}")
        page.pick(file)
        assert len(page.tables(1)) == 1
        page.wait_for("summary")[0].click()

        page.wait_for("#available input")[0].click()

        assert page.tables(2) == answers[file]
        page.wait_for("#loaded input:checked", count=2)


def test_a_service_that_is_gone_is_told_and_asked_again(
    page: Page, store: Store, answers: dict[Path, Any]
) -> None:
    file = _find(answers, agree=True)
    config = ServingConfig(versions="v1,v2")
    with _serving(store, config) as port:
        page.open(f"http://127.0.0.1:{port}")

    page.pick(file)

    page.wait_for_text("#message", "is the service running?")
    with _serving(store, config, port=port):
        page.wait_for("#again")[0].click()
        assert page.tables(2) == answers[file]
    page.wait_for("#trouble[hidden]")


def test_a_key_is_asked_for_and_what_is_served_may_be_changed(
    page: Page, store: Store, answers: dict[Path, Any], tmp_path: Path
) -> None:
    file = _find(answers, agree=False)
    keys = tmp_path / "keys"
    keys.write_text(f"someone admin {hashlib.sha256(b'secret').hexdigest()}\n")
    with _serving(store, ServingConfig(versions="v2", keys=keys)) as port:
        page.open(f"http://127.0.0.1:{port}")
        assert "asks for a key" in page.text("#message")

        page.type("#key", "guess", Keys.ENTER)
        page.wait_for_text("#message", "the key is not known here")
        page.type("#key", "secret", Keys.ENTER)
        page.wait_for("#key-form[hidden]")
        page.pick(file)
        assert page.tables(1) == [answers[file][1]]
        page.wait_for("summary")[0].click()
        page.wait_for("#ask-v1")[0].click()
        assert "version 'v1' is not served" in page.text("#answers .refusal")
        page.wait_for("#answers button")[0].click()
        assert page.tables(2) == answers[file]

        assert page.run("return [localStorage.length, document.cookie]") == [0, ""]


def _differing(store: Store) -> dict[str, Any]:
    """What the only comparison keeps of its first picture."""
    (run,) = read_comparisons(store.registry)
    kept = store.registry.text_of_run(run.run_id, "differing.json")
    assert kept is not None
    picture: dict[str, Any] = json.loads(kept)["pictures"][0]
    return picture


def _tops(picture: dict[str, Any]) -> list[list[tuple[str, float]]]:
    return [
        [(top["name"], top["probability"]) for top in picture[side]] for side in "ab"
    ]


@pytest.mark.parametrize("versions", ["v1,v2", "all"])
def test_it_opens_on_a_picture_that_differs_and_asks_nothing(
    page: Page, compared_store: Store, versions: str
) -> None:
    """Also if a version of the comparison is not loaded."""
    picture = _differing(compared_store)
    config = ServingConfig(versions=versions)
    with _serving(compared_store, config, below="/flip") as port:
        page.open(f"http://127.0.0.1:{port}/flip/")

        assert page.tables(2) == _tops(picture)
        names = [top[0][0] for top in _tops(picture)]
        assert page.text("#verdict") == f"v1 and v2 disagree: {', '.join(names)}"
        page.wait_for_text("#caption", f"true class: {picture['truth']['name']}")
        page.wait_for_text("#caption", "of the comparison v1 → v2")
        assert "% of first answers differ on 200 images" in page.text("#comparisons")
        loaded = page.run("return performance.getEntriesByType('resource')")
        assert not [entry for entry in loaded if "predict" in entry["name"]]


def test_own_pictures_take_the_place_of_a_comparisons_which_come_back_by_a_click(
    page: Page, compared_store: Store, answers: dict[Path, Any]
) -> None:
    picture, file = _differing(compared_store), _find(answers, agree=True)
    with _serving(compared_store, ServingConfig(versions="v1,v2")) as port:
        page.open(f"http://127.0.0.1:{port}")
        page.wait_for("#pictures li", count=12)

        page.pick(file)
        page.wait_for("#history[hidden]")
        assert page.tables(2) == answers[file]

        page.wait_for("#comparisons button")[0].click()
        page.wait_for("#pictures li", count=13)
        assert page.tables(2) == _tops(picture)


def test_the_report_opens_in_a_page_of_its_own(
    page: Page, compared_store: Store
) -> None:
    with _serving(compared_store, ServingConfig(versions="v1,v2")) as port:
        page.open(f"http://127.0.0.1:{port}")
        (link,) = page.wait_for("#comparisons a")
        page.driver.get(str(link.get_attribute("href")))

        # Its script ran, and it is no page of the service.
        page.wait_for("html.scripted")
        assert page.run("return self.origin") == "null"
        assert "v2 in place of v1" in page.text("h1")
        page.open(f"http://127.0.0.1:{port}")
        page.tables(2)


def test_the_curl_line_asks_what_the_page_asked(
    page: Page, service: RunningService, answers: dict[Path, Any], tmp_path: Path
) -> None:
    file = tmp_path / "a 'b' $(c).png"
    source = _find(answers, agree=False)
    file.write_bytes(source.read_bytes())
    page.open(service.url)
    page.pick(file)
    page.tables(2)

    page.wait_for("#copy")[0].click()

    page.wait_for_text("#copy", "Copied")
    command = ["sh", "-c", f"{page.text('#curl')} --silent"]
    said = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, check=True)
    results = json.loads(said.stdout)["results"]
    tops = [[(t["name"], t["probability"]) for t in r["top"]] for r in results]
    assert tops == answers[source]
    assert shlex.split(page.text("#curl"))[2] == f"@{file.name}"


def test_a_picture_is_remembered_with_its_true_class(
    page: Page, store: Store, answers: dict[Path, Any], tmp_path: Path
) -> None:
    file = _find(answers, agree=False)
    config = ServingConfig(versions="v1,v2", flagged=tmp_path / "flagged")
    with _serving(store, config) as port:
        page.open(f"http://127.0.0.1:{port}")
        page.pick(file)
        page.tables(2)

        page.type("#truth", "eleven", Keys.ENTER)
        page.wait_for_text("#kept", "no class is called eleven")
        page.type("#truth", "Seven", Keys.ENTER)
        page.wait_for_text("#kept", "Remembered; 1 is kept.")

        page.wait_for_text("#caption", "true class: seven")
        assert page.run("return document.querySelectorAll('#classes option').length")
    images = open_images(WantedImages(source=str(config.flagged)), versions=())
    assert images.class_ids == ("7",)
    assert images.files[0].read_bytes() == file.read_bytes()


def test_without_a_folder_nothing_can_be_remembered(
    page: Page, service: RunningService, answers: dict[Path, Any]
) -> None:
    page.open(service.url)
    page.pick(_find(answers, agree=True))
    page.tables(2)

    page.wait_for("#curl")
    page.wait_for("#keep", count=0)


def test_how_often_a_shadow_version_disagrees_is_shown(
    page: Page, store: Store, answers: dict[Path, Any]
) -> None:
    file = _find(answers, agree=False)
    config = ServingConfig(versions="v1", shadow="v2", shadow_rate=1)
    with _serving(store, config) as port:
        url = f"http://127.0.0.1:{port}"

        def shadow() -> Any:
            return requests.get(f"{url}/shadow", timeout=WAIT_SECONDS).json()

        until(lambda: shadow()["state"] == "ready")
        page.open(url)
        page.wait_for_text("#shadow", "v2 behind v1 no image was asked yet.")
        page.pick(file)
        page.tables(1)
        until(lambda: shadow()["images"] == 1)
        page.open(url)
        page.wait_for_text("#shadow p", "disagrees on 100.0 % (20.7 % to 100.0")
        assert page.text("#shadow tbody td:last-child") == "1"
