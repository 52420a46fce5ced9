"""Images through versions: every image of a request, by every version asked."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.preprocessing import (
    ImageTooLarge,
    RgbImage,
    UndecodableImage,
    decode_image,
    resize,
)
from serving.bodies import ImageArray, check_size
from serving.predictor import Prediction, Predictor

DEFAULT_TOP_K = 5

Size = tuple[int, int]
"""Height and width."""

Decoded = Mapping[Size, RgbImage] | UndecodableImage | ImageTooLarge
"""An image at every size that an asked version takes, or why there is none."""


class BadTopK(ValueError):
    """A number of answers that the version cannot give."""


def answer(
    images: list[bytes] | ImageArray, predictors: Sequence[Predictor], top: int | None
) -> list[dict[str, Any]]:
    """The `results` of POST /predict, ordered by image, then by version as asked.

    An image that cannot be decoded fails alone, unless it is the only one: then
    UndecodableImage or ImageTooLarge. BadTopK, BadRequest for an array of another size.
    """
    sizes = {_size_of(predictor) for predictor in predictors}
    decoded = images if isinstance(images, ImageArray) else _decode_all(images, sizes)
    columns = [
        _by_version(decoded, predictor, top_of(predictor, top))
        for predictor in predictors
    ]
    return [row for rows in zip(*columns, strict=True) for row in rows]


def _decode_all(encoded: Sequence[bytes], sizes: set[Size]) -> list[Decoded]:
    """Each is resized as soon as it is decoded: 256 photos are 19 GB of pixels."""
    decoded: list[Decoded] = []
    for data in encoded:
        try:
            image = decode_image(data)
        except (UndecodableImage, ImageTooLarge) as error:
            if len(encoded) == 1:
                raise
            decoded.append(error)
        else:
            decoded.append({(h, w): resize(image, height=h, width=w) for h, w in sizes})
    return decoded


def _size_of(predictor: Predictor) -> Size:
    preprocessing = predictor.bundle.preprocessing
    return preprocessing.height, preprocessing.width


def top_of(predictor: Predictor, asked: int | None) -> int:
    classes = len(predictor.bundle.labels)
    if asked is None:
        return min(DEFAULT_TOP_K, classes)
    if not 1 <= asked <= classes:
        raise BadTopK(
            f"top_k is {asked}; this version has {classes} classes, ask 1 to it"
        )
    return asked


def _by_version(
    decoded: Sequence[Decoded] | ImageArray, predictor: Predictor, top: int
) -> list[dict[str, Any]]:
    images = _for_version(decoded, predictor)
    answers = iter(predictor.predict(images, top) if len(images) else ())
    each = decoded.images if isinstance(decoded, ImageArray) else decoded
    return [
        _row(place, predictor, error=image)
        if isinstance(image, (UndecodableImage, ImageTooLarge))
        else _row(place, predictor, top=next(answers))
        for place, image in enumerate(each)
    ]


def _for_version(
    decoded: Sequence[Decoded] | ImageArray, predictor: Predictor
) -> NDArray[np.uint8]:
    """The images that decoded, at the version's size: [n, H, W, 3]."""
    height, width = size = _size_of(predictor)
    if isinstance(decoded, ImageArray):
        check_size(decoded.images, height=height, width=width)
        return decoded.images
    images = [image[size] for image in decoded if isinstance(image, Mapping)]
    return np.stack(images) if images else np.empty(0, np.uint8)


def _row(
    place: int,
    predictor: Predictor,
    *,
    top: Sequence[Prediction] = (),
    error: UndecodableImage | ImageTooLarge | None = None,
) -> dict[str, Any]:
    row: dict[str, Any] = {"image": place, "version": predictor.version.number}
    if error is None:
        return {**row, "top": [asdict(prediction) for prediction in top]}
    return {**row, "error": {"code": code_of(error), "message": str(error)}}


def code_of(error: UndecodableImage | ImageTooLarge) -> str:
    return (
        "image_too_large" if isinstance(error, ImageTooLarge) else "undecodable_image"
    )
