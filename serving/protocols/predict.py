"""Inference for all protocols: the images of a request, by each requested version."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
from flask import Response, after_this_request

from classifier.images.decoding import ImageTooLarge, UndecodableImage
from classifier.images.resizing import Resizing
from classifier.inference.predict import Prediction, top_classes
from classifier.store.versions import Version
from serving.http.bodies import ImageArray, check_size
from serving.inference.decoding import DecodeAll, Decoded
from serving.inference.predictor import BadTopK, Predictor
from serving.inference.requests import (
    RANKED,
    DeadlinePassed,
    Images,
    Inference,
    Request,
)
from serving.shadow.shadow import Shadow

DEFAULT_TOP_K = 5

Row = list[tuple[Prediction, ...] | Exception]
"""One version's result for each image: its top classes, or its error."""

ERROR_CODES: dict[type[Exception], str] = {
    ImageTooLarge: "image_too_large",
    UndecodableImage: "undecodable_image",
}
"""Codes in results; any other error is `internal`."""


def predict(
    images: list[bytes] | ImageArray,
    predictors: Sequence[Predictor],
    *,
    top: int | None,
    decode: DecodeAll,
    deadline: float,
    shadow: Shadow | None = None,
) -> list[dict[str, Any]]:
    """The `results` of POST /predict, ordered by image, then by version as requested.

    An image that fails has an error in its result; the error of the only image is
    raised. Also raises BadTopK, BadRequest for an array of another size, Overloaded,
    or DeadlinePassed (`deadline` is a time of time.monotonic()).
    """
    tops = [top_of(predictor, top) for predictor in predictors]
    answers = infer(images, predictors, decode=decode, deadline=deadline, shadow=shadow)
    rows = [
        _row(predictor, answer, count)
        for predictor, answer, count in zip(predictors, answers, tops, strict=True)
    ]
    return [
        _result(place, predictor, row[place])
        for place in range(len(rows[0]))
        for predictor, row in zip(predictors, rows, strict=True)
    ]


def infer(
    images: list[bytes] | ImageArray,
    predictors: Sequence[Predictor],
    *,
    decode: DecodeAll,
    deadline: float,
    shadow: Shadow | None = None,
) -> list[Inference]:
    """Logits and failures of all images, for each version. Raises as `predict` does.

    `shadow` gets a share of the images when the answer has been sent; it needs a
    request of flask.
    """
    resizings = {predictor.resizing for predictor in predictors}
    with shadow or nullcontext():
        decoded = (
            images if isinstance(images, ImageArray) else decode(images, resizings)
        )
        work = [(p, *_for_version(decoded, p)) for p in predictors]
        answers = _run_versions(work, deadline)
    if len(answers[0].logits) == 1:
        for answer in answers:
            for error in answer.failures.values():
                raise error
    if shadow is not None and shadow.samples(predictors):
        files = None if isinstance(images, ImageArray) else images
        _when_sent(partial(shadow.offer, files, *work[0], answers[0]))
    return answers


def _when_sent(act: Callable[[], object]) -> None:
    """Calls `act` when the answer to this request has been sent."""

    @after_this_request
    def add(response: Response) -> Response:
        response.call_on_close(act)
        return response


def infer_or_fail(
    images: list[bytes] | ImageArray,
    predictor: Predictor,
    *,
    decode: DecodeAll,
    deadline: float,
    shadow: Shadow | None = None,
) -> Inference:
    """Logits of all images. Raises the first failure, with the image's place.

    For protocols that have no field for the error of one image.
    """

    def decode_whole(images: list[bytes], resizings: set[Resizing]) -> list[Decoded]:
        decoded = decode(images, resizings)
        for place, image in enumerate(decoded):
            if isinstance(image, Exception):
                raise _at(place, image) from image
        return decoded

    (answer,) = infer(
        images, [predictor], decode=decode_whole, deadline=deadline, shadow=shadow
    )
    for _, failure in sorted(answer.failures.items()):
        raise failure
    return answer


def _at(place: int, failure: Exception) -> Exception:
    return type(failure)(f"image {place}: {failure}")


def top_of(predictor: Predictor, top_k: int | None) -> int:
    classes = predictor.classes
    if top_k is None:
        return min(DEFAULT_TOP_K, classes)
    if not 1 <= top_k <= classes:
        raise BadTopK(
            f"top_k is {top_k}; {_who(predictor)} has {classes} classes, ask for 1 to "
            f"{classes}"
        )
    return top_k


def _who(predictor: Predictor) -> str:
    version = predictor.version
    return f"version {version.name}" if version.is_qualified else "this version"


def _for_version(
    decoded: Sequence[Decoded] | ImageArray, predictor: Predictor
) -> tuple[Images, dict[int, Exception]]:
    """Decoded images at the version's size, and the errors of the others by place."""
    height, width = predictor.size
    if isinstance(decoded, ImageArray):
        check_size(decoded.images, height=height, width=width)
        return decoded.images, {}
    failures = {k: i for k, i in enumerate(decoded) if isinstance(i, Exception)}
    images = [
        image[predictor.resizing]
        for image in decoded
        if not isinstance(image, Exception)
    ]
    if not images:
        return np.empty((0, height, width, 3), np.uint8), failures
    return images[0][None] if len(images) == 1 else np.stack(images), failures


def _run_versions(
    work: Sequence[tuple[Predictor, Images, dict[int, Exception]]], deadline: float
) -> list[Inference]:
    """Runs all versions in parallel; if one refuses, the others are cancelled."""
    requests: list[Request] = []
    try:
        for predictor, images, _ in work:
            requests.append(predictor.batcher.submit(images, deadline=deadline))
        return [
            _with_failures(_wait(request, deadline), failures)
            for request, (_, _, failures) in zip(requests, work, strict=True)
        ]
    except BaseException:
        for request in requests:
            request.cancel()
        raise


def _wait(request: Request, deadline: float) -> Inference:
    left = max(0.0, deadline - time.monotonic())
    try:
        return request.result(timeout=min(left, threading.TIMEOUT_MAX))
    except DeadlinePassed:
        raise
    except TimeoutError as error:
        raise DeadlinePassed(
            "the network did not answer in time; ask again with more time, or about "
            "fewer images"
        ) from error


def _with_failures(answer: Inference, failures: Mapping[int, Exception]) -> Inference:
    """The result over all images, including those that were not decoded."""
    if not failures:
        return answer
    decoded, classes = answer.logits.shape
    count = decoded + len(failures)
    places = [place for place in range(count) if place not in failures]
    logits = np.zeros((count, classes), np.float32)
    logits[places] = answer.logits
    own = {places[place]: error for place, error in answer.failures.items()}
    return Inference(logits, {**failures, **own})


def _row(predictor: Predictor, answer: Inference, count: int) -> Row:
    found = answer.likeliest if count <= RANKED else None
    tops = top_classes(predictor.bundle.labels, answer.logits, count, found=found)
    return [answer.failures.get(place, top) for place, top in enumerate(tops)]


def _result(
    place: int, predictor: Predictor, found: tuple[Prediction, ...] | Exception
) -> dict[str, Any]:
    result = {"image": place, **named(predictor.version)}
    if isinstance(found, Exception):
        return {**result, "error": _error(found)}
    return {**result, "top": found}


def named(version: Version) -> dict[str, Any]:
    """The version in an answer; with its model where several models are served."""
    model = {"model": version.model} if version.is_qualified else {}
    return {**model, "version": version.number}


def _error(error: Exception) -> dict[str, str]:
    """Internal errors are only in the log."""
    if type(error) in ERROR_CODES:
        return {"code": ERROR_CODES[type(error)], "message": str(error)}
    message = "the network failed about this image; the service's log says why"
    return {"code": "internal", "message": message}
