"""preprocessing.json."""

import json
from typing import Any

import pytest

from classifier.bundle.preprocessing import Preprocessing
from classifier.images.resizing import Resizing

STRETCH = Preprocessing(64, 48)
CROP = Preprocessing(224, 224, resize="bicubic-antialias", resize_to=256, crop="center")


@pytest.mark.parametrize("preprocessing", [STRETCH, CROP])
def test_preprocessing_survives_json(preprocessing: Preprocessing) -> None:
    written = json.dumps(preprocessing.to_json())

    assert Preprocessing.from_json(json.loads(written)) == preprocessing


def test_a_stretch_is_written_as_the_first_wave_wrote_it() -> None:
    assert set(STRETCH.to_json()) == {
        "height", "width", "resize", "color", "mean", "std",
    }  # fmt: skip


def test_null_is_a_stretch() -> None:
    fields = json.loads(json.dumps(STRETCH.to_json()))

    read = Preprocessing.from_json({**fields, "resize_to": None, "crop": None})

    assert read == STRETCH
    assert read.resizing == Resizing(64, 48)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"crop": "five"}, "crop must be center"),
        ({"crop": None}, "resize_to needs a crop"),
        ({"resize_to": None}, "crop must be center, with a resize_to"),
        ({"resize_to": 223}, "resize_to must be at least height and width"),
        ({"resize_to": 0}, "resize_to must be a whole number from 1"),
        ({"resize_to": 256.0}, "resize_to must be a whole number"),
        ({"resize": "lanczos"}, "unknown preprocessing 'lanczos'"),
        ({"antialias": True}, "'antialias' is not known"),
    ],
)
def test_wrong_fields_are_found(change: dict[str, Any], reason: str) -> None:
    fields = json.loads(json.dumps(CROP.to_json()))

    with pytest.raises(ValueError, match=reason):
        Preprocessing.from_json({**fields, **change})
