"""Predictions of several versions and files, aligned by image and class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from classifier.bundle.files import BrokenBundle
from classifier.bundle.labels import Labels, match_classes
from classifier.bundle.predictions import BrokenPredictions, read_predictions
from classifier.bundle.predictions_file import Predictions, read_predictions_file
from classifier.metrics import rank_of_target
from classifier.store.registry import Registry
from classifier.store.versions import Version
from compare.collect.schema import is_file_name
from compare.matrix.output import shown_entry
from compare.results.comparison import NotComparable
from compare.statistics.top_five import TOP, BoolArray, IntArray


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
    def key(self) -> tuple[str, str]:
        return self.version.model, self.version.number

    @property
    def right(self) -> BoolArray:
        is_right: BoolArray = self.ranks == 1
        return is_right


def read_side_by_side(
    registry: Registry | None, versions: Sequence[Version]
) -> list[ValidatedVersion]:
    """All in the first version's order of images and indices of classes.

    The number of a file is its path. Without a version, the first file that has the
    truth is the first. `registry` is None if all are files. Raises NotComparable if one
    was validated on other images or classes, or keeps no predictions, BadPredictions,
    and StoreUnavailable if its files cannot be read.
    """
    files = {
        version.number: read_predictions_file(Path(version.number))
        for version in versions
        if is_file_name(version.number)
    }
    kept = [
        validated(version, registry)
        for version in versions
        if registry is not None and version.number not in files
    ]
    reference = kept[0] if kept else _first_with_truth(files)
    entries = {entry.key: _aligned(reference, entry) for entry in kept[1:]}
    entries[reference.key] = reference
    extra: dict[str, int] = {}
    for name, file in files.items():
        entries.setdefault((name, name), _with_truth(reference, name, file, extra))
    return [entries[version.model, version.number] for version in versions]


def _first_with_truth(files: Mapping[str, Predictions]) -> ValidatedVersion:
    """Raises NotComparable if no file has the truth."""
    for name, file in files.items():
        if file.truths is None:
            continue
        labels = Labels.from_ids([*file.class_ids, *file.truths])
        index_of = labels.index_of
        own = file.with_classes(labels.ids)
        targets = np.array([index_of[truth] for truth in file.truths], np.int64)
        return _of_file(name, labels, file.names, targets, own.indices)
    raise NotComparable(
        f"no file has a column truth, such as {next(iter(files))}; add it to one, or "
        "name a version too"
    )


def _with_truth(
    reference: ValidatedVersion, name: str, file: Predictions, extra: dict[str, int]
) -> ValidatedVersion:
    """A file in the reference's order, with its truth.

    `extra` collects the classes that the reference lacks, with indices beyond its own.
    """
    reference_name = shown_entry(reference.version.number)
    if sorted(reference.names) != sorted(file.names):
        raise NotComparable(
            f"{reference_name} is about {len(reference.names):,} images and {name} "
            f"about other {len(file.names):,}; name files of the same images"
        )
    row_of = {image: row for row, image in enumerate(file.names)}
    ours = file.at([row_of[image] for image in reference.names])
    found = dict.fromkeys([*file.class_ids, *(file.truths or ())])
    labels = Labels(tuple(found), tuple(found))
    matched = match_classes(reference.labels, labels)
    index_of = {
        id_: reference.labels.index_of[matched[id_]]
        if id_ in matched
        else extra.setdefault(id_, len(reference.labels) + len(extra))
        for id_ in labels.ids
    }
    new = np.array([*(index_of[id_] for id_ in file.class_ids), -1])
    for truth, target, image in zip(
        ours.truths or (), reference.targets, reference.names, strict=False
    ):
        if index_of[truth] != target:
            raise NotComparable(
                f"{reference_name} and {name} have other truths for {image}; name "
                "files of the same data"
            )
    return _of_file(
        name,
        reference.labels,
        reference.names,
        reference.targets,
        new[ours.indices],
    )


def _of_file(
    name: str,
    labels: Labels,
    names: tuple[str, ...],
    targets: IntArray,
    indices: IntArray,
) -> ValidatedVersion:
    return ValidatedVersion(
        version=Version(model=name, number=name, model_id=None),
        labels=labels,
        names=names,
        targets=targets,
        first=indices[:, 0],
        ranks=rank_of_target(indices[:, :TOP], targets),
    )


def validated(version: Version, registry: Registry) -> ValidatedVersion:
    try:
        bundle = registry.bundle(version)
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
