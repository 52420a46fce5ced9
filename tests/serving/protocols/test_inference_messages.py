"""Requests for an inference: every form that is taken, and every mistake."""

import base64
import json
import re
from typing import Any

import numpy as np
import pytest

from serving.http.bodies import BadRequest, BodyTooLarge, ImageArray
from serving.protocols.inference_messages import (
    RequestedOutput,
    read_inference,
)
from tests.conftest import encoded, picture

SIZE = (2, 3)
IMAGES = np.arange(36, dtype=np.uint8).reshape(2, *SIZE, 3)
PNG = encoded(picture(), "PNG")


def _request(*, of_request: dict[str, Any] | None = None, **changes: Any) -> bytes:
    tensor = {
        "name": "images",
        "datatype": "UINT8",
        "shape": [2, 2, 3, 3],
        "data": [0] * 36,
    }
    return json.dumps(
        {"inputs": [{**tensor, **changes}], **(of_request or {})}
    ).encode()


def _read_binary(tail: bytes, size: int | None = None, **fields: Any) -> Any:
    """With the tensor behind the JSON."""
    size = len(tail) if size is None else size
    head = _request(data=None, parameters={"binary_data_size": size}, **fields)
    return read_inference(head + tail, str(len(head))).images_at(*SIZE)


def test_pixels_come_flat_nested_or_as_bytes() -> None:
    for asked in (
        read_inference(_request(data=IMAGES.ravel().tolist()), None).images_at(*SIZE),
        read_inference(_request(data=IMAGES.tolist()), None).images_at(*SIZE),
        _read_binary(IMAGES.tobytes()),
    ):
        assert isinstance(asked, ImageArray)
        assert asked.images.dtype == np.uint8
        np.testing.assert_array_equal(asked.images, IMAGES)


def test_pixels_of_another_size_are_refused_before_their_numbers_are_read() -> None:
    body = _request(shape=[2, 3, 2, 3], data=["no number"] * 36)

    with pytest.raises(BadRequest, match=r"this version takes UINT8 \[N, 2, 3, 3\]"):
        read_inference(body, None).images_at(*SIZE)


def test_files_come_in_base64_or_after_their_lengths() -> None:
    texts = [base64.b64encode(data).decode() for data in (PNG, b"")]
    lengths = [len(PNG).to_bytes(4, "little"), bytes(4)]

    as_json = _request(datatype="BYTES", shape=[2], data=texts)
    assert read_inference(as_json, None).images == [PNG, b""]
    behind = lengths[0] + PNG + lengths[1]
    assert _read_binary(behind, datatype="BYTES", shape=[2]) == [PNG, b""]


def test_a_raw_body_is_the_declared_tensor_of_as_many_images_as_came() -> None:
    request = read_inference(IMAGES.tobytes(), "0")

    images = request.images_at(*SIZE)
    assert isinstance(images, ImageArray)
    np.testing.assert_array_equal(images.images, IMAGES)
    assert request.outputs == (RequestedOutput("probabilities", True),)


def test_an_empty_raw_body_is_refused() -> None:
    with pytest.raises(BadRequest, match="it is empty"):
        read_inference(b"", "0")


@pytest.mark.parametrize("body", [bytes(17), bytes(35), PNG])
def test_a_raw_body_that_is_no_whole_number_of_images_is_told(body: bytes) -> None:
    with pytest.raises(BadRequest, match=f"of 18 bytes, and {len(body):,} came"):
        read_inference(body, "0").images_at(*SIZE)


def test_too_many_raw_images_are_refused() -> None:
    with pytest.raises(BodyTooLarge, match="the limit is 256"):
        read_inference(bytes(257 * 18), "0").images_at(*SIZE)


def test_outputs_follow_the_request_where_they_say_nothing_themselves() -> None:
    def outputs(
        *asked: dict[str, Any], **parameters: Any
    ) -> tuple[RequestedOutput, ...]:
        fields = {"outputs": asked, "parameters": parameters}
        return read_inference(_request(of_request=fields), None).outputs

    as_json = {"name": "logits", "parameters": {"binary_data": False}}
    top = {"name": "probabilities", "parameters": {"classification": 3}}

    assert outputs() == (RequestedOutput("probabilities", False),)
    assert outputs(binary_data_output=True) == (RequestedOutput("probabilities", True),)
    assert outputs(as_json, top, binary_data_output=True) == (
        RequestedOutput("logits", False),
        RequestedOutput("probabilities", True, classes=3),
    )


def test_a_timeout_is_in_microseconds_and_0_is_none() -> None:
    for given, seconds in ((1_500_000, 1.5), (0, None), (None, None)):
        body = _request(of_request={"parameters": {"timeout": given}, "id": "a"})

        assert read_inference(body, None).timeout_seconds == seconds
        assert read_inference(body, None).id == "a"


def _output(**parameters: Any) -> dict[str, Any]:
    return {"outputs": [{"name": "logits", "parameters": parameters}]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (PNG, "POST /predict takes image files"),
        (b"[]", "no JSON object"),
        (b"{}", "no list 'inputs'"),
        (b'{"inputs": [1]}', "no list 'inputs'"),
        (b'{"inputs": []}', "the inputs are"),
        (_request(name="image"), "the inputs are"),
        (_request(shape=None), "no list"),
        (_request(shape=[True]), "no list"),
        (_request(shape=[]), "1 or more"),
        (_request(shape=[-1, 2, 3, 3]), "1 or more"),
        (_request(shape=[0, 2, 3, 3]), "1 or more"),
        (_request(shape=[36]), "takes UINT8"),
        (_request(datatype="FP32"), "'FP32'"),
        (_request(datatype=[1]), "takes UINT8"),
        (_request(datatype="BYTES"), "takes UINT8"),
        (_request(data=None), "needs either data"),
        (_request(data=[0] * 35), "a list of 35"),
        (_request(data=IMAGES.reshape(2, 3, 2, 3).tolist()), r"shape \[2, 3, 2, 3\]"),
        (_request(data="x"), "is no list"),
        (_request(data={"0": 0}), "is no list"),
        (_request(data=[256] + [0] * 35), "0 to 255"),
        (_request(data=[-1] + [0] * 35), "0 to 255"),
        (_request(data=[0.5] + [0] * 35), "0 to 255"),
        (_request(data=[True] + [0] * 35), "0 to 255"),
        (_request(data=["0"] * 36), "0 to 255"),
        (_request(data=[[0]] + [0] * 35), "0 to 255"),
        (_request(datatype="BYTES", shape=[2], data=["QQ=="]), "no list of 2"),
        (_request(datatype="BYTES", shape=[1], data="QQ=="), "no list of 1"),
        (_request(datatype="BYTES", shape=[1], data=["?"]), "base64"),
        (_request(datatype="BYTES", shape=[1], data=["é"]), "base64"),
        (_request(datatype="BYTES", shape=[1], data=[5]), "base64"),
        (_request(parameters=[1]), "no object"),
        (_request(parameters={"binary_data_size": -1}), "whole number"),
        (_request(parameters={"binary_data_size": True}), "whole number"),
        (_request(parameters={"binary_data_size": 0}), "needs either data"),
        (_request(parameters={"binary_data_size": 5}), "0 bytes come behind"),
        (_request(parameters={"shared_memory_region": "x"}), "shared memory"),
        (_request(of_request={"id": 5}), "id is 5"),
        (_request(of_request={"parameters": 0}), "no object"),
        (_request(of_request={"parameters": {"timeout": 0.5}}), "timeout is 0.5"),
        (_request(of_request={"outputs": 0}), "no list"),
        (_request(of_request={"outputs": [5]}), "no list"),
        (_request(of_request={"outputs": [{}]}), "probabilities and logits"),
        (_request(of_request={"outputs": [{"name": []}]}), "probabilities and logits"),
        (_request(of_request={"outputs": [{"name": "logits"}] * 2}), "named once"),
        (_request(of_request=_output(classification=-1)), "whole number"),
        (_request(of_request=_output(binary_data=1)), "true or false"),
        (_request(of_request=_output(shared_memory_region="x")), "shared memory"),
    ],
)
def test_every_mistake_in_the_json_is_told(body: bytes, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        read_inference(body, None).images_at(*SIZE)


@pytest.mark.parametrize(
    ("tail", "fields", "message"),
    [
        (bytes(35), {}, "is 36 bytes, and 35 came"),
        (bytes(37), {}, "is 36 bytes, and 37 came"),
        (bytes(36), {"size": 35}, "36 bytes come behind"),
        (b"", {}, "and 0 came"),
        (b"", {"datatype": "BYTES", "shape": [1]}, "not 1 elements"),
        (b"\1\0\0", {"datatype": "BYTES", "shape": [1]}, "not 1 elements"),
        (b"\2\0\0\0x", {"datatype": "BYTES", "shape": [1]}, "not 1 elements"),
        (b"\1\0\0\0xx", {"datatype": "BYTES", "shape": [1]}, "not 1 elements"),
        (b"\1\0\0\0x", {"datatype": "BYTES", "shape": [2]}, "not 2 elements"),
        (b"\xff\xff\xff\xff", {"datatype": "BYTES", "shape": [1]}, "not 1 elements"),
    ],
)
def test_every_mistake_behind_the_json_is_told(
    tail: bytes, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadRequest, match=message):
        _read_binary(tail, **fields)


@pytest.mark.parametrize("header", ["3", "-1", "", "1.0", "²", "9" * 5000])
def test_a_wrong_length_of_the_json_is_told(header: str) -> None:
    with pytest.raises(BadRequest, match=re.escape("the body has 2 bytes")):
        read_inference(b"{}", header)


@pytest.mark.parametrize(
    "fields", [{"shape": [257, 2, 3, 3]}, {"datatype": "BYTES", "shape": [257]}]
)
def test_too_many_images_are_refused_by_their_shape(fields: dict[str, Any]) -> None:
    with pytest.raises(BodyTooLarge, match="the limit is 256"):
        read_inference(_request(**fields), None)
