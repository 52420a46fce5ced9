"""Validation predictions of several versions, aligned by image and class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from classifier.bundle.files import BrokenBundle, read_bundle
from classifier.bundle.labels import Labels
from classifier.bundle.predictions import BrokenPredictions, read_predictions
from classifier.metrics import rank_of_target
from classifier.store.registry import Registry
from classifier.store.versions import Version
from compare.results.comparison import NotComparable
from compare.statistics.top_five import BoolArray, IntArray


@dataclass(frozen=True)
class ValidatedVersion:
    """First answers of a version to N images, and the rank of the truth."""

    version: Version
    labels: Labels
    names: tuple[str, ...]
    targets: IntArray
    """[N], indices of `labels`; so are `first`."""

    first: IntArray
    ranks: IntArray
    """[N], 1..5; 0 where the truth is not among the five."""

    @property
    def right(self) -> BoolArray:
        is_right: BoolArray = self.ranks == 1
        return is_right


def read_side_by_side(
    registry: Registry, versions: Sequence[Version]
) -> list[ValidatedVersion]:
    """All in the first version's order of images and indices of classes.

    Raises NotComparable if one was validated on other images or classes, or keeps no
    predictions, and StoreUnavailable if its files cannot be read.
    """
    first, *others = versions
    reference = validated(first, registry)
    return [
        reference,
        *(_aligned(reference, validated(other, registry)) for other in others),
    ]


def validated(version: Version, registry: Registry) -> ValidatedVersion:
    try:
        bundle = read_bundle(registry.fetch(version))
    except BrokenBundle as error:
        raise NotComparable(f"v{version.number} is broken: {error}") from error
    path, classes = bundle.validation_predictions, len(bundle.labels)
    try:
        kept = read_predictions(path, classes=classes)
    except FileNotFoundError as error:
        raise NotComparable(
            f"v{version.number} keeps no {path.name}; leave it out, or train or "
            "quantise it again"
        ) from error
    except BrokenPredictions as error:
        raise NotComparable(
            f"v{version.number}'s {path.name} cannot be read: {error}"
        ) from error
    return ValidatedVersion(
        version=version,
        labels=bundle.labels,
        names=kept.names,
        targets=kept.targets,
        first=kept.indices[:, 0],
        ranks=rank_of_target(kept.indices, kept.targets),
    )


def _aligned(reference: ValidatedVersion, other: ValidatedVersion) -> ValidatedVersion:
    """`other` in the reference's order of images and indices of classes."""
    a, b = f"v{reference.version.number}", f"v{other.version.number}"
    _check_classes(reference.labels, other.labels, a, b)
    _check_images(reference, other, a, b)
    place_of = {name: place for place, name in enumerate(other.names)}
    order = np.array([place_of[name] for name in reference.names], np.int64)
    new_index = np.array([reference.labels.index_of[id_] for id_ in other.labels])
    aligned = ValidatedVersion(
        version=other.version,
        labels=reference.labels,
        names=reference.names,
        targets=new_index[other.targets[order]],
        first=new_index[other.first[order]],
        ranks=other.ranks[order],
    )
    if not np.array_equal(aligned.targets, reference.targets):
        differing = np.flatnonzero(aligned.targets != reference.targets)
        raise NotComparable(
            f"{a} and {b} were validated with other truths for {len(differing):,} "
            f"images, such as {reference.names[differing[0]]}; name versions that were "
            "validated on the same data"
        )
    return aligned


def _check_classes(reference: Labels, other: Labels, a: str, b: str) -> None:
    if set(reference.ids) != set(other.ids):
        raise NotComparable(
            f"{a} knows {len(reference)} classes and {b} {len(other)}, and "
            f"{len(set(reference.ids) ^ set(other.ids))} are in one of them alone; "
            "name versions with the same classes"
        )


def _check_images(
    reference: ValidatedVersion, other: ValidatedVersion, a: str, b: str
) -> None:
    digests = [(side.version.dataset_digest or "")[:12] for side in (reference, other)]
    is_same_data = digests[0] == digests[1] or not all(digests)
    if is_same_data and sorted(reference.names) == sorted(other.names):
        return
    said = f" ({digests[0]} and {digests[1]})" if all(digests) else ""
    raise NotComparable(
        f"{a} was validated on {len(reference.names):,} images and {b} on other "
        f"{len(other.names):,}{said}; name versions that were validated on the same "
        "data"
    )
