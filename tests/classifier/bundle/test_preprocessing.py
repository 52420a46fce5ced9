"""preprocessing.json."""

import json

from classifier.bundle.preprocessing import Preprocessing


def test_preprocessing_survives_json() -> None:
    preprocessing = Preprocessing(64, 48)

    written = json.dumps(preprocessing.to_json())

    assert Preprocessing.from_json(json.loads(written)) == preprocessing
