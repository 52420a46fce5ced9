"""Images as bodies: what our own service and web frameworks read out of them."""

import io

import numpy as np
import orjson
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from benchmarks.request_bodies import (
    IMAGES_A_REQUEST,
    base64_json,
    many_in_json,
    many_in_npy,
    multipart,
    raw,
)

FILES = [bytes([255, 216, 255, number]) for number in range(2 * IMAGES_A_REQUEST)]


def request_of(content: bytes, content_type: str) -> Request:
    builder = EnvironBuilder(
        method="POST", input_stream=io.BytesIO(content), content_type=content_type
    )
    return Request(builder.get_environ())


def test_a_form_has_the_file_in_its_field() -> None:
    bodies = multipart("image")(FILES[:2])

    with request_of(bodies.contents[1], bodies.content_type) as request:
        assert request.files["image"].read() == FILES[1]


def test_a_raw_body_is_the_file() -> None:
    assert raw(FILES).contents == tuple(FILES)


def test_a_peer_gets_base64_where_it_looks_for_it() -> None:
    bodies = base64_json(lambda data: {"inputs": [data]})(FILES[:1])

    assert orjson.loads(bodies.contents[0]) == {"inputs": ["/9j/AA=="]}


def test_32_files_a_request_arrive_as_32_files() -> None:
    bodies = many_in_json(FILES)

    assert len(bodies.contents) == 2
    instances = [orjson.loads(content)["instances"] for content in bodies.contents]
    assert [len(group) for group in instances] == [IMAGES_A_REQUEST] * 2


def test_32_images_a_request_arrive_as_an_array() -> None:
    images = np.arange(64 * 2 * 2 * 3, dtype=np.uint8).reshape(64, 2, 2, 3)

    bodies = many_in_npy(images)

    second = np.load(io.BytesIO(bodies.contents[1]))
    np.testing.assert_array_equal(second, images[IMAGES_A_REQUEST:])
