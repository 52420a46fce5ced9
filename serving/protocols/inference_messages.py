"""Messages of the Open Inference Protocol: requests read, responses written."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import orjson

from classifier.images.decoding import is_image
from classifier.metrics import softmax, top_k
from serving.http.bodies import BadRequest, ImageArray
from serving.inference.batcher import Inference
from serving.inference.predictor import Predictor
from serving.protocols.tensors import OutputTensor, encode, images_of

INPUT = "images"

OutputName = Literal["probabilities", "logits"]

OUTPUTS: tuple[OutputName, ...] = get_args(OutputName)
"""Outputs that a request may name."""

DECLARED: tuple[OutputName, ...] = ("probabilities",)
"""Outputs in the metadata, and of requests that name none. Only one, as clients for
models with one output, such as Triton's image_client, fail on a second."""

HEADER = "Inference-Header-Content-Length"
"""Header with the number of JSON bytes in a body; tensors follow them."""


@dataclass(frozen=True)
class WantedOutput:
    name: OutputName
    is_binary: bool
    classes: int = 0
    """Number of top classes as text; 0 is the tensor itself."""


@dataclass(frozen=True)
class InferenceRequest:
    images: list[bytes] | ImageArray
    """Between 1 and MAX_IMAGES images; image files are not decoded yet."""

    outputs: tuple[WantedOutput, ...]
    id: str | None = None
    timeout_seconds: float | None = None


def read_inference(
    body: bytes, header: str | None, *, size: Callable[[], tuple[int, int]]
) -> InferenceRequest:
    """Parses a request; `header` is the value of HEADER or None.

    `size` returns the height and width of decoded images; it is called only if all else
    is valid, as it may load a version. Raises BadRequest or BodyTooLarge.
    """
    json_length = len(body) if header is None else _json_length(header, len(body))
    if header is not None and json_length == 0:
        return _raw_tensor(body, size)
    view = memoryview(body)
    document = _document(view[:json_length], body)
    tensor = _input(document)
    own = _parameters(document, "the request")
    timeout_us = _whole_number(own, "timeout")
    request_id = document.get("id")
    if not isinstance(request_id, str | None):
        raise BadRequest(f"the request's id is {request_id!r:.40}; it is a text")
    outputs = _outputs(document, is_binary=_flag(own, "binary_data_output") or False)
    return InferenceRequest(
        images_of(tensor, _behind(tensor, view[json_length:]), size=size),
        outputs,
        request_id,
        timeout_us / 1e6 if timeout_us else None,
    )


def _json_length(header: str, body_length: int) -> int:
    if not re.fullmatch(r"\d{1,9}", header, re.ASCII) or int(header) > body_length:
        raise BadRequest(
            f"{HEADER} is {header!r:.40} and the body has {body_length:,} bytes; it is "
            f"how many of them are JSON"
        )
    return int(header)


def _raw_tensor(body: bytes, size: Callable[[], tuple[int, int]]) -> InferenceRequest:
    """The body as the declared tensor, with as many images as it has bytes for."""
    if not body:
        raise BadRequest(
            f"with {HEADER}: 0 the body is a UINT8 tensor, and it is empty"
        )
    height, width = size()
    image_bytes = height * width * 3
    if len(body) % image_bytes:
        hint = " (the body is an image file)" if is_image(body) else ""
        raise BadRequest(
            f"with {HEADER}: 0 the body is UINT8 [N, {height}, {width}, 3], a "
            f"multiple of {image_bytes:,} bytes, and {len(body):,} came"
            f"{hint}; send image files as BYTES, or to POST /predict"
        )
    shape = [len(body) // image_bytes, height, width, 3]
    tensor = {"datatype": "UINT8", "shape": shape}
    images = images_of(tensor, memoryview(body), size=lambda: (height, width))
    return InferenceRequest(images, _declared_outputs(is_binary=True))


def _document(json: memoryview, body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(json)
    except orjson.JSONDecodeError as error:
        hint = "; POST /predict takes image files" if is_image(body) else ""
        raise BadRequest(f"the request is not JSON: {error}{hint}") from error
    if not isinstance(document, dict):
        raise BadRequest("the request's JSON is no object; it has a list 'inputs'")
    return document


def _input(document: Mapping[str, Any]) -> Mapping[str, Any]:
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(i, dict) for i in inputs):
        raise BadRequest("the request has no list 'inputs' of tensors")
    names = [tensor.get("name") for tensor in inputs]
    if names != [INPUT]:
        raise BadRequest(f"the inputs are {names!r:.80}; there is one, {INPUT!r}")
    tensor: Mapping[str, Any] = inputs[0]
    return tensor


def _behind(tensor: Mapping[str, Any], rest: memoryview) -> memoryview | None:
    """The bytes of the only input; None if its data is JSON."""
    parameters = _parameters(tensor, f"the input {INPUT!r}")
    if "shared_memory_region" in parameters:
        raise BadRequest("there is no shared memory here; send the tensor itself")
    size = _whole_number(parameters, "binary_data_size")
    if (size or 0) != len(rest):
        raise BadRequest(
            f"{len(rest):,} bytes come behind the JSON, and binary_data_size of the "
            f"input {INPUT!r} is {size}; {HEADER} says where the JSON ends"
        )
    return None if size is None else rest


def _outputs(
    document: Mapping[str, Any], *, is_binary: bool
) -> tuple[WantedOutput, ...]:
    """The requested outputs, or the declared ones if none is named."""
    outputs = [] if document.get("outputs") is None else document["outputs"]
    if not isinstance(outputs, list) or not all(isinstance(o, dict) for o in outputs):
        raise BadRequest("the request's 'outputs' is no list of objects with a name")
    names = [output.get("name") for output in outputs]
    if not all(name in OUTPUTS for name in names) or len({*names}) != len(names):
        raise BadRequest(
            f"the outputs are {names!r:.80}; there are {' and '.join(OUTPUTS)}, each "
            "named once"
        )
    return tuple(_output(o, is_binary) for o in outputs) or _declared_outputs(is_binary)


def _output(output: Mapping[str, Any], is_binary: bool) -> WantedOutput:
    parameters = _parameters(output, f"the output {output['name']!r}")
    if "shared_memory_region" in parameters:
        raise BadRequest("there is no shared memory here; ask for the tensor itself")
    own = _flag(parameters, "binary_data")
    return WantedOutput(
        output["name"],
        is_binary if own is None else own,
        _whole_number(parameters, "classification") or 0,
    )


def _declared_outputs(is_binary: bool) -> tuple[WantedOutput, ...]:
    return tuple(WantedOutput(name, is_binary) for name in DECLARED)


def _parameters(holder: Mapping[str, Any], whose: str) -> Mapping[str, Any]:
    parameters = holder.get("parameters")
    if not isinstance(parameters, dict | None):
        raise BadRequest(f"the parameters of {whose} are no object")
    return parameters or {}


def _whole_number(parameters: Mapping[str, Any], name: str) -> int | None:
    value = parameters.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 0:
        raise BadRequest(f"{name} is {value!r:.40}; it is a whole number from 0")
    return value


def _flag(parameters: Mapping[str, Any], name: str) -> bool | None:
    value = parameters.get(name)
    if not isinstance(value, bool | None):
        raise BadRequest(f"{name} is {value!r:.40}; it is true or false")
    return value


def write_inference(
    request: InferenceRequest, predictor: Predictor, answer: Inference
) -> tuple[bytes, int | None]:
    """The body, and the number of its JSON bytes if tensors follow.

    Raises the error of an image that failed: a tensor has no field for it.
    """
    for failure in answer.failures.values():
        raise failure
    version = predictor.version
    head = {"model_name": version.model, "model_version": version.number}
    if request.id is not None:
        head["id"] = request.id
    return encode(head, [_tensor(o, predictor, answer) for o in request.outputs])


def _tensor(
    wanted: WantedOutput, predictor: Predictor, answer: Inference
) -> OutputTensor:
    values = answer.logits
    if wanted.name == "probabilities":
        values = softmax(answer.logits).astype(np.float32)
    if not wanted.classes:
        return OutputTensor(wanted.name, values, wanted.is_binary)
    names = predictor.bundle.labels.names
    likeliest = top_k(answer.logits, wanted.classes)
    texts = [
        [f"{row[index]:.7g}:{index}:{names[index]}" for index in indices]
        for row, indices in zip(values, likeliest, strict=True)
    ]
    return OutputTensor(wanted.name, texts, wanted.is_binary)
