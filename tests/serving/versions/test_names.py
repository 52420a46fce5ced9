"""A name means one version, however it is spelled and wherever it is asked for."""

import base64
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask.testing import FlaskClient

from classifier.store.versions import UnknownVersion, Version
from serving.app import create_app
from serving.config import ServingConfig
from serving.inference.predictor import Predictor
from serving.versions.pool import PredictorPool
from tests.conftest import WAIT_SECONDS, Store, encoded, picture
from tests.serving.pools import make_pool, opener

PNG = encoded(picture(), "PNG")
PIXELS = bytes(16 * 16 * 3)
RAW = {"Inference-Header-Content-Length": "0"}
LIVE = ("live", "@live")


def _client(pool: PredictorPool) -> FlaskClient:
    return create_app(ServingConfig(), pool=pool).test_client()


def _meant(client: FlaskClient, name: str) -> set[str]:
    """The numbers that a name has, over all ways to ask; each must answer."""
    versions = "/v2/models/digits-tiny/versions"
    predicted = client.post("/predict", query_string={"version": name}, data=PNG)
    entry = client.get(f"/versions/{name}")
    inferred = client.post(f"{versions}/{name}/infer", data=PIXELS, headers=RAW)
    ready = client.get(f"{versions}/{name}/ready")
    body = {"inputs": [base64.b64encode(PNG).decode()], "params": {"version": name}}
    scored = client.post("/invocations", json=body)
    for answer in (predicted, entry, inferred, ready, scored):
        assert answer.status_code == 200, answer.text
    head = inferred.data[: int(inferred.headers["Inference-Header-Content-Length"])]
    (found,) = [n for n in "1234" if f'"model_version":"{n}"' in head.decode()]
    (row,) = predicted.json["results"]  # type: ignore[index]  # an object
    return {row["version"], entry.json["version"], found}  # type: ignore[index]


@pytest.mark.parametrize(
    ("listed", "spellings", "number"),
    [
        ("v3", ("3", "v3", "V3", "@v3", "003"), "3"),
        ("003", ("3", "v3"), "3"),
        ("live", LIVE, "3"),
        ("@live", LIVE, "3"),
        ("LATEST", ("latest", "Latest", "@latest", "v4"), "4"),
    ],
)
def test_all_spellings_mean_the_same_everywhere(
    copy: Store, listed: str, spellings: tuple[str, ...], number: str
) -> None:
    copy.registry.set_alias(copy.model, "live", "3")
    pool = make_pool(copy, "v1", listed)
    pool.load_wanted()
    client = _client(pool)

    for spelling in spellings:
        assert _meant(client, spelling) == {number}


def test_a_version_that_is_listed_by_two_spellings_is_listed_once(copy: Store) -> None:
    copy.registry.set_alias(copy.model, "live", "3")
    pool = make_pool(copy, "v1", "001", "@live", "live")

    assert pool.names.wanted(copy.model) == ["1", "@live"]


def test_an_alias_means_its_old_version_until_the_new_one_is_loaded(
    copy: Store,
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    open_at_once = opener(copy.registry, [])

    def open_predictor(version: Version) -> Predictor:
        if version.number == "3":
            begun.set()
            assert go_on.wait(WAIT_SECONDS)
        return open_at_once(version)

    copy.registry.set_alias(copy.model, "live", "1")
    pool = make_pool(copy, "@live", open_predictor=open_predictor)
    pool.load_wanted()
    client = _client(pool)
    copy.registry.set_alias(copy.model, "live", "3")

    with ThreadPoolExecutor(1) as threads:
        moving = threads.submit(pool.read_registry)
        assert begun.wait(WAIT_SECONDS)
        for spelling in LIVE:
            assert _meant(client, spelling) == {"1"}
        go_on.set()
        moving.result(WAIT_SECONDS)

    for spelling in LIVE:
        assert _meant(client, spelling) == {"3"}


def test_an_alias_whose_new_version_is_broken_keeps_the_old_one_until_another(
    copy: Store,
) -> None:
    copy.registry.set_alias(copy.model, "live", "1")
    pool = make_pool(copy, "@live")
    pool.load_wanted()
    client = _client(pool)
    copy.bundle("v2").graph.unlink()
    copy.registry.set_alias(copy.model, "live", "2")

    for _ in range(2):
        pool.read_registry()
        for spelling in (*LIVE, "latest", "v1"):
            assert _meant(client, spelling) == {"1"}

    document = client.get("/versions").json
    assert document is not None
    entries = {entry["version"]: entry for entry in document["versions"]}
    assert "live" in entries["1"]["aliases"]
    assert "live" not in entries["2"]["aliases"]
    assert entries["2"]["state"] == "failed"
    assert "model.onnx is missing" in entries["2"]["reason"]
    assert "@live is still v1" in entries["2"]["reason"]

    copy.registry.set_alias(copy.model, "live", "3")
    pool.read_registry()
    assert _meant(client, "live") == {"3"}


def test_an_alias_that_is_not_followed_means_what_the_registry_says(
    copy: Store,
) -> None:
    copy.registry.set_alias(copy.model, "live", "1")
    pool = make_pool(copy, "v1", "v3")
    pool.load_wanted()
    for number in ("3", "1"):
        copy.registry.set_alias(copy.model, "live", number)
        pool.read_registry()
        for spelling in LIVE:
            assert pool.names.resolve(spelling) == pool.status(spelling).version.number
            assert pool.names.resolve(spelling) == number

    copy.registry.set_alias(copy.model, "live", "4")
    pool.read_registry()

    for spelling in LIVE:
        assert pool.status(spelling).version.number == "4"
        with pytest.raises(UnknownVersion, match="is not served"):
            pool.names.resolve(spelling)


def test_two_spellings_in_one_request_are_one_version_though_the_alias_moves(
    copy: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy.registry.set_alias(copy.model, "live", "1")
    pool = make_pool(copy, "@live")
    pool.load_wanted()
    get = pool.get

    def get_and_move(asked: str | None, *, deadline: float) -> Predictor:
        found = get(asked, deadline=deadline)
        copy.registry.set_alias(copy.model, "live", "3")
        pool.read_registry()
        return found

    monkeypatch.setattr(pool, "get", get_and_move)

    answer = _client(pool).post("/predict?version=live&version=@live", data=PNG)

    assert answer.json is not None
    assert [row["version"] for row in answer.json["results"]] == ["1"]


@pytest.mark.parametrize("asked", ["live", "@live"])
def test_an_alias_is_added_and_taken_away_by_either_spelling(
    copy: Store, asked: str
) -> None:
    copy.registry.set_alias(copy.model, "live", "3")
    pool = make_pool(copy, "v1")
    pool.load_wanted()
    client = _client(pool)

    assert client.post(f"/versions/{asked}").status_code == 200
    assert pool.names.state()["numbers"] == {"1": "1", "@live": "3"}
    copy.registry.set_alias(copy.model, "live", "4")
    pool.read_registry()
    assert _meant(client, "@live") == {"4"}
    assert client.delete(f"/versions/{asked}").status_code == 200

    assert pool.names.state()["numbers"] == {"1": "1"}


def test_what_the_registry_has_no_more_is_shown_while_it_is_served(
    copy: Store,
) -> None:
    copy.registry.set_alias(copy.model, "live", "3")
    pool = make_pool(copy, "v1", "@live")
    pool.load_wanted()
    copy.registry.client.delete_model_version(copy.model, "3")
    pool.read_registry()

    for spelling in (*LIVE, "v3"):
        assert _meant(_client(pool), spelling) == {"3"}
