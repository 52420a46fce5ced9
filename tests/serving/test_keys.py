"""Who may ask, and who may change what is served."""

import hashlib
import logging
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from serving.app import create_app
from serving.config import ServingConfig
from serving.keys import BadKeys, Forbidden, Keys, Unauthorized, read_keys
from serving.predictor_pool import PredictorPool
from tests.conftest import encoded, picture


def _line(name: str, scope: str, key: str) -> str:
    return f"{name} {scope} {hashlib.sha256(key.encode()).hexdigest()}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    file.write_text(
        "# who may ask\n\n"
        + _line("page", "predict", "let-me-ask")
        + _line("owner", "admin", "let-me-change")
    )
    return file


def test_a_key_allows_its_scope_and_an_admin_key_all(file: Path) -> None:
    keys = Keys(file)

    assert keys.check("Bearer let-me-ask", "predict") == "page"
    assert keys.check("bearer let-me-change", "predict") == "owner"
    assert keys.check("Bearer let-me-change", "admin") == "owner"
    with pytest.raises(Forbidden, match="'page' may ask for predictions alone"):
        keys.check("Bearer let-me-ask", "admin")


@pytest.mark.parametrize(
    "given", [None, "", "let-me-ask", "Basic let-me-ask", "Bearer ", "Bearer nobody's"]
)
def test_without_a_known_key_nothing_is_allowed(file: Path, given: str | None) -> None:
    with pytest.raises(Unauthorized):
        Keys(file).check(given, "predict")


def test_keys_are_read_again_when_the_file_changes(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    keys = Keys(file)
    file.write_text(_line("new", "predict", "a-new-key"))

    assert keys.check("Bearer a-new-key", "predict") == "new"
    with pytest.raises(Unauthorized):
        keys.check("Bearer let-me-ask", "predict")

    file.write_text("no keys at all, but words\n")
    assert keys.check("Bearer a-new-key", "predict") == "new"
    file.unlink()
    assert keys.check("Bearer a-new-key", "predict") == "new"
    assert [r.levelname for r in caplog.records] == ["INFO", "ERROR", "ERROR"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("page predict secret-in-plain\n", "line 1 of .* is not"),
        ("# none\n", "has no key"),
        (_line("page", "everything", "x"), "line 1 of .* is not"),
    ],
)
def test_a_file_that_is_none_of_keys_is_refused_without_telling_what_is_in_it(
    file: Path, text: str, message: str
) -> None:
    file.write_text(text)

    with pytest.raises(BadKeys, match=message) as refused:
        read_keys(file)

    assert "secret-in-plain" not in str(refused.value)


@pytest.fixture
def client(pool: PredictorPool, file: Path) -> FlaskClient:
    return create_app(ServingConfig(keys=file), pool=pool).test_client()


def test_probes_and_metrics_are_open_and_all_else_asks_for_a_key(
    client: FlaskClient,
) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        assert client.get(path).status_code == 200

    refused = client.post("/predict", data=encoded(picture()))
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert refused.json == {
        "error": {
            "code": "unauthorized",
            "message": "this service asks for a key; send the header 'Authorization: "
            "Bearer KEY'",
        }
    }
    assert client.get("/versions").status_code == 401
    assert client.post("/versions/v2").status_code == 401

    key = {"Authorization": "Bearer let-me-ask"}
    assert client.post("/predict", data=encoded(picture()), headers=key).json
    assert client.get("/versions", headers=key).status_code == 200
    assert client.post("/versions/v2", headers=key).status_code == 403
    assert client.delete("/versions/v9", headers=key).status_code == 403
    admin = {"Authorization": "Bearer let-me-change"}
    assert client.post("/versions/v2", headers=admin).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("rebound.example.org", 403),
        ("[::1", 403),
    ],
)
def test_without_keys_a_page_that_renames_this_machine_changes_nothing(
    pool: PredictorPool, host: str, status: int
) -> None:
    client = create_app(ServingConfig(), pool=pool).test_client()

    answer = client.post(
        "/versions/v2", headers={"Host": host, "Origin": f"http://{host}"}
    )

    assert answer.status_code == status


@pytest.mark.parametrize(
    ("caller", "server", "origin", "status"),
    [
        ("127.0.0.1", "127.0.0.1", None, 200),
        ("::1", "::1", None, 200),
        ("127.0.0.1", "0.0.0.0", None, 403),
        ("192.0.2.7", "127.0.0.1", None, 403),
        ("127.0.0.1", "127.0.0.1", "http://localhost", 200),
        ("127.0.0.1", "127.0.0.1", "https://example.org", 403),
    ],
)
def test_without_keys_only_this_machine_changes_what_is_served(
    pool: PredictorPool, caller: str, server: str, origin: str | None, status: int
) -> None:
    client = create_app(ServingConfig(), pool=pool).test_client()

    answer = client.post(
        "/versions/v2",
        environ_overrides={"REMOTE_ADDR": caller, "SERVER_NAME": server},
        headers={} if origin is None else {"Origin": origin},
    )

    assert answer.status_code == status
