"""The client at the wire: what it asks again, what it gives up, what it refuses."""

import json
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from compare.collect.client import (
    ServedOtherwise,
    Service,
    ServiceUnavailable,
    UnknownServed,
)
from compare.collect.schema import NoAnswer, ServedVersion, TopAnswer
from tests.compare.collect.conftest import Reply, Script, Wire
from tests.compare.conftest import served


def _json(document: object, status: int = 200, **headers: str) -> Reply:
    return status, headers, json.dumps(document).encode()


def _top(*indices: int) -> list[dict[str, Any]]:
    return [
        {"index": i, "id": f"n{i}", "name": "", "probability": 0.5 / (place + 1)}
        for place, i in enumerate(indices or (3, 1, 0, 2, 4))
    ]


def _row(image: int, version: str, *indices: int) -> dict[str, Any]:
    return {"image": image, "version": version, "top": _top(*indices)}


GOOD = {"model": "m", "results": [_row(0, "8"), _row(0, "16", 1, 2, 3, 4, 5)]}
IMAGE = [("x.png", b"bytes")]
PAIR = (served("8"), served("16"))


def test_answers_come_per_image_in_the_order_of_the_versions(
    start: Callable[[Script], Wire],
) -> None:
    wire = start(lambda path, count: _json(GOOD))

    ((a, b),) = Service(wire.url, patience_seconds=5).predict(IMAGE, PAIR)

    assert isinstance(a, TopAnswer)
    assert isinstance(b, TopAnswer)
    assert (a.indices[0], b.indices[0]) == (3, 1)
    assert wire.asked == ["/predict?version=8&version=16"]


@pytest.mark.parametrize(
    "bad",
    [
        (503, {}, b"{}"),
        (502, {}, b"<html>bad gateway</html>"),
        (504, {}, b""),
        (429, {"Retry-After": "0.05"}, b"{}"),
        (200, {}, b"no json"),
        (200, {}, b"[]"),
        (200, {}, b"[" * 100_000),
        (0, {}, b""),
        _json({"results": []}),
        _json({"results": [_row(0, "8"), _row(0, "8")]}),
        _json({"results": [_row(0, "8"), _row(1, "16")]}),
        _json({"results": [_row(0, "8"), _row(0, "16", 1, 2, 3)]}),
        _json({"results": [_row(0, "8"), _row(0, "16", 1, 1, 2, 3, 4)]}),
        _json({"results": [_row(0, "8"), _row(0, "16", 1, 2, 3, 4, 99)]}),
        _json({"results": [_row(0, "8"), {"image": 0, "version": "16"}]}),
        _json({"results": [None, None]}),
    ],
)
def test_what_is_no_answer_is_asked_again(
    start: Callable[[Script], Wire], bad: Reply
) -> None:
    wire = start(lambda path, count: bad if count < 3 else _json(GOOD))
    service = Service(wire.url, patience_seconds=30)

    assert len(service.predict(IMAGE, PAIR)) == 1

    assert len(wire.asked) == 3
    assert service.retries == 2


def test_another_backend_or_precision_than_before_or_promised_is_refused(
    start: Callable[[Script], Wire],
) -> None:
    def ask(*forms: str, versions: Sequence[ServedVersion] = PAIR) -> int:
        rows = [_row(0, v.number, 1, 2, 3, 4, 5) for v in versions]
        good = {"model": "m", "results": rows}
        body = json.dumps(good).encode()
        wire = start(lambda path, count: (200, {"X-Served-As": forms[count - 1]}, body))
        service = Service(wire.url, patience_seconds=5)
        return sum(len(service.predict(IMAGE, versions)) for _ in forms)

    assert ask("onnx;fp32", "onnx;fp32, onnx;fp32") == 2
    assert (
        ask("onnx;fp32, onnx;int8", versions=(PAIR[0], served("8.int8", epoch=8))) == 1
    )
    for forms in (
        ("openvino;fp32", "onnx;fp32"),
        ("openvino;bf16",),
        ("onnx;fp32, onnx;int8",),
    ):
        with pytest.raises(ServedOtherwise, match="--precision fp32"):
            ask(*forms)
    known = replace(PAIR[0], served_as="onnx;fp32")
    with pytest.raises(ServedOtherwise, match="8 as openvino;fp32, not as onnx;fp32"):
        ask("openvino;fp32", versions=[known])


def test_probabilities_that_rise_or_leave_0_to_1_are_no_answer(
    start: Callable[[Script], Wire],
) -> None:
    for wrong in (1.5, -0.1, float("nan")):
        row = _row(0, "8")
        row["top"][4]["probability"] = wrong
        wire = start(lambda path, count, row=row: _json({"results": [row]}))  # type: ignore[misc]

        with pytest.raises(ServiceUnavailable, match="not the contract's result"):
            Service(wire.url, patience_seconds=0.2).predict(IMAGE, PAIR[:1])


def test_patience_ends_with_the_reason_and_a_remedy(
    start: Callable[[Script], Wire],
) -> None:
    wire = start(lambda path, count: (503, {}, b""))

    with pytest.raises(ServiceUnavailable, match=r"status 503; .*--patience"):
        Service(wire.url, patience_seconds=0.5).predict(IMAGE, PAIR)

    assert len(wire.asked) > 1


def test_a_long_retry_after_is_not_waited_for_in_vain(
    start: Callable[[Script], Wire],
) -> None:
    wire = start(lambda path, count: (429, {"Retry-After": "3600"}, b""))

    with pytest.raises(ServiceUnavailable, match="status 429"):
        Service(wire.url, patience_seconds=5).predict(IMAGE, PAIR)


def test_a_refusal_that_time_will_not_mend_is_not_repeated(
    start: Callable[[Script], Wire],
) -> None:
    error = {"error": {"code": "unsupported_media_type", "message": "send a form"}}
    wire = start(lambda path, count: _json(error, 415))

    with pytest.raises(ServiceUnavailable, match="415: send a form"):
        Service(wire.url, patience_seconds=30).predict(IMAGE, PAIR)

    assert len(wire.asked) == 1


def test_a_version_that_can_never_load_is_not_asked_again(
    start: Callable[[Script], Wire],
) -> None:
    message = "version 9 cannot be loaded: model.onnx is missing"
    error = {"error": {"code": "version_failed", "message": message}}
    wire = start(lambda path, count: _json(error, 503))
    service = Service(wire.url, patience_seconds=600)

    with pytest.raises(ServiceUnavailable, match=r"9 .* model\.onnx is missing"):
        service.predict(IMAGE, PAIR)

    assert len(wire.asked) == 1


def test_what_a_service_says_while_it_is_not_ready_is_told_in_the_end(
    start: Callable[[Script], Wire],
) -> None:
    error = {"error": {"code": "not_ready", "message": "version 9 is being loaded"}}
    wire = start(lambda path, count: _json(error, 503))

    with pytest.raises(ServiceUnavailable, match="not_ready: version 9 is being"):
        Service(wire.url, patience_seconds=0.5).predict(IMAGE, PAIR)


def test_a_version_that_is_not_served_is_told(start: Callable[[Script], Wire]) -> None:
    error = {"error": {"code": "unknown_version", "message": "there is v1"}}

    def script(path: str, count: int) -> Reply:
        if path == "/versions":
            return _json({"model": "m", "versions": []})
        return _json(error, 404)

    with pytest.raises(UnknownServed, match="there is v1"):
        Service(start(script).url, patience_seconds=30).version("v9")


@pytest.mark.parametrize(
    ("asked", "aliases"),
    [("8", ("best",)), ("8.int8", ("best",)), ("9.int8", None), ("10.int8", None)],
)
def test_an_int8_form_is_called_what_the_version_it_was_made_of_is(
    start: Callable[[Script], Wire], asked: str, aliases: tuple[str, ...] | None
) -> None:
    listed = {
        "model": "m",
        "versions": [
            {"version": "8", "aliases": ["best"]},
            {"version": "8.int8", "aliases": []},
            {"version": "9"},
        ],
    }
    own = ["best"] if asked == "8" else []

    def script(path: str, count: int) -> Reply:
        if path == "/versions":
            return _json(listed)
        labels = served("8").labels.to_json()
        return _json({"version": asked, "aliases": own, "labels": labels})

    version = Service(start(script).url, patience_seconds=30).version(asked)

    assert version.aliases == aliases


@pytest.mark.parametrize(
    "odd", ["soon", "", -1, 1e400, 8.5, True, 10**30, [8], {"digest": 8}]
)
def test_what_may_be_null_of_a_version_is_none_if_it_is_odd(
    odd: object, start: Callable[[Script], Wire]
) -> None:
    entry = {
        "version": "8",
        "labels": served("8").labels.to_json(),
        "run_id": [odd],
        "epoch": odd,
        "dataset": odd,
        "aliases": odd if not isinstance(odd, list) else "best",
    }

    def script(path: str, _: int) -> Reply:
        whole = {"model": "m", "versions": [entry]}
        return _json(whole if path == "/versions" else entry)

    version = Service(start(script).url, patience_seconds=5).version("v8")

    assert version == replace(
        served("8"), run_id=None, epoch=None, dataset_digest=None, aliases=None
    )


def test_a_single_image_that_cannot_be_read_is_an_answer(
    start: Callable[[Script], Wire],
) -> None:
    error = {"error": {"code": "undecodable_image", "message": "no image"}}
    wire = start(lambda path, count: _json(error, 400))

    ((a, b),) = Service(wire.url, patience_seconds=30).predict(IMAGE, PAIR)

    assert a == b == NoAnswer("undecodable_image", "no image")


def test_images_that_are_too_much_together_are_asked_about_in_halves(
    start: Callable[[Script], Wire],
) -> None:
    """As behind a proxy, whose limit nobody here knows, and whose page is no JSON."""

    def script(path: str, count: int) -> Reply:
        body = wire.bodies[-1]
        if len(body) > 3000:
            return 413, {}, b"<html>413 Request Entity Too Large</html>"
        rows = [_row(place, "8") for place in range(body.count(b"filename="))]
        return _json({"model": "m", "results": rows})

    wire = start(script)
    images = [(f"{n}.png", bytes(5000 if n == 3 else 1000)) for n in range(5)]

    answers = Service(wire.url, patience_seconds=30).predict(images, PAIR[:1])

    kinds = [type(answer) for (answer,) in answers]
    assert kinds == [TopAnswer, TopAnswer, TopAnswer, NoAnswer, TopAnswer]
    (too_large,) = answers[3]
    assert isinstance(too_large, NoAnswer)
    assert too_large.code == "body_too_large"


def test_an_image_that_fails_alone_is_an_answer(
    start: Callable[[Script], Wire],
) -> None:
    error = {"code": "image_too_large", "message": "m"}
    failed = {"image": 0, "version": "16", "error": error}
    wire = start(lambda path, count: _json({"results": [_row(0, "8"), failed]}))

    ((a, b),) = Service(wire.url, patience_seconds=30).predict(IMAGE, PAIR)

    assert isinstance(a, TopAnswer)
    assert b == NoAnswer("image_too_large", "m")
    assert len(wire.asked) == 1


def test_an_image_that_fails_in_passing_is_asked_again(
    start: Callable[[Script], Wire],
) -> None:
    error = {"code": "timeout", "message": "late"}
    late = {"results": [_row(0, "8"), {"image": 0, "version": "16", "error": error}]}
    wire = start(lambda path, count: _json(late if count == 1 else GOOD))

    ((_, b),) = Service(wire.url, patience_seconds=30).predict(IMAGE, PAIR)

    assert isinstance(b, TopAnswer)

    always = start(lambda path, count: _json(late))
    ((a, b),) = Service(always.url, patience_seconds=0.3).predict(IMAGE, PAIR)
    assert isinstance(a, TopAnswer)
    assert b == NoAnswer("timeout", "late")


def test_a_service_that_answers_not_yet_is_waited_for_as_long_as_patience(
    start: Callable[[Script], Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compare.collect.client.FIRST_ANSWER_SECONDS", 0.1)
    listed = _json({"model": "m", "versions": []})
    wire = start(lambda path, count: (503, {}, b"") if count < 4 else listed)

    assert Service(wire.url, patience_seconds=30).list_versions()["model"] == "m"


def test_stopping_ends_the_waiting_of_other_threads(
    start: Callable[[Script], Wire],
) -> None:
    asked = threading.Event()

    def script(path: str, count: int) -> Reply:
        asked.set()
        return 503, {"Retry-After": "3000"}, b""

    service = Service(start(script).url, patience_seconds=9_000)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(service.predict, IMAGE, PAIR)
        assert asked.wait(60)
        service.stop()

        with pytest.raises(ServiceUnavailable, match="were stopped"):
            waiting.result(60)


def test_no_proxy_stands_before_a_service_on_this_machine(
    start: Callable[[Script], Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    assert Service(start(lambda *_: _json(GOOD)).url, patience_seconds=1).predict(
        IMAGE, PAIR
    )


def test_a_refusal_of_an_image_means_nothing_where_none_was_sent(
    start: Callable[[Script], Wire],
) -> None:
    wire = start(lambda path, count: _json({"error": {"message": "no"}}, 413))

    with pytest.raises(ServiceUnavailable, match=r"was refused with status 413"):
        Service(wire.url, patience_seconds=30).list_versions()


def test_another_kind_of_service_is_told(start: Callable[[Script], Wire]) -> None:
    wire = start(lambda path, count: _json({"hello": "world"}))

    with pytest.raises(ServiceUnavailable, match="does not list versions"):
        Service(wire.url, patience_seconds=30).list_versions()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "ftp://x", "nonsense"])
def test_nobody_there_is_told(url: str) -> None:
    with pytest.raises(ServiceUnavailable, match=url):
        Service(url, patience_seconds=0.2).list_versions()


def test_a_service_that_takes_the_connection_and_is_silent_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"

        with pytest.raises(ServiceUnavailable, match="gave no usable answer"):
            Service(url, patience_seconds=0.1).list_versions()
