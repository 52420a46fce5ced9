"""A live service and requests that are damaged anywhere: none is a fault of its own."""

import base64
import json
import random
import re
import socket
from collections.abc import Iterator

import numpy as np
import pytest

from tests.conftest import RunningService, encoded, npy, picture
from tests.serving.load import ask, connect, head

JPEG = encoded(picture(16, 16))
B64 = base64.b64encode(JPEG).decode()
INFER = "/v2/models/digits-tiny/infer"
JSON = "Content-Type: application/json"


def _post(target: str, body: bytes | object, *lines: str) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head(f"Content-Length: {len(data)}", *lines, target=target) + data


TENSOR = {"name": "images", "shape": [1], "datatype": "BYTES", "data": [B64]}
PIXELS = {
    "name": "images",
    "shape": [1, 16, 16, 3],
    "datatype": "UINT8",
    "parameters": {"binary_data_size": 768},
}
BINARY = json.dumps({"inputs": [PIXELS]}).encode()
CHUNKED = head("Transfer-Encoding: chunked", "Content-Type: image/jpeg")
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    + JPEG
    + b"\r\n--b--\r\n"
)

RIGHT = [
    _post("/predict?version=v1&top_k=3", JPEG, "Content-Type: image/jpeg"),
    _post(
        "/predict",
        npy(np.zeros((1, 16, 16, 3), np.uint8)),
        "Content-Type: application/x-npy",
    ),
    _post("/predict", {"instances": [{"b64": B64}]}, JSON),
    _post("/predict", FORM, "Content-Type: multipart/form-data; boundary=b"),
    _post("/invocations", {"inputs": [B64], "params": {"version": "2"}}, JSON),
    _post("/invocations", {"inputs": np.zeros((1, 16, 16, 3), int).tolist()}, JSON),
    _post("/invocations", {"dataframe_records": [{"image": B64}]}, JSON),
    _post(INFER, {"inputs": [TENSOR], "outputs": [{"name": "logits"}]}, JSON),
    _post(
        INFER, BINARY + bytes(768), f"Inference-Header-Content-Length: {len(BINARY)}"
    ),
    _post(INFER, bytes(768), "Inference-Header-Content-Length: 0"),
    _post("/v2/repository/index", {}, JSON),
    CHUNKED + b"%x;a=b\r\n" % len(JPEG) + JPEG + b"\r\n0\r\nX-Trailer: 1\r\n\r\n",
    *(
        head(target=target, method="GET")
        for target in (
            *("/versions", "/versions/v1", "/metrics", "/", "/openapi.json"),
            *("/version", "/static/page.js", "/v2/models/digits-tiny/config"),
        )
    ),
]

LINES = [
    *("SCRIPT_NAME: /x", "Script-Name: /x", "PATH_INFO: /y", "X-Forwarded-Proto: s"),
    *("Content-Encoding: gzip", "Content-Encoding: br", "Expect: 100-continue"),
    *("Expect: wonders", "Transfer-Encoding: gzip", "Transfer-Encoding: chunked"),
    *("Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMA",),
    *("Range: bytes=0-5", "If-Modified-Since: x", "Host: b", "Cookie: a=\xff; ;=;"),
    *("X-Request-Timeout-Ms: \xb2", "X-Request-ID: \x01", "Authorization: Bearer \xff"),
    *("Content-Type: multipart/form-data", "Content-Type: image/jpeg; \xff=\xff"),
    *("Inference-Header-Content-Length: -1", "Content-Length: 5", "Content-Type: \x00"),
    *("Origin: null", "Forwarded: for=1", "A: " + "y" * 9000),
]
TARGETS = [
    *("/predict?top_k=1000000", "/predict?version=%00", "/predict?version=%ff"),
    *("/predict?%ff=1", "//", "*", "/versions/%ff%fe", "/versions/" + "v" * 3000),
    *("/v2/models/%00/infer", "/static/%2e%2e/app.py", "/static/%00", "/static/"),
    *("http://evil/versions", "http://[::1/versions", "/a b", "/%", "/?\x00", "/\xb2"),
    *("/v2/models/digits-tiny/versions/%D9%A3", "/invocations?x", "/predict;x"),
]
METHODS = ["GET", "PUT", "OPTIONS", "HEAD", "TRACE", "CONNECT", "PRI", "get", "\xff"]
VERSIONS = ["HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/9.9", "HTP/1.1"]


def _with_line(raw: bytes, dice: random.Random) -> bytes:
    first, _, rest = raw.partition(b"\r\n")
    return b"\r\n".join((first, dice.choice(LINES).encode("latin-1"), rest))


def _with_first_line(raw: bytes, dice: random.Random) -> bytes:
    first, _, rest = raw.partition(b"\r\n")
    parts = first.split(b" ")
    place = dice.randrange(3)
    other = dice.choice((METHODS, TARGETS, VERSIONS)[place])
    parts[place] = other.encode("latin-1")
    return b" ".join(parts) + b"\r\n" + rest


def _with_bytes(raw: bytes, dice: random.Random) -> bytes:
    data = bytearray(raw)
    most = len(raw) if dice.random() < 0.5 else raw.find(b"\r\n\r\n")
    for _ in range(dice.randint(1, 5)):
        data[dice.randrange(most)] = dice.randrange(256)
    return bytes(data)


def _without_part(raw: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(raw))
    return raw[:start] + raw[start + dice.randint(1, 30) :]


def _with_part_twice(raw: bytes, dice: random.Random) -> bytes:
    place, start = dice.randrange(len(raw)), dice.randrange(len(raw))
    return raw[:place] + raw[start : start + 30] + raw[place:]


MUTATIONS = [_with_line, _with_first_line, _with_bytes, _without_part, _with_part_twice]


def _mutated(count: int, seed: int) -> Iterator[bytes]:
    dice = random.Random(seed)
    for _ in range(count):
        yield dice.choice(MUTATIONS)(dice.choice(RIGHT), dice)


def _statuses(service: RunningService, raw: bytes) -> list[int]:
    with connect(service) as connection:
        try:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # answered and closed already
        received = b""
        try:
            while data := connection.recv(65536):
                received += data
        except ConnectionResetError:
            pass
    return [int(s) for s in re.findall(rb"^HTTP/1\.1 (\d{3}) ", received, re.M)]


def test_the_requests_that_are_damaged_are_right(service: RunningService) -> None:
    assert [_statuses(service, raw) for raw in RIGHT] == [[200]] * len(RIGHT)


@pytest.mark.parametrize(
    ("count", "seed"), [(600, 1), pytest.param(20_000, 2, marks=pytest.mark.soak)]
)
def test_no_damaged_request_is_answered_with_a_fault(
    service: RunningService, count: int, seed: int
) -> None:
    faults = []
    for raw in _mutated(count, seed):
        found = [status for status in _statuses(service, raw) if status >= 500]
        # 501, as HTTP says of a Transfer-Encoding that nobody knows.
        if found and not (found == [501] and b"Transfer-Encoding" in raw):
            faults.append((found, raw[:300]))

    assert faults == []
    assert ask(service, "GET", "/livez").status == 200
