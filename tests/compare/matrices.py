"""Matrices of made-up versions."""

import numpy as np

from classifier.bundle.labels import Labels
from classifier.store.versions import Version
from compare.matrix.matrix import make_matrix
from compare.matrix.output import Matrix
from compare.matrix.predictions import ValidatedVersion

IMAGES, CLASSES = 200, 10


def made_up_matrix(
    numbers: list[str], *, images: int = IMAGES, model: str = "m"
) -> Matrix:
    """Versions that grow better."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, CLASSES, images)
    labels = Labels.from_ids([f"n{index}" for index in range(CLASSES)])
    validated = []
    for place, number in enumerate(numbers):
        is_right = rng.random(images) < 0.3 + 0.5 * place / len(numbers)
        first = np.where(is_right, targets, rng.integers(0, CLASSES, images))
        version = Version(
            model=model,
            number=number,
            model_id=None,
            tags={"dataset_name": "made-up", "dataset_digest": "d"},
        )
        validated.append(
            ValidatedVersion(
                version=version,
                labels=labels,
                names=tuple(map(str, range(images))),
                targets=targets,
                first=first,
                ranks=np.where(first == targets, 1, rng.integers(0, 6, images)),
            )
        )
    return make_matrix(validated)
