"""What a version answered when it was validated, as it is kept beside its files."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from classifier.bundle.files import BrokenBundle, Bundle, read_bundle
from classifier.bundle.labels import Labels
from classifier.store.registry import Registry
from classifier.store.versions import Version
from compare.results.comparison import NotComparable
from compare.statistics.top_five import TOP, BoolArray, IntArray


@dataclass(frozen=True)
class ValidatedVersion:
    """A version's first answers about N images, and where the truth stood."""

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
    """In the image order and the class indices of the first.

    NotComparable where one was validated on other images or classes, or keeps no
    predictions; StoreUnavailable where its files are away.
    """
    first, *others = versions
    reference = read_predictions(first, registry)
    return [
        reference,
        *(_aligned(reference, read_predictions(other, registry)) for other in others),
    ]


def read_predictions(version: Version, registry: Registry) -> ValidatedVersion:
    try:
        bundle = read_bundle(registry.fetch(version))
    except BrokenBundle as error:
        raise NotComparable(f"v{version.number} is broken: {error}") from error
    try:
        return _parsed(version, bundle)
    except FileNotFoundError as error:
        raise NotComparable(
            f"v{version.number} keeps no {bundle.validation_predictions.name}; leave "
            "it out, or train or quantise it again"
        ) from error
    # A footer that is damaged is an OSError to pyarrow.
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise NotComparable(
            f"v{version.number}'s {bundle.validation_predictions.name} cannot be read: "
            f"{str(error).splitlines()[0]}"
        ) from error


def _parsed(version: Version, bundle: Bundle) -> ValidatedVersion:
    names = [f"index_{place + 1}" for place in range(TOP)]
    columns = ["image", "target", *names]
    frame = pq.read_table(bundle.validation_predictions, columns=columns).to_pandas()
    targets = frame["target"].to_numpy(np.int64)
    # -1 beyond the number of classes; [N, 5]
    indices = frame[names].fillna(-1).to_numpy(np.int64)
    classes = len(bundle.labels)
    if not (_in_range(targets, 0, classes) and _in_range(indices, -1, classes)):
        raise ValueError(f"an index outside the {classes} classes")
    hits = indices == targets[:, None]
    return ValidatedVersion(
        version=version,
        labels=bundle.labels,
        names=tuple(frame["image"]),
        targets=targets,
        first=indices[:, 0],
        ranks=np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0),
    )


def _in_range(indices: IntArray, low: int, high: int) -> bool:
    return bool(((low <= indices) & (indices < high)).all())


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
