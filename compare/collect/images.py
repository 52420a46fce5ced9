"""Images of a comparison: where they are, a sample of them, and their classes."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from classifier.datasets.dataset import (
    BadDataset,
    Dataset,
    dataset_digest,
    file_sha256,
    part_digest,
)
from classifier.datasets.flagged import PICKED, has_true_classes, is_flagged
from classifier.datasets.listing import (
    describe_left_out,
    has_images,
    list_images,
)
from classifier.datasets.parts import find_root, hint_of_parts
from classifier.datasets.source import open_dataset
from classifier.datasets.split import SPLIT, Split, Splitting, merged, read_split
from classifier.storage import default_cache
from classifier.store.location import StoreUnavailable
from classifier.store.versions import UnknownModel, UnknownVersion

logger = logging.getLogger(__name__)


SHARED_OUT = 64
"""Images of the sampling order that go to a shard together: those of a request, which
is then the same as without shards. On a GPU the last digits depend on it."""


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of the images."""

    index: int
    """From 0, as the JOB_COMPLETION_INDEX of a Kubernetes Job."""

    count: int

    @property
    def folder(self) -> str:
        """`shard-03-of-16`; as text the folders are in order."""
        return f"shard-{self.index:0{len(str(self.count))}}-of-{self.count}"

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


@dataclass(frozen=True, kw_only=True)
class Images:
    """Names and files in parallel, and the classes if there are labels."""

    data_name: str
    source: str
    """The value of --data that means them."""

    digest: str
    """Digest of the whole data set, also for a sample."""

    available: int
    names: tuple[str, ...]
    files: tuple[Path, ...]
    """Empty if only files of predictions name the images."""

    class_ids: tuple[str, ...] | None
    class_names: Mapping[str, str] = field(default_factory=dict)
    """Names for people, by class id."""

    notes: tuple[str, ...] = ()
    """Notes of every report, such as files left out; without full stops."""

    def __len__(self) -> int:
        return len(self.names)

    def only(self, names: Iterable[str]) -> "Images":
        """The images of these names, in the data's order."""
        wanted = set(names)
        return self._at(p for p, name in enumerate(self.names) if name in wanted)

    def of_classes(
        self, compares: Callable[[str], bool]
    ) -> tuple["Images", dict[str, int]]:
        """Images whose class `compares`; and the number of others, by class."""
        if self.class_ids is None:
            return self, {}
        others = Counter(id_ for id_ in self.class_ids if not compares(id_))
        kept = (p for p, id_ in enumerate(self.class_ids) if id_ not in others)
        return (self._at(kept) if others else self), dict(sorted(others.items()))

    def sample(self, count: int | None) -> "Images":
        """A fixed sample, stratified by class, in the data's order; None is all."""
        return self._at(sorted(sampling_order(self.names, self.class_ids)[:count]))

    def in_sampling_order(self) -> "Images":
        """The first N images are the sample of N, for every N."""
        return self._at(sampling_order(self.names, self.class_ids))

    def of_shard(self, shard: Shard) -> "Images":
        """The shard's part of images in sampling order; each image is in one shard."""
        rounds = (place // SHARED_OUT % shard.count for place in range(len(self)))
        return self._at(p for p, turn in enumerate(rounds) if turn == shard.index)

    def _at(self, places: Iterable[int]) -> "Images":
        kept, classes = list(places), self.class_ids
        return replace(
            self,
            names=tuple(self.names[place] for place in kept),
            files=self.files and tuple(self.files[place] for place in kept),
            class_ids=classes and tuple(classes[place] for place in kept),
        )


def sampling_order(names: Sequence[str], class_ids: Sequence[str] | None) -> list[int]:
    """Positions in an order whose first N are a sample of N, stratified by class.

    The order depends on names and classes alone. One image of each class comes first.
    Then each class has its share at each N, by Webster's method. Within a class, and
    without classes, the hash of the name decides.
    """
    encoded = (name.encode("utf-8", "surrogatepass") for name in names)
    hashes = [hashlib.sha256(name).digest() for name in encoded]
    by_hash = sorted(range(len(names)), key=hashes.__getitem__)
    if class_ids is None:
        return by_hash
    sizes, seen = Counter(class_ids), Counter[str]()
    due = {}
    for place in by_hash:
        class_id = class_ids[place]
        # The share of all images after which this one is due.
        due[place] = (seen[class_id] + 0.5) / sizes[class_id] if seen[class_id] else 0
        seen[class_id] += 1
    return sorted(by_hash, key=due.__getitem__)


ModelAndVersion = tuple[str | None, str]
"""None is the only model there is."""


@dataclass(frozen=True, kw_only=True)
class WantedImages:
    """The images that a command asks for."""

    source: str | None = None
    """None: those that the baseline was validated on."""

    labels: Path | None = None
    """A table of the images' classes."""

    takes_all: bool = False
    """Whether images without parts are all taken, not only those for validation."""

    limit: int | None = None
    cache: Path | None = None


def find_images(wanted: WantedImages, *, versions: Sequence[ModelAndVersion]) -> Images:
    """The images for the versions of a service. The first one is the baseline.

    Raises BadDataset if the images are unknown, or if there are none.
    """
    try:
        return open_images(wanted, versions=versions)
    except (StoreUnavailable, UnknownModel, UnknownVersion) as error:
        raise BadDataset(
            f"the registry does not name the images ({error}); name them with --data"
        ) from error


def open_images(wanted: WantedImages, *, versions: Sequence[ModelAndVersion]) -> Images:
    """The same for versions of our own store.

    A folder of images without parts is split as the versions' runs recorded. Without a
    record it is taken as it is, without labels. Raises BadDataset, and
    StoreUnavailable, UnknownModel or UnknownVersion of the store.
    """
    source = wanted.source
    if source is None:
        source = _recorded_source(*versions[0])
        # Anybody can write there, and these images are sent to the service.
        logger.info("the registry names %s as the images", source)
    splitting = Splitting(takes_all=wanted.takes_all)
    if is_flagged(_folder(source)):
        if wanted.takes_all or not has_true_classes(_folder(source)):
            images = unlabelled_images(source, wanted.limit)
            return replace(images, notes=(PICKED, *images.notes))
    elif may_be_split(source):
        recorded = _recorded_split(versions)
        splitting = replace(splitting, recorded=recorded)
        has_labels = recorded or wanted.labels or wanted.takes_all
        if not has_labels and is_unlabelled(source):
            logger.info("%s has images and no labels", source)
            return unlabelled_images(source, wanted.limit)
    dataset = open_dataset(
        source,
        cache=wanted.cache or default_cache(),
        want_train=False,
        labels=wanted.labels,
        splitting=splitting,
    )
    return labelled_images(dataset, wanted.limit)


def _recorded_source(model: str | None, name: str) -> str:
    """The data that a version was validated on, as the registry has it."""
    from classifier.store.registry import Registry  # MLflow takes 1.3 s

    registry = Registry()
    version = registry.resolve(registry.model_name(model), name)
    source = version.dataset_source
    if source is None:
        raise BadDataset(
            f"the registry does not name the images that v{version.number} was "
            "trained on; name them with --data"
        )
    return source


def _recorded_split(names: Sequence[ModelAndVersion]) -> Split | None:
    """The splits of the versions' runs as one; None without a store or a split."""
    from classifier.store.registry import Registry

    try:
        registry = Registry()
        versions = [
            registry.resolve(registry.model_name(model), name) for model, name in names
        ]
    except (StoreUnavailable, UnknownModel, UnknownVersion) as error:
        # They are the versions of another store's service.
        logger.info("no recorded split of the images: %s", error)
        return None
    texts = {v.run_id: registry.run_text(v, SPLIT) for v in versions}
    return merged(map(read_split, texts.values()))


def may_be_split(source: str) -> bool:
    """Whether `source` is an archive, or a folder without train/ and val/."""
    root = _folder(source)
    return source != "digits" and (not root.is_dir() or find_root(root) is None)


def labelled_images(dataset: Dataset, limit: int | None) -> Images:
    """The validation part, or a sample of it."""
    part = dataset.val
    whole = Images(
        data_name=dataset.name,
        source=dataset.source,
        digest=part_digest(part),
        available=len(part),
        names=part.names,
        files=part.files,
        class_ids=part.class_ids,
        class_names=dict(zip(dataset.labels.ids, dataset.labels.names, strict=True)),
        notes=dataset.notes,
    )
    return whole.sample(limit)


def is_unlabelled(source: str) -> bool:
    """Whether `source` is a folder of images without a layout that has labels.

    Raises BadDataset if it holds several data sets.
    """
    root = _folder(source)
    return (
        source != "digits"
        and root.is_dir()
        and find_root(root) is None
        and has_images(root)
    )


def unlabelled_images(source: str, limit: int | None) -> Images:
    """All images below a folder, or a sample, named by their paths in it.

    The digest is that of a labelled data set with empty class ids. Raises BadDataset
    for a name that is not valid text.
    """
    root = _folder(source)
    notes = ".json" if is_flagged(root) else "\0"
    listing = list_images(root, ignoring=lambda name: name.endswith(notes))
    names, files = listing.names, listing.files
    whole = Images(
        data_name=root.name or "images",
        source=str(root),
        digest=dataset_digest(names, [""] * len(names), map(file_sha256, files)),
        available=len(files),
        names=names,
        files=files,
        class_ids=None,
        notes=(
            *_hint(root),
            *describe_left_out(listing.left_out, where=f"{root.name}/"),
        ),
    )
    return whole.sample(limit)


def _hint(root: Path) -> tuple[str, ...]:
    """A note if folders look like misnamed parts of a labelled data set."""
    hint = hint_of_parts(root, depth=0).replace(str(root), "the folder")
    return (f"if these images have labels: {hint}",) if hint else ()


def _folder(source: str) -> Path:
    return Path(os.path.expanduser(source)).absolute()
