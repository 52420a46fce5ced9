"""POST /flagged: pictures are kept with the answers of the versions."""

import json
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from classifier.datasets import flagged
from serving.app import create_app
from serving.config import ServingConfig
from serving.versions.pool import PredictorPool
from tests.conftest import encoded, picture

IMAGE = encoded(picture())
JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "flagged"


@pytest.fixture
def keeper(pool: PredictorPool, folder: Path) -> FlaskClient:
    return create_app(ServingConfig(flagged=folder), pool=pool).test_client()


def test_the_answers_are_those_of_predict_and_are_kept_beside_the_picture(
    keeper: FlaskClient, folder: Path
) -> None:
    asked = keeper.post("/predict?version=v1&version=v2", data=IMAGE).get_json()

    answer = keeper.post(
        "/flagged?version=v1&version=v2&truth=3", data=IMAGE, headers=JPEG
    )

    document = answer.get_json()
    assert answer.status_code == 200
    assert document["results"] == asked["results"]
    assert document["truth"] == {"id": "3", "name": "three"}
    assert document["kept"] == 1
    assert (folder / document["image"]).read_bytes() == IMAGE
    note = json.loads((folder / document["image"]).with_suffix(".json").read_text())
    assert note["results"] == asked["results"]
    assert note["truth"] == document["truth"]
    assert note["flagged_at"].endswith("+00:00")


def test_without_a_version_the_default_answers_and_the_true_class_may_be_unknown(
    keeper: FlaskClient,
) -> None:
    document = keeper.post("/flagged", data=IMAGE, headers=JPEG).get_json()

    assert [result["version"] for result in document["results"]] == ["1"]
    assert document["truth"] is None


@pytest.mark.parametrize(
    ("query", "image", "kind", "status", "message"),
    [
        ("", b"no image", "image/png", 400, "not an image"),
        ("?truth=eleven", IMAGE, "image/png", 400, "no class id of the versions asked"),
        ("?truth=", IMAGE, "image/png", 400, "no class id of the versions asked"),
        ("?truth=1&truth=2", IMAGE, "image/png", 400, "given 2 times"),
        ("?top_k=2", IMAGE, "image/png", 400, "there are version"),
        ("?version=v9", IMAGE, "image/png", 404, "v9"),
        # A page of another site can have these sent without asking first.
        ("", IMAGE, "text/plain", 415, "send one image as image/jpeg"),
        ("", IMAGE, "multipart/form-data", 415, "send one image as image/jpeg"),
        ("", IMAGE, "", 415, "send one image as image/jpeg"),
    ],
)
def test_a_wrong_request_keeps_nothing(
    keeper: FlaskClient,
    folder: Path,
    query: str,
    image: bytes,
    kind: str,
    status: int,
    message: str,
) -> None:
    answer = keeper.post(f"/flagged{query}", data=image, content_type=kind)

    assert answer.status_code == status
    assert message in answer.get_json()["error"]["message"]
    assert [file.name for file in folder.iterdir()] == ["flagged.json"]


def test_a_full_folder_or_disk_is_507_without_our_paths(
    keeper: FlaskClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(flagged, "MOST_PICTURES", 0)
        full = keeper.post("/flagged", data=IMAGE, headers=JPEG)
    (folder / "flagged.json").unlink()
    folder.rmdir()
    gone = keeper.post("/flagged", data=IMAGE, headers=JPEG)

    for answer, message in ((full, "the limit is 0"), (gone, "log says why")):
        assert answer.status_code == 507
        error = answer.get_json()["error"]
        assert error["code"] == "not_kept"
        assert message in error["message"]
        assert str(folder) not in error["message"]


def test_without_the_flag_nothing_is_kept(client: FlaskClient) -> None:
    answer = client.post("/flagged", data=IMAGE, headers=JPEG)

    assert answer.status_code == 404
    assert "--flagged FOLDER" in answer.get_json()["error"]["message"]


def test_a_picture_that_is_coming_takes_no_place(
    pool: PredictorPool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ServingConfig(flagged=folder, threads=1)
    client = create_app(settings, pool=pool).test_client()

    def read(*args: object, **kwargs: object) -> bytes:
        assert client.post("/predict", data=IMAGE).status_code == 200
        return IMAGE

    monkeypatch.setattr("serving.protocols.flagged.read_body", read)

    assert client.post("/flagged", data=IMAGE, headers=JPEG).status_code == 200
