"""Answers by the networks of versions: what a service computes, without one."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from classifier.images.decoding import (
    ImageTooLarge,
    RgbImage,
    UndecodableImage,
    check_image,
)
from classifier.images.resizing import Resizing
from classifier.store.versions import Version, split_name
from compare.collect.collector import Side
from compare.collect.offline.files import NoRuntime
from compare.collect.schema import Answer, NoAnswer, ServedVersion, TopAnswer
from compare.statistics.top_five import TOP

if TYPE_CHECKING:  # they bring ONNX Runtime and the registry
    from classifier.bundle.files import Bundle
    from classifier.inference.backends.base import RunNetwork

Pixels = NDArray[np.uint8]
"""Images as a network sees them, [N, H, W, 3]."""


def resize_all(
    data: bytes, resizings: Sequence[Resizing], *, max_megapixels: float
) -> list[RgbImage] | NoAnswer:
    """The image in each size, decoded once; or the error that a service would give."""
    try:
        image = check_image(data, max_megapixels=max_megapixels).decode()
    except UndecodableImage as error:
        return NoAnswer("undecodable_image", str(error))
    except ImageTooLarge as error:
        return NoAnswer("image_too_large", str(error))
    return [resizing(image) for resizing in resizings]


class Networks:
    """Networks of one or two versions, open on one core of this process, in fp32.

    ONNX Runtime gives the same bits in any batch and on any number of threads.
    """

    def __init__(self, bundles: Sequence["Bundle"]) -> None:
        """Raises NoRuntime or BrokenBundle."""
        try:
            from classifier.inference.backends.onnx_runtime import OnnxBackend
        except ModuleNotFoundError as error:
            raise NoRuntime(
                "the networks need ONNX Runtime, which is not installed; install "
                "flipside[cpu] or flipside[gpu] on every machine that answers"
            ) from error
        self._bundles = bundles
        self._backends = [
            OnnxBackend(bundle, device="cpu", threads=1, batches_at_once=False)
            for bundle in bundles
        ]
        self.resizings = sizes_of(bundles)

    def answers(self, pixels: Sequence[Pixels]) -> list[tuple[Answer, ...]]:
        """The networks' answers to each image; `pixels` has it in each size."""
        if not len(pixels[0]):
            return []
        by_network = []
        for bundle, backend in zip(self._bundles, self._backends, strict=True):
            place = self.resizings.index(bundle.preprocessing.resizing)
            by_network.append(_answers(bundle, backend.logits, pixels[place]))
        return list(zip(*by_network, strict=True))


def sizes_of(bundles: Sequence["Bundle"]) -> list[Resizing]:
    """The sizes that images are needed in, each once."""
    return list(dict.fromkeys(bundle.preprocessing.resizing for bundle in bundles))


def _answers(bundle: "Bundle", network: "RunNetwork", images: Pixels) -> list[Answer]:
    from classifier.inference.predict import logits_or_failures, top_classes

    labels = bundle.labels
    logits, failures = logits_or_failures(network, images, classes=len(labels))
    return [
        NoAnswer("internal", str(failures[place]))
        if place in failures
        else TopAnswer(
            tuple(each.index for each in row), tuple(each.probability for each in row)
        )
        for place, row in enumerate(top_classes(labels, logits, TOP))
    ]


class VersionNetworks:
    """The networks of the compared versions as a source of answers."""

    url = ""
    retries = 0
    reads_images = True

    def __init__(
        self, bundles: Mapping[tuple[str, str], "Bundle"], *, max_megapixels: float
    ) -> None:
        """`bundles` are by the keys of versions."""
        self.bundles = bundles
        self.max_megapixels = max_megapixels

    @cached_property
    def _networks(self) -> Networks:
        return Networks(list(self.bundles.values()))

    def predict(
        self, images: Sequence[tuple[str, bytes]], versions: Sequence[ServedVersion]
    ) -> list[tuple[Answer, ...]]:
        """The answers to the images by each of the versions; all are one batch."""
        sizes = self._networks.resizings
        decoded = [
            resize_all(data, sizes, max_megapixels=self.max_megapixels)
            for _, data in images
        ]
        whole = [each for each in decoded if not isinstance(each, NoAnswer)]
        pixels = [np.stack(images) for images in zip(*whole, strict=True)]
        answered = iter(self._networks.answers(pixels) if whole else [])
        keys = list(self.bundles)
        rows = [
            (each,) * len(keys) if isinstance(each, NoAnswer) else next(answered)
            for each in decoded
        ]
        places = [keys.index(version.key) for version in versions]
        return [tuple(row[place] for place in places) for row in rows]

    def hasty(self, patience_seconds: float) -> "VersionNetworks":
        return self

    def stop(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing is open."""


@contextlib.contextmanager
def open_networks(
    a: str, b: str, *, model: str | None, max_megapixels: float
) -> Iterator[tuple[Side, Side]]:
    """Yield both sides: versions of the registry, and their networks.

    Raises StoreUnavailable, UnknownModel, UnknownVersion or BrokenBundle.
    """
    from classifier.bundle.files import read_bundle
    from classifier.store.registry import Registry  # MLflow takes 1.3 s

    registry = Registry()
    bundles: dict[tuple[str, str], Bundle] = {}
    versions = []
    for typed in (a, b):
        of_name, name = split_name(typed)
        found = registry.resolve(registry.model_name(of_name or model), name)
        bundle = read_bundle(registry.fetch(found))
        versions.append(_as_served(found, bundle))
        bundles[versions[-1].key] = bundle
    source = VersionNetworks(bundles, max_megapixels=max_megapixels)
    yield Side(versions[0], source), Side(versions[1], source)


def _as_served(version: Version, bundle: "Bundle") -> ServedVersion:
    """The version as the page of a service shows it."""
    is_known = version.dataset_name is not None
    return ServedVersion(
        model=version.model,
        number=version.number,
        labels=bundle.labels,
        run_id=version.run_id,
        epoch=version.epoch,
        dataset_digest=version.dataset_digest if is_known else None,
        aliases=(version.base or version).aliases,
        served_as=f"onnx;{bundle.network.precision}",
    )
