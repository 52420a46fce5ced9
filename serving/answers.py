"""Images through versions: every image of a request, by every version asked."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import numpy as np

from classifier.cores import usable_cores
from classifier.preprocessing import (
    ImageTooLarge,
    RgbImage,
    UndecodableImage,
    decode_image,
    header_pixels,
    resize,
)
from serving.bodies import ImageArray, check_size
from serving.predictor import Prediction, Predictor
from serving.request_queue import Answer, DeadlinePassed, Images

DEFAULT_TOP_K = 5

LARGE_PIXELS = 1_000_000
"""Of an image that is decoded only beside as many others as there are cores: 25
megapixels take 75 to 300 MB meanwhile, and may come as 75 kB."""

_large_turns = threading.Semaphore(usable_cores())

Size = tuple[int, int]
"""Height and width."""

Decoded = Mapping[Size, RgbImage] | Exception
"""An image at every size that an asked version takes, or why there is none."""

Row = list[tuple[Prediction, ...] | Exception]
"""Of one version, for each image its likeliest classes, or why there are none."""

ERROR_CODES: dict[type[Exception], str] = {
    ImageTooLarge: "image_too_large",
    UndecodableImage: "undecodable_image",
}
"""Any other is `internal`."""


class BadTopK(ValueError):
    """A number of answers that the version cannot give."""


def predict(
    images: list[bytes] | ImageArray,
    predictors: Sequence[Predictor],
    *,
    top: int | None,
    deadline: float,
    observe_decode: Callable[[float], None] = lambda seconds: None,
) -> list[dict[str, Any]]:
    """The `results` of POST /predict, ordered by image, then by version as asked.

    An image that fails does so alone, unless it is the only one: then its error is
    raised. BadTopK, BadRequest for an array of another size, Overloaded,
    DeadlinePassed (`deadline` is of time.monotonic()).
    """
    tops = [top_of(predictor, top) for predictor in predictors]
    answers = ask(images, predictors, deadline=deadline, observe_decode=observe_decode)
    rows = [
        _top(predictor, answer, count)
        for predictor, answer, count in zip(predictors, answers, tops, strict=True)
    ]
    return [
        _result(place, predictor, row[place])
        for place in range(len(rows[0]))
        for predictor, row in zip(predictors, rows, strict=True)
    ]


def ask(
    images: list[bytes] | ImageArray,
    predictors: Sequence[Predictor],
    *,
    deadline: float,
    observe_decode: Callable[[float], None] = lambda seconds: None,
) -> list[Answer]:
    """Of each version, about all images; raises as `predict` does.

    A failure's place is the image's; the only image's failure is raised.
    """
    sizes = {predictor.size for predictor in predictors}
    started = time.perf_counter()
    decoded = (
        images
        if isinstance(images, ImageArray)
        else [_decode(data, sizes, deadline) for data in images]
    )
    observe_decode(time.perf_counter() - started)
    answers = _ask_all([(p, *_for_version(decoded, p)) for p in predictors], deadline)
    if len(answers[0].logits) == 1:
        for answer in answers:
            for error in answer.failures.values():
                raise error
    return answers


def top_of(predictor: Predictor, asked: int | None) -> int:
    classes = len(predictor.bundle.labels)
    if asked is None:
        return min(DEFAULT_TOP_K, classes)
    if not 1 <= asked <= classes:
        raise BadTopK(
            f"top_k is {asked}; this version has {classes} classes, ask 1 to it"
        )
    return asked


def _decode(data: bytes, sizes: set[Size], deadline: float) -> Decoded:
    """Resized as soon as it is decoded: 256 photos are 19 GB of pixels."""
    try:
        with _turn(data, deadline):
            image = decode_image(data)
            return {(h, w): resize(image, height=h, width=w) for h, w in sizes}
    except (UndecodableImage, ImageTooLarge) as error:
        return error


@contextmanager
def _turn(data: bytes, deadline: float) -> Iterator[None]:
    """DeadlinePassed, also where the turn does not come in time."""
    left = min(deadline - time.monotonic(), threading.TIMEOUT_MAX)
    if left <= 0:
        raise _late()
    if header_pixels(data) <= LARGE_PIXELS:
        yield
        return
    if not _large_turns.acquire(timeout=left):
        raise _late()
    try:
        yield
    finally:
        _large_turns.release()


def _late() -> DeadlinePassed:
    return DeadlinePassed(
        "the images were not decoded in time; ask again with more of it, or about "
        "fewer or smaller images"
    )


def _for_version(
    decoded: Sequence[Decoded] | ImageArray, predictor: Predictor
) -> tuple[Images, dict[int, Exception]]:
    """The images that decoded, at the version's size, and what the others failed of."""
    height, width = size = predictor.size
    if isinstance(decoded, ImageArray):
        check_size(decoded.images, height=height, width=width)
        return decoded.images, {}
    failures = {k: i for k, i in enumerate(decoded) if isinstance(i, Exception)}
    images = [image[size] for image in decoded if not isinstance(image, Exception)]
    if not images:
        return np.empty((0, height, width, 3), np.uint8), failures
    return np.stack(images), failures


def _ask_all(
    asked: Sequence[tuple[Predictor, Images, dict[int, Exception]]], deadline: float
) -> list[Answer]:
    """All versions at once; what one refuses, the others need not answer."""
    futures: list[Future[Answer] | None] = []
    try:
        for place, (predictor, images, _) in enumerate(asked, start=1):
            is_last = place == len(asked)
            futures.append(
                predictor.submit(images, deadline=deadline, run_here=is_last)
                if len(images) > 0
                else None
            )
        return [
            _spread(_wait(future, deadline), failures, predictor)
            for future, (predictor, _, failures) in zip(futures, asked, strict=True)
        ]
    except BaseException:
        for future in futures:
            if future is not None:
                future.cancel()
        raise


def _wait(future: "Future[Answer] | None", deadline: float) -> Answer | None:
    if future is None:
        return None
    left = max(0.0, deadline - time.monotonic())
    try:
        return future.result(timeout=min(left, threading.TIMEOUT_MAX))
    except DeadlinePassed:
        raise
    except TimeoutError as error:
        raise DeadlinePassed(
            "the network did not answer in time; ask again with more of it, or about "
            "fewer images"
        ) from error


def _spread(
    answer: Answer | None, failures: Mapping[int, Exception], predictor: Predictor
) -> Answer:
    """Over the places of all images, of those that decoded and those that did not."""
    if not failures:
        assert answer is not None
        return answer
    decoded = 0 if answer is None else len(answer.logits)
    count = decoded + len(failures)
    places = [place for place in range(count) if place not in failures]
    logits = np.zeros((count, len(predictor.bundle.labels)), np.float32)
    if answer is None:
        return Answer(logits, failures)
    logits[places] = answer.logits
    own = {places[place]: error for place, error in answer.failures.items()}
    return Answer(logits, {**failures, **own})


def _top(predictor: Predictor, answer: Answer, count: int) -> Row:
    logits = answer.logits
    if answer.failures:
        logits = logits.copy()
        logits[list(answer.failures)] = 0.0
    tops = predictor.top(logits, count)
    return [answer.failures.get(place, top) for place, top in enumerate(tops)]


def _result(
    place: int, predictor: Predictor, found: tuple[Prediction, ...] | Exception
) -> dict[str, Any]:
    result: dict[str, Any] = {"image": place, "version": predictor.version.number}
    if isinstance(found, Exception):
        return {**result, "error": {"code": code_of(found), "message": told(found)}}
    return {**result, "top": found}


def code_of(error: Exception) -> str:
    return ERROR_CODES.get(type(error), "internal")


def told(error: Exception) -> str:
    """What a client may know of it."""
    if type(error) in ERROR_CODES:
        return str(error)
    return "the network failed about this image; the service's log says why"
