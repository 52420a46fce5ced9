"""Messages of the Open Inference Protocol: requests read, responses written."""

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import orjson
from numpy.typing import NDArray

from classifier.images.decoding import is_image
from classifier.metrics import softmax, top_k
from serving.http.bodies import (
    BadRequest,
    ImageArray,
    check_count,
    image_file,
    read_object,
)
from serving.inference.predictor import Predictor
from serving.inference.requests import Inference

INPUT = "images"

OutputName = Literal["probabilities", "logits"]

OUTPUTS: tuple[OutputName, ...] = get_args(OutputName)
"""Outputs that a request may name."""

DECLARED: tuple[OutputName, ...] = ("probabilities",)
"""Outputs in the metadata, and of requests that name none. Only one, as clients for
models with one output, such as Triton's image_client, fail on a second."""

HEADER = "Inference-Header-Content-Length"
"""Header with the number of JSON bytes in a body; tensors follow them."""

LENGTH = struct.Struct("<I")
"""Length prefix of each element of a BYTES tensor."""


@dataclass(frozen=True)
class RequestedOutput:
    name: OutputName
    is_binary: bool
    classes: int = 0
    """Number of top classes as text; 0 is the tensor itself."""


@dataclass(frozen=True)
class InferenceRequest:
    images: "list[bytes] | PixelTensor | bytes"
    """Image files, pixels of any size, or bytes of images of the version's size."""

    outputs: tuple[RequestedOutput, ...]
    id: str | None = None
    timeout_seconds: float | None = None

    def images_at(self, height: int, width: int) -> list[bytes] | ImageArray:
        """From 1 to MAX_IMAGES images; image files are not decoded yet.

        Raises BadRequest or BodyTooLarge for pixels or bytes that are no such images.
        """
        if isinstance(self.images, bytes):
            return _raw_images(self.images, height, width)
        if isinstance(self.images, PixelTensor):
            return self.images.array(height, width)
        return self.images


@dataclass(frozen=True)
class PixelTensor:
    """A UINT8 tensor [N, H, W, 3] as it came: numbers of JSON, or their bytes."""

    shape: tuple[int, ...]
    data: object
    raw: memoryview | None

    def array(self, height: int, width: int) -> ImageArray:
        """Raises BadRequest for another size, before it reads 60 MB of numbers."""
        if self.shape[1:3] != (height, width):
            raise BadRequest(
                f"the input 'images' is UINT8 {list(self.shape)}; this version takes "
                f"UINT8 [N, {height}, {width}, 3], or BYTES [N] of encoded images"
            )
        if self.raw is None:
            return ImageArray(_pixels(self.data, self.shape))
        return ImageArray(_raw_pixels(self.raw, self.shape))


def read_inference(body: bytes, header: str | None) -> InferenceRequest:
    """Parses a request; `header` is the value of HEADER or None.

    Raises BadRequest, or BodyTooLarge for too many images.
    """
    json_length = len(body) if header is None else _json_length(header, len(body))
    if header is not None and json_length == 0:
        if not body:
            raise BadRequest(
                f"with {HEADER}: 0 the body is a UINT8 tensor, and it is empty"
            )
        return InferenceRequest(body, _declared_outputs(is_binary=True))
    view = memoryview(body)
    hint = "; POST /predict takes image files" if is_image(body) else ""
    document = read_object(view[:json_length], hint=hint)
    tensor = _input(document)
    own = _parameters(document, "the request")
    timeout_us = _whole_number(own, "timeout")
    request_id = document.get("id")
    if not isinstance(request_id, str | None):
        raise BadRequest(f"the request's id is {request_id!r:.40}; it is a text")
    outputs = _outputs(document, is_binary=_flag(own, "binary_data_output") or False)
    return InferenceRequest(
        _images(tensor, _tensor_bytes(tensor, view[json_length:])),
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


def _raw_images(body: bytes, height: int, width: int) -> ImageArray:
    """The body as the declared tensor, with as many images as it has bytes for."""
    image_bytes = height * width * 3
    if len(body) % image_bytes:
        hint = " (the body is an image file)" if is_image(body) else ""
        raise BadRequest(
            f"with {HEADER}: 0 the body is UINT8 [N, {height}, {width}, 3], a "
            f"multiple of {image_bytes:,} bytes, and {len(body):,} came"
            f"{hint}; send image files as BYTES, or to POST /predict"
        )
    check_count(len(body) // image_bytes)
    return ImageArray(np.frombuffer(body, np.uint8).reshape(-1, height, width, 3))


def _input(document: Mapping[str, Any]) -> Mapping[str, Any]:
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(i, dict) for i in inputs):
        raise BadRequest("the request has no list 'inputs' of tensors")
    names = [tensor.get("name") for tensor in inputs]
    if names != [INPUT]:
        raise BadRequest(f"the inputs are {names!r:.80}; there is one, {INPUT!r}")
    tensor: Mapping[str, Any] = inputs[0]
    return tensor


def _tensor_bytes(tensor: Mapping[str, Any], rest: memoryview) -> memoryview | None:
    """The bytes of the only input; None if its data is JSON."""
    size = _whole_number(_parameters(tensor, "the input"), "binary_data_size")
    if (size or 0) != len(rest):
        raise BadRequest(
            f"{len(rest):,} bytes come behind the JSON, and binary_data_size of the "
            f"input {INPUT!r} is {size}; {HEADER} says where the JSON ends"
        )
    return None if size is None else rest


def _images(
    tensor: Mapping[str, Any], raw: memoryview | None
) -> list[bytes] | PixelTensor:
    """The images of an input tensor; `raw` has its bytes after the JSON, or is None."""
    datatype, shape = tensor.get("datatype"), _shape(tensor.get("shape"))
    data = tensor.get("data")
    if (raw is None) == (data is None):
        raise BadRequest(
            "the input 'images' needs either data, or binary_data_size and the bytes "
            "behind the JSON"
        )
    is_pixels = datatype == "UINT8" and len(shape) == 4 and shape[3] == 3
    if not is_pixels and (datatype, len(shape)) != ("BYTES", 1):
        raise BadRequest(
            f"the input 'images' is {datatype!r:.20} {list(shape)!r:.80}; a version "
            f"takes UINT8 [N, height, width, 3], or BYTES [N] of encoded images"
        )
    check_count(shape[0])
    if is_pixels:
        return PixelTensor(shape, data, raw)
    return _files(data, shape[0]) if raw is None else _raw_files(raw, shape[0])


def _shape(shape: object) -> tuple[int, ...]:
    if not isinstance(shape, list) or not all(type(side) is int for side in shape):
        raise BadRequest("the shape of the input 'images' is no list of whole numbers")
    if not shape or min(shape) < 1:
        raise BadRequest(
            f"the shape of the input 'images' is {shape!r:.80}; each side is 1 or more"
        )
    return tuple(shape)


def _raw_pixels(raw: memoryview, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    if len(raw) != math.prod(shape):
        raise BadRequest(
            f"UINT8 {list(shape)} is {math.prod(shape):,} bytes, and {len(raw):,} came"
        )
    return np.frombuffer(raw, np.uint8).reshape(shape)


def _pixels(data: object, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Pixels from JSON numbers, flat or nested as in the shape."""
    # Checked before memory for the numbers is allocated.
    if not isinstance(data, list) or len(data) not in (shape[0], math.prod(shape)):
        came = f"a list of {len(data):,}" if isinstance(data, list) else "no list"
        raise BadRequest(
            f"the data of the input 'images' is {came}; send {list(shape)}, or "
            f"{math.prod(shape):,} numbers in one list"
        )
    # As objects: numpy would read "5" as a number, and allocate the longest string's
    # size for each element.
    values = np.array(data, dtype=object)
    if values.shape not in (shape, (math.prod(shape),)):
        raise BadRequest(
            f"the data of the input 'images' has shape {list(values.shape)}; send "
            f"{list(shape)}, or {math.prod(shape):,} numbers in one list"
        )
    numbers = values.ravel().tolist()
    # The type itself, as True and False are ints too.
    if {*map(type, numbers)} != {int} or min(numbers) < 0 or max(numbers) > 255:
        raise BadRequest(
            "the data of the input 'images' is not whole numbers from 0 to 255"
        )
    return np.array(numbers, np.uint8).reshape(shape)


def _raw_files(raw: memoryview, count: int) -> list[bytes]:
    """Elements, each after its length; no other bytes."""
    files: list[bytes] = []
    start = 0
    while len(files) < count and start + LENGTH.size <= len(raw):
        (length,) = LENGTH.unpack_from(raw, start)
        start += LENGTH.size
        files.append(bytes(raw[start : start + length]))
        start += length
    if len(files) != count or start != len(raw):
        raise BadRequest(
            f"the {len(raw):,} bytes of the input 'images' are not {count} elements, "
            "each after its length in 4 bytes, little-endian"
        )
    return files


def _files(data: object, count: int) -> list[bytes]:
    """Image files from base64, as JSON has no bytes."""
    if not isinstance(data, list) or len(data) != count:
        raise BadRequest(f"the data of the input 'images' is no list of {count} texts")
    hint = "a BYTES tensor in JSON as a list of base64 texts"
    return [image_file(text, place, hint=hint) for place, text in enumerate(data)]


def _outputs(
    document: Mapping[str, Any], *, is_binary: bool
) -> tuple[RequestedOutput, ...]:
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


def _output(output: Mapping[str, Any], is_binary: bool) -> RequestedOutput:
    parameters = _parameters(output, f"the output {output['name']!r}")
    own = _flag(parameters, "binary_data")
    return RequestedOutput(
        output["name"],
        is_binary if own is None else own,
        _whole_number(parameters, "classification") or 0,
    )


def _declared_outputs(is_binary: bool) -> tuple[RequestedOutput, ...]:
    return tuple(RequestedOutput(name, is_binary) for name in DECLARED)


def _parameters(holder: Mapping[str, Any], owner: str) -> Mapping[str, Any]:
    parameters = holder.get("parameters")
    if not isinstance(parameters, dict | None):
        raise BadRequest(f"the parameters of {owner} are no object")
    if parameters and "shared_memory_region" in parameters:
        raise BadRequest("there is no shared memory here; tensors are in the messages")
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
    """The body, and the number of its JSON bytes if tensors follow."""
    version = predictor.version
    head = {"model_name": version.model, "model_version": version.number}
    if request.id is not None:
        head["id"] = request.id
    entries, tail = [], []
    for output in request.outputs:
        tensor = _tensor(output, predictor, answer.logits)
        is_text = tensor.dtype == object
        entry: dict[str, Any] = {
            "name": output.name,
            "datatype": "BYTES" if is_text else "FP32",
            "shape": tensor.shape,
        }
        if output.is_binary:
            tail.append(_raw_texts(tensor) if is_text else tensor.tobytes())
            entry["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            entry["data"] = tensor.ravel().tolist() if is_text else tensor.ravel()
        entries.append(entry)
    document = {**head, "outputs": entries}
    json = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join((json, *tail)), len(json) if tail else None


def _tensor(
    output: RequestedOutput, predictor: Predictor, logits: NDArray[np.float32]
) -> NDArray[Any]:
    """Float32 [N, K], or texts [N, classes] `value:index:name` as objects."""
    values = softmax(logits) if output.name == "probabilities" else logits
    values = values.astype("<f4")
    if not output.classes:
        return values
    names = predictor.bundle.labels.names
    likeliest = top_k(logits, output.classes)
    texts = [
        [f"{row[index]:.7g}:{index}:{names[index]}" for index in indices]
        for row, indices in zip(values, likeliest, strict=True)
    ]
    return np.array(texts, dtype=object)


def _raw_texts(tensor: NDArray[Any]) -> bytes:
    texts = [text.encode() for text in tensor.ravel()]
    return b"".join(LENGTH.pack(len(text)) + text for text in texts)
