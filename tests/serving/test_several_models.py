"""Versions of several models in one live service, of two processes."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.http as triton
from selenium import webdriver

from classifier.inference.backends.onnx_runtime import OnnxBackend
from classifier.inference.predict import predict
from classifier.store.versions import UnknownModel, UnknownVersion
from compare.__main__ import main as compare
from serving.config import ServingConfig
from serving.metrics import Metrics
from serving.shadow.shadow import open_shadow
from serving.shadow.version import UnfitShadow
from serving.versions.loading import open_pool
from serving.versions.registry_watch import RegistryWatch
from tests.conftest import (
    WAIT_SECONDS,
    RunningService,
    Store,
    encoded,
    picture,
    serving,
    until,
)
from tests.serving.browser_page import Page
from training.config.settings import TrainingConfig
from training.train import train

DIGITS, FLOWERS = "digits-tiny", "flowers"
JPEG = encoded(picture())


@pytest.fixture(scope="module")
def both(
    quantised_store: Store, tmp_path_factory: pytest.TempPathFactory, cache: Path
) -> Store:
    """A store with a second model, of another size and of three classes."""
    made = quantised_store.copy(tmp_path_factory.mktemp("both") / "store")
    data = tmp_path_factory.mktemp("flowers")
    for seed, name in enumerate(("rose", "daisy", "tulip")):
        for part, count in (("train", 4), ("val", 2)):
            folder = data / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                image = encoded(picture(seed=10 * seed + number), "PNG")
                (folder / f"{number}.png").write_bytes(image)
    config = TrainingConfig(
        data=str(data),
        model=FLOWERS,
        arch="tiny",
        epochs=2,
        image_size=24,
        batch_size=4,
        recipe="plain",
        device="cpu",
        precision="fp32",
        cache=cache,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", made.uri)
        train(config, arguments=[])
    for model in (DIGITS, FLOWERS):
        made.registry.set_alias(model, "live", "1")
    return made


LISTED = f"{DIGITS}/@live,{DIGITS}/v2.int8,models:/{FLOWERS}@live"


@pytest.fixture(scope="module")
def live(both: Store) -> Iterator[RunningService]:
    flags = ("--workers", "2", "--follow-seconds", "0.1", "--drain-seconds", "0")
    with serving(both, "--versions", LISTED, *flags) as service:
        yield service


def _ask(live: RunningService, path: str, method: str = "GET") -> requests.Response:
    """On a connection of its own, which any of the processes takes."""
    data = JPEG if path.startswith("/predict") else None
    return requests.request(
        method, f"{live.url}{path}", data=data, timeout=WAIT_SECONDS
    )


def _predict(live: RunningService, *versions: str, top_k: int = 1) -> Any:
    query = "&".join([f"top_k={top_k}", *(f"version={name}" for name in versions)])
    return _ask(live, f"/predict?{query}", "POST").json()


def _who(live: RunningService, *versions: str) -> list[tuple[str, str]]:
    results = _predict(live, *versions)["results"]
    return [(row["model"], row["version"]) for row in results]


def _everywhere(live: RunningService, path: str, method: str = "GET") -> set[int]:
    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda _: _ask(live, path, method), range(32))
        return {answer.status_code for answer in answers}


def _expected(store: Store, model: str, version: str) -> Any:
    bundle = Store(store.folder, model).bundle(version)
    backend = OnnxBackend.for_one_batch_at_a_time(bundle)
    ((best,),) = predict([JPEG], bundle, backend, count=1)
    return best


def test_versions_of_both_answer_each_with_its_own_size_and_labels(
    live: RunningService, both: Store
) -> None:
    answer = _predict(live, f"{DIGITS}/v1", f"models:/{FLOWERS}/1", top_k=3)

    assert answer["model"] == DIGITS
    for row, model in zip(answer["results"], (DIGITS, FLOWERS), strict=True):
        assert list(row) == ["image", "model", "version", "top"]
        assert (row["model"], row["version"], len(row["top"])) == (model, "1", 3)
        best = _expected(both, model, "1")
        assert row["top"][0]["id"] == best.id
        assert row["top"][0]["probability"] == pytest.approx(best.probability, abs=1e-5)
    ids = {top["id"] for top in answer["results"][1]["top"]}
    assert ids == {"rose", "daisy", "tulip"}


def test_top_k_has_the_range_of_each_model(live: RunningService) -> None:
    assert len(_predict(live, f"{DIGITS}/v1", top_k=10)["results"][0]["top"]) == 10

    message = _predict(live, f"{DIGITS}/v1", f"{FLOWERS}/v1", top_k=4)["error"][
        "message"
    ]

    assert message == f"top_k is 4; version {FLOWERS}/1 has 3 classes, ask for 1 to 3"


def test_without_a_name_the_first_of_the_list_answers(live: RunningService) -> None:
    assert _who(live) == [(DIGITS, "1")]
    assert _predict(live, f"{FLOWERS}/@live")["model"] == FLOWERS


def test_all_spellings_mean_the_same_and_count_once(live: RunningService) -> None:
    names = (f"{FLOWERS}/v1", f"{FLOWERS}%2F1", f"models:/{FLOWERS}/1")
    aliases = (f"{FLOWERS}/live", f"{FLOWERS}/@live", f"models:/{FLOWERS}@live")

    assert _who(live, *names, *aliases) == [(FLOWERS, "1")]
    for name in (*names, *aliases):
        assert _ask(live, f"/versions/{name}").json()["model"] == FLOWERS
        assert _ask(live, f"/versions/{name}").json()["version"] == "1"


def test_a_name_without_its_model_is_enough_if_one_model_has_it(
    live: RunningService,
) -> None:
    assert _who(live, "v2.int8", f"{DIGITS}/2.int8") == [(DIGITS, "2.int8")]

    for ambiguous in ("v1", "@live"):
        answer = _ask(live, f"/predict?version={ambiguous}", "POST")
        assert answer.status_code == 400
        assert answer.json()["error"] == {
            "code": "bad_request",
            "message": f"several models have a version {ambiguous!r}; name one of "
            f"{DIGITS}/v1, {FLOWERS}/v1",
        }
    assert _ask(live, "/versions/v2").status_code == 400  # in the registry of both
    assert _ask(live, "/versions/v2", "POST").status_code == 400


def test_what_is_not_served_is_unknown_and_the_message_lists_what_is(
    live: RunningService,
) -> None:
    for name in ("trees/v1", f"{FLOWERS}/v9", "v9"):
        answer = _ask(live, f"/predict?version={name}", "POST")
        assert answer.status_code == 404
        assert answer.json()["error"] == {
            "code": "unknown_version",
            "message": f"version {name!r} is not served; this service answers with "
            f"{DIGITS}/v1, {DIGITS}/v2.int8, {FLOWERS}/v1; see GET /versions",
        }
    message = _ask(live, "/versions/trees/v1", "POST").json()["error"]["message"]
    assert message == (
        f"no version 'trees/v1' here; the models here are {DIGITS}, {FLOWERS}"
    )


def test_entries_have_their_model(live: RunningService) -> None:
    listed = _ask(live, "/versions").json()

    assert listed["model"] == DIGITS
    assert [(e["model"], e["version"], e["state"]) for e in listed["versions"]] == [
        (DIGITS, "1", "ready"),
        (DIGITS, "2", "available"),
        (DIGITS, "2.int8", "ready"),
        (FLOWERS, "1", "ready"),
        (FLOWERS, "2", "available"),
    ]


@pytest.mark.parametrize("slash", ["/", "%2F"])
def test_a_version_is_added_and_taken_away_in_all_processes(
    live: RunningService, slash: str
) -> None:
    path = f"/versions/{FLOWERS}{slash}v2"

    added = _ask(live, path, "POST")
    assert (added.status_code, added.json()["model"]) == (200, FLOWERS)
    assert added.json()["state"] == "ready"
    asked = f"/predict?version={FLOWERS}/v2&version={DIGITS}/v1"
    assert _everywhere(live, asked, "POST") == {200}
    assert _who(live, "v2") == [(FLOWERS, "2")]  # digits-tiny/v2 is not served

    assert _ask(live, path, "DELETE").status_code == 200
    assert _everywhere(live, asked, "POST") == {404}
    assert _everywhere(live, f"/predict?version={DIGITS}/v1", "POST") == {200}
    assert _ask(live, path, "DELETE").status_code == 404


def test_an_alias_of_one_model_moves_and_the_others_stay(
    live: RunningService, both: Store
) -> None:
    both.registry.set_alias(FLOWERS, "live", "2")
    until(lambda: _who(live, f"{FLOWERS}/@live") == [(FLOWERS, "2")])

    assert _who(live, f"{DIGITS}/@live") == [(DIGITS, "1")]
    both.registry.set_alias(FLOWERS, "live", "1")
    until(lambda: _everywhere(live, f"/predict?version={FLOWERS}/1", "POST") == {200})


def test_triton_clients_find_each_model_by_its_name(
    live: RunningService, both: Store
) -> None:
    with triton.InferenceServerClient(live.url.removeprefix("http://")) as client:
        for model, size, classes in ((DIGITS, 16, 10), (FLOWERS, 24, 3)):
            metadata = client.get_model_metadata(model)
            assert metadata["inputs"][0]["shape"] == [-1, size, size, 3]
            assert metadata["outputs"][0]["shape"] == [-1, classes]
            pixels = triton.InferInput("images", [1, size, size, 3], "UINT8")
            pixels.set_data_from_numpy(np.zeros((1, size, size, 3), np.uint8))
            answer = client.infer(model, [pixels])
            assert answer.get_response()["model_name"] == model
            assert answer.as_numpy("probabilities").shape == (1, classes)
        assert client.is_model_ready(FLOWERS, "live")
        assert not client.is_model_ready(FLOWERS, "2")
        names = {entry["name"] for entry in client.get_model_repository_index()}
        assert names == {DIGITS, FLOWERS}
        client.load_model(FLOWERS, config=None)
        assert client.is_model_ready(FLOWERS, "1")
    assert _ask(live, "/v2/models").json() == {"models": [DIGITS, FLOWERS]}


def test_invocations_take_a_name_with_its_model(live: RunningService) -> None:
    pixels = np.zeros((1, 24, 24, 3), int).tolist()
    body = {"inputs": pixels, "params": {"version": f"models:/{FLOWERS}/1"}}

    answer = requests.post(f"{live.url}/invocations", json=body, timeout=WAIT_SECONDS)

    assert len(answer.json()["predictions"]["logits"][0]) == 3


def test_metrics_tell_versions_of_the_same_number_apart(live: RunningService) -> None:
    _predict(live, f"{DIGITS}/v1", f"{FLOWERS}/v1")

    text = _ask(live, "/metrics").text

    counted = re.findall(r'serving_requests_total\{.*version="(.+?)"\} (\d+)', text)
    assert {f"{DIGITS}/1", f"{FLOWERS}/1"} <= {version for version, _ in counted}
    for model in (DIGITS, FLOWERS):
        assert re.search(
            rf'serving_model_info\{{.*model="{model}".*version="{model}/1"\}} 1', text
        )


def test_compare_asks_one_service_for_versions_of_two_models(
    live: RunningService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "map.csv").write_text("a_id,b_id\n0,rose\n1,daisy\n2,tulip\n")
    pair = ["--a", "v1", "--b", f"{FLOWERS}/@live", "--model", DIGITS]
    common = ["--url", live.url, "--data", "digits", "--no-mlflow", "--limit", "60"]
    where = ["--class-map", str(tmp_path / "map.csv"), "--out", str(tmp_path / "x")]

    assert compare([*pair, *common, *where]) == 0
    assert capsys.readouterr().out.startswith(f"{FLOWERS}/v1 (B) in place of {DIGITS}/")

    assert compare(["--a", "v1", "--b", "v2", *common]) == 2
    assert f"name one of {DIGITS}/v1, {FLOWERS}/v1" in capsys.readouterr().err


def _pool_of(store: Store, versions: str, *, model: str | None = None) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store.uri)
        return open_pool(ServingConfig(versions=versions, model=model), Metrics())


def test_a_shadow_that_has_other_classes_is_refused_at_the_start(
    both: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", both.uri)
    config = ServingConfig(versions=f"{DIGITS}/v1", shadow=f"{FLOWERS}/@live")
    pool = open_pool(config, Metrics())

    with pytest.raises(UnfitShadow, match=r"3 and 10.*it knows 'daisy'.*same classes"):
        open_shadow(config, pool, Metrics())


def test_a_listed_name_without_its_model_is_of_the_model_flag(both: Store) -> None:
    pool = _pool_of(both, f"v1,{FLOWERS}/v1", model=DIGITS)

    assert pool.names.numbers == [f"{DIGITS}/1", f"{FLOWERS}/1"]
    assert _pool_of(both, f"{FLOWERS}/v1,{FLOWERS}/2").names.numbers == ["1", "2"]
    with pytest.raises(
        UnknownModel, match=f"version v1 .*--model: {DIGITS}, {FLOWERS}"
    ):
        _pool_of(both, f"v1,{FLOWERS}/v1")


def test_a_model_or_version_that_is_not_there_is_told_with_what_is(both: Store) -> None:
    with pytest.raises(UnknownModel, match=f"'mine'; the registry has {DIGITS}, "):
        _pool_of(both, f"mine/v1,{FLOWERS}/v1")
    with pytest.raises(UnknownVersion, match=f"no version 'v9' of '{FLOWERS}'; there"):
        _pool_of(both, f"{DIGITS}/v1,{FLOWERS}/v9")


def test_when_the_first_is_taken_away_the_next_of_the_list_answers(
    both: Store,
) -> None:
    pool = _pool_of(both, f"{FLOWERS}/v1,{DIGITS}/v1,{FLOWERS}/v2")

    for number, model in ((f"{FLOWERS}/1", DIGITS), (f"{DIGITS}/1", FLOWERS)):
        pool.names.remove(number, [number])
        assert pool.model == model
        assert pool.names.resolve(None) == pool.names.default_of(model)
    with pytest.raises(UnknownVersion, match=f"no version of '{DIGITS}' is served"):
        pool.names.default_of(DIGITS)


def test_a_model_that_was_deleted_hinders_no_other(both: Store, tmp_path: Path) -> None:
    own = both.copy(tmp_path / "store")
    watch = RegistryWatch(own.registry, DIGITS, FLOWERS, every_seconds=600)
    own.registry.client.delete_registered_model(DIGITS)
    own.registry.set_alias(FLOWERS, "new", "2")

    for read in (watch.look, watch.read):
        read()
        named = [v.name for v in watch.versions if "new" in v.aliases]
        assert named == [f"{FLOWERS}/2"]
        assert len(watch.versions) == 4
        assert not watch.is_up


def test_with_one_model_a_name_with_its_model_changes_no_answer(
    service: RunningService,
) -> None:
    for path in ("/versions/v1", "/predict?version=v1&version=@best"):
        method = "POST" if "predict" in path else "GET"
        plain = _ask(service, path, method)
        full = path.replace("v1", f"{DIGITS}/v1").replace("@best", f"{DIGITS}/@best")

        assert _ask(service, full, method).content == plain.content
        assert all("model" not in row for row in plain.json().get("results", ()))
    assert all("model" not in e for e in _ask(service, "/versions").json()["versions"])
    assert _ask(service, f"/predict?version={FLOWERS}/v1", "POST").status_code == 404


def test_the_page_shows_the_answers_of_all_models_with_their_names(
    live: RunningService, driver: webdriver.Chrome, tmp_path: Path
) -> None:
    file = tmp_path / "x.jpg"
    file.write_bytes(JPEG)
    served = [f"{DIGITS}/v1", f"{DIGITS}/v2.int8", f"{FLOWERS}/v1"]
    page = Page(driver)

    page.open(live.url)
    page.pick(file)

    assert len(page.tables(3)) == 3
    assert page.text("#model") == f"{DIGITS}, {FLOWERS}"
    titles = "return [...document.querySelectorAll('thead th b')].map(b => b.innerText)"
    assert page.run(titles) == served
    page.wait_for("summary")[0].click()
    page.wait_for(f"[id='ask-{FLOWERS}/v2']")[0].click()
    page.wait_for(".refusal button")[0].click()  # Serve flowers/v2 to everybody
    assert len(page.tables(4)) == 4
    assert _who(live, f"{FLOWERS}/v2") == [(FLOWERS, "2")]
    assert _ask(live, f"/versions/{FLOWERS}/v2", "DELETE").status_code == 200
