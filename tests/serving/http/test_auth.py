"""API keys, names of the service, and who may change what is served."""

import hashlib
import logging
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from serving.app import create_app
from serving.config import ServingConfig
from serving.http.auth import BadKeys, Forbidden, Keys, Unauthorized, read_keys
from serving.versions.pool import PredictorPool
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


def test_a_file_as_windows_writes_it_is_read(file: Path) -> None:
    text = file.read_text()
    file.write_bytes(("\ufeff" + text.replace("\n", "\r\n")).encode())

    assert Keys(file).check("Bearer let-me-ask", "predict") == "page"


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

    assert [r.levelname for r in caplog.records] == ["INFO"]


@pytest.mark.parametrize("text", ["no keys at all, but words\n", "\ud8ff", None])
def test_a_broken_file_leaves_the_old_keys_and_says_so(
    file: Path, caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    heard: list[bool] = []
    good = file.read_text()
    keys = Keys(file, observe=heard.append)
    if text is None:
        file.unlink()
        file.mkdir()
    else:
        file.write_bytes(text.encode("utf-8", "surrogatepass"))

    assert keys.check("Bearer let-me-ask", "predict") == "page"
    assert keys.check("Bearer let-me-change", "admin") == "owner"
    assert heard == [True, False]
    assert [r.levelname for r in caplog.records] == ["ERROR"]
    assert "keys kept as they were" in caplog.text

    if text is None:
        file.rmdir()
    file.write_text(good)
    assert keys.check("Bearer let-me-ask", "predict") == "page"
    assert heard == [True, False, True]


@pytest.mark.parametrize("text", ["", "\n# page predict 0000\n", None])
def test_without_a_file_or_a_key_in_it_nobody_may_ask(
    file: Path, caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    good = file.read_text()
    keys = Keys(file)
    if text is None:
        file.unlink()
    else:
        file.write_text(text)

    for key in ("let-me-ask", "let-me-change"):
        with pytest.raises(Unauthorized):
            keys.check(f"Bearer {key}", "predict")
    assert "all keys are refused" in caplog.text

    file.write_text(good)
    assert keys.check("Bearer let-me-ask", "predict") == "page"


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


def test_probes_and_pages_are_open_and_all_else_asks_for_a_key(
    client: FlaskClient,
) -> None:
    probes = ("/livez", "/readyz", "/ping", "/health", "/v2/health/ready")
    for path in (*probes, "/", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 200
    for path in ("/metrics", "/version", "/v2"):
        assert client.get(path).status_code == 401

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
    for path in ("/versions", "/metrics", "/version"):
        assert client.get(path, headers=key).status_code == 200
    for path in ("/versions/v2", "/versions/digits-tiny/v2", "/versions/a%2Fv9"):
        assert client.post(path, headers=key).status_code == 403
        assert client.delete(path, headers=key).status_code == 403
    admin = {"Authorization": "Bearer let-me-change"}
    assert client.post("/versions/v2", headers=admin).status_code == 200


def test_a_metric_says_that_the_file_of_keys_is_broken(
    client: FlaskClient, file: Path
) -> None:
    key = {"Authorization": "Bearer let-me-ask"}

    assert "serving_keys_up 1.0" in client.get("/metrics", headers=key).text
    file.write_text("words\n")
    assert "serving_keys_up 0.0" in client.get("/metrics", headers=key).text


ASKED = [
    *(("GET", path) for path in ("/versions", "/versions/v1", "/metrics", "/version")),
    *(("GET", path) for path in ("/", "/docs", "/openapi.json", "/v2/models")),
    *(("POST", path) for path in ("/predict", "/invocations", "/v2/repository/index")),
    ("POST", "/v2/models/digits-tiny/infer"),
]


@pytest.mark.parametrize(
    "host",
    [
        *("rebound.example.org", "rebound.example.org:8000", "0.0.0.0:8000", "[::1"),
        *("127.0.0.1.example.org", "127.0.0.1@example.org", "192.0.2.7", "localhos"),
    ],
)
def test_without_keys_a_page_that_renames_this_machine_reads_nothing(
    pool: PredictorPool, host: str
) -> None:
    client = create_app(ServingConfig(), pool=pool).test_client()

    for method, path in ASKED:
        answer = client.open(path, method=method, headers={"Host": host})
        assert answer.status_code == 403, path
        assert "--allowed-hosts" in answer.text
    for path in ("/livez", "/readyz", "/ping", "/v2/health/live"):
        assert client.get(path, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("host", "config", "server"),
    [
        *((host, ServingConfig(), "127.0.0.1") for host in ("localhost", "[::1]:80")),
        *((host, ServingConfig(), "::1") for host in ("127.9.8.7", "LOCALHOST:8000")),
        ("own.example", ServingConfig(host="own.example"), "127.0.1.1"),
        ("A.example:80", ServingConfig(allowed_hosts="b.c, a.example"), "127.0.0.1"),
        ("any.example", ServingConfig(allowed_hosts="*"), "127.0.0.1"),
        ("any.example", ServingConfig(host="0.0.0.0"), "0.0.0.0"),
    ],
)
def test_a_name_that_is_the_services_own_is_answered(
    pool: PredictorPool, host: str, config: ServingConfig, server: str
) -> None:
    client = create_app(config, pool=pool).test_client()

    answer = client.get(
        "/versions", headers={"Host": host}, environ_overrides={"SERVER_NAME": server}
    )

    assert answer.status_code == 200


def test_with_keys_any_name_is_answered(client: FlaskClient) -> None:
    asked = {"Host": "any.example", "Authorization": "Bearer let-me-ask"}

    assert client.get("/versions", headers=asked).status_code == 200


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


def test_without_keys_a_name_that_a_proxy_sends_changes_nothing(
    pool: PredictorPool,
) -> None:
    app = create_app(ServingConfig(allowed_hosts="a.example"), pool=pool)
    client, asked = app.test_client(), {"Host": "a.example"}

    assert client.get("/versions", headers=asked).status_code == 200
    assert client.post("/versions/v2", headers=asked).status_code == 403


@pytest.mark.parametrize(
    "header",
    [
        {"X-Forwarded-For": "192.0.2.7"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=192.0.2.7"},
        {"X-Real-IP": "192.0.2.7"},
        {"Via": "1.1 proxy"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
    ],
)
def test_without_keys_nobody_behind_a_proxy_or_a_page_changes_what_is_served(
    pool: PredictorPool, file: Path, header: dict[str, str]
) -> None:
    client = create_app(ServingConfig(), pool=pool).test_client()
    with_keys = create_app(ServingConfig(keys=file), pool=pool).test_client()
    change = "/v2/repository/models/digits-tiny"

    for method, path in (
        ("POST", "/versions/v2"),
        ("DELETE", "/versions/v2"),
        ("POST", "/versions/digits-tiny/v2"),
        ("DELETE", "/versions/digits-tiny%2Fv2"),
        ("POST", f"{change}/load"),
        ("POST", f"{change}/unload"),
    ):
        assert client.open(path, method=method, headers=header).status_code == 403
    assert client.get("/versions", headers=header).status_code == 200
    admin = {"Authorization": "Bearer let-me-change", **header}
    assert with_keys.post("/versions/v2", headers=admin).status_code == 200


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
