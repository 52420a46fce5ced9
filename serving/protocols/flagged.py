"""POST /flagged: a picture that somebody marked is kept, with the versions' answers."""

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from flask import Flask, Response, request

from classifier.datasets.flagged import FlaggedFull, keep_flagged, make_flagged_folder
from serving.http.answers import JsonAnswer
from serving.http.bodies import BadRequest, UnsupportedMediaType, read_body
from serving.http.errors import NotHere
from serving.http.service import Service
from serving.inference.native import run_natively
from serving.inference.predictor import Predictor
from serving.protocols.predict import predict

logger = logging.getLogger(__name__)


def add_flagged(app: Flask, service: Service, folder: Path | None) -> None:
    """Makes the folder; without one nothing is kept. Raises BadPlace or NotWritable."""
    if folder is not None:
        make_flagged_folder(folder)

    @app.post("/flagged")
    def flag() -> Response:
        if folder is None:
            raise NotHere(
                "this service keeps no pictures; start it with --flagged FOLDER"
            )
        _check_type()
        truth = _truth_asked()
        deadline = service.deadline(request)
        image = read_body(request, deadline=deadline)
        with service.admission:
            names: list[str | None] = list(request.args.getlist("version"))
            predictors = service.predictors(names or [None], deadline=deadline)
            true_class = None if truth is None else _class(truth, predictors)
            results = predict(
                [image],
                predictors,
                top=None,
                decode=service.decode(request, deadline),
                deadline=deadline,
            )
            answer = {
                "model": predictors[0].version.model,
                "truth": true_class,
                "results": results,
            }
            name, count = _keep(folder, image, answer)
        body = orjson.dumps({"image": name, "kept": count, **answer})
        return JsonAnswer(body)


def _check_type() -> None:
    """Raises UnsupportedMediaType for types that a page of another site may send.

    A browser asks first before it sends others, and the service does not allow them.
    """
    kind = request.mimetype
    if not kind.startswith("image/") and kind != "application/octet-stream":
        raise UnsupportedMediaType(
            f"a body of type {kind or 'unknown'!r}; send one image as image/jpeg, "
            "image/… or application/octet-stream"
        )


def _truth_asked() -> str | None:
    unknown = set(request.args) - {"version", "truth"}
    if unknown:
        raise BadRequest(
            f"no such query parameter: {', '.join(sorted(unknown))}; there are "
            "version (repeatable) and truth"
        )
    given = request.args.getlist("truth")
    if len(given) > 1:
        raise BadRequest(f"truth is given {len(given)} times; give it once")
    return given[0] if given else None


def _class(class_id: str, predictors: list[Predictor]) -> dict[str, str]:
    """Raises BadRequest if no version has such a class."""
    for predictor in predictors:
        labels = predictor.bundle.labels
        if class_id in labels.ids:
            name = labels.names[labels.ids.index(class_id)]
            return {"id": class_id, "name": name}
    raise BadRequest(
        f"truth is {class_id!r:.80}, which is no class id of the versions asked; see "
        "the labels in GET /versions/VERSION"
    )


def _keep(folder: Path, image: bytes, answer: dict[str, Any]) -> tuple[str, int]:
    """Raises FlaggedFull, also if the disk is full."""
    flagged_at = datetime.now(UTC).isoformat(timespec="seconds")
    # As plain JSON: a prediction is an object.
    note = orjson.loads(orjson.dumps({"flagged_at": flagged_at, **answer}))
    try:
        return run_natively(keep_flagged, folder, image, note)
    except OSError as error:
        logger.error("picture not kept reason=%s", error)
        raise FlaggedFull(
            "the picture cannot be written now; the service's log says why"
        ) from error
