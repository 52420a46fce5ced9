"""Every spelling of base64 that people have, in every dialect."""

import base64
from collections.abc import Callable
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from classifier.images.base64_text import from_base64
from tests.conftest import encoded, picture

IMAGE = next(
    data
    for seed in range(100)
    if len(data := encoded(picture(16, 16, seed=seed), "PNG")) % 3 == 1
    and {*"+/"} <= {*base64.b64encode(data).decode()}
)
"""With both letters that the alphabets differ in, and two of padding."""

PLAIN = base64.b64encode(IMAGE).decode()
URL_SAFE = base64.urlsafe_b64encode(IMAGE).decode()

SPELLINGS = {
    "in lines": base64.encodebytes(IMAGE).decode(),
    "in lines of DOS": base64.encodebytes(IMAGE).decode().replace("\n", "\r\n"),
    "in indented lines": f" {base64.encodebytes(IMAGE).decode()}".replace("\n", "\n\t"),
    "for URLs": URL_SAFE,
    "without padding": PLAIN.rstrip("="),
    "for URLs, without padding": URL_SAFE.rstrip("="),
    "as a URL": f"data:image/png;base64,{PLAIN}",
    "as a URL of any kind": f"DATA:;charset=utf-8;BASE64,{URL_SAFE}",
    "as a URL in a form": f"data:image/png;base64,{quote(PLAIN)}",
}


def _v2(text: str) -> tuple[str, object]:
    tensor = {"name": "images", "datatype": "BYTES", "shape": [1], "data": [text]}
    return "/v2/models/digits-tiny/versions/1/infer", {"inputs": [tensor]}


DIALECTS: dict[str, Callable[[str], tuple[str, object]]] = {
    "predict": lambda text: ("/predict", {"instances": [{"b64": text}]}),
    "v2": _v2,
    "inputs": lambda text: ("/invocations", {"inputs": [text]}),
    "instances": lambda text: ("/invocations", {"instances": [{"b64": text}]}),
    "split": lambda text: (
        "/invocations",
        {"dataframe_split": {"columns": ["image"], "data": [[text]]}},
    ),
    "records": lambda text: ("/invocations", {"dataframe_records": [{"image": text}]}),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_spelling_is_read_in_every_dialect(
    dialect: str, client: FlaskClient
) -> None:
    path, document = DIALECTS[dialect](PLAIN)
    expected = client.post(path, json=document)
    assert expected.status_code == 200

    for name, text in SPELLINGS.items():
        path, document = DIALECTS[dialect](text)
        answer = client.post(path, json=document)
        assert answer.data == expected.data, name


@pytest.mark.parametrize(
    "text", ["?", "é", "data:image/png,abc", "data:", "a", "a=b", "no base64"]
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_no_base64_is_a_bad_request(
    dialect: str, text: str, client: FlaskClient
) -> None:
    path, document = DIALECTS[dialect](text)

    answer = client.post(path, json=document)

    assert answer.status_code == 400
    assert b"base64" in answer.data


@pytest.mark.parametrize("name", SPELLINGS)
def test_no_byte_is_lost(name: str) -> None:
    assert from_base64(SPELLINGS[name]) == IMAGE
