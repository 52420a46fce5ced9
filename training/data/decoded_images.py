"""The images of a part, decoded once into a memory-mapped file."""

import hashlib
import json
import logging
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.bundle.labels import Labels
from classifier.bundle.preprocessing import Preprocessing
from classifier.console.progress import progress_bar
from classifier.datasets.dataset import (
    UNREADABLE,
    BadDataset,
    Part,
    UnreadableImage,
    dataset_digest,
    read_image,
)
from classifier.hardware import usable_cores
from classifier.images.decoding import ImageTooLarge, RgbImage, UndecodableImage
from classifier.images.decoding_cost import OWN_FILES_MEGAPIXELS
from classifier.metrics import IntArray
from classifier.storage import build_once, check_room, file_checksums, take_room
from training.config.data_flags import DataConfig

FORMAT = 3
"""Part of the key: raised when decoding changes, so that older caches are not read."""

IMAGES, INDEX = "images.npy", "index.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DecodedPart:
    """Images ready to train on or to measure with."""

    names: tuple[str, ...]
    images: NDArray[np.uint8]
    """[N, H, W, 3], memory-mapped and read-only."""

    targets: IntArray
    digest: str
    """dataset_digest() of the whole part, images that do not decode among them."""

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class _Decoded:
    sha256: str
    """Empty where the file cannot be read."""

    image: RgbImage | None
    failure: str


def decode_part(
    part: Part,
    *,
    name: str,
    labels: Labels,
    preprocessing: Preprocessing,
    cache: Path,
    skip_broken: bool,
    max_megapixels: float = OWN_FILES_MEGAPIXELS,
) -> DecodedPart:
    """The images of the part called `name`, from the cache if its checksums are right.

    Raises BadDataset, which names the images that do not decode, unless `skip_broken`;
    DiskTooSmall if the cache's disk has no room for them.
    """
    folder = build_once(
        cache / "decoded" / _key(part, preprocessing, max_megapixels),
        lambda folder: _build(
            folder, part, preprocessing, name=name, max_megapixels=max_megapixels
        ),
        is_whole=lambda folder: _is_whole(folder, part, preprocessing),
    )
    index = json.loads((folder / INDEX).read_text())
    broken: dict[str, str] = index["broken"]
    if broken and not skip_broken:
        raise BadDataset(_broken_message(part, broken))
    if broken:
        logger.warning("skipped images=%d part=%s do not decode", len(broken), name)
    images = np.load(folder / IMAGES, mmap_mode="r")
    kept = [position for position in range(len(part)) if str(position) not in broken]
    if not kept:
        raise BadDataset(f"none of the {len(part):,} {name} images decodes")
    return DecodedPart(
        names=tuple(part.names[position] for position in kept),
        images=images if len(kept) == len(part) else images[kept],
        targets=np.array([labels.index_of[part.class_ids[p]] for p in kept], np.int64),
        digest=index["digest"],
    )


def decode_train_and_val(
    train: Part,
    val: Part,
    *,
    config: DataConfig,
    labels: Labels,
    preprocessing: Preprocessing,
) -> tuple[DecodedPart, DecodedPart]:
    """decode_part() of both parts, with the limits and the cache of `config`."""
    decoded_train, decoded_val = (
        decode_part(
            part,
            name=name,
            labels=labels,
            preprocessing=preprocessing,
            cache=config.cache_folder,
            skip_broken=config.skip_broken,
            max_megapixels=config.max_megapixels,
        )
        for name, part in (("train", train), ("val", val))
    )
    return decoded_train, decoded_val


def sample(part: DecodedPart, count: int) -> DecodedPart:
    """At most `count` images, evenly over the part in the order of its classes."""
    count = min(count, len(part))
    places = np.linspace(0, len(part) - 1, count).astype(np.int64)
    positions = np.argsort(part.targets, kind="stable")[places]
    return DecodedPart(
        names=tuple(part.names[position] for position in positions),
        images=part.images[positions],
        targets=part.targets[positions],
        digest=part.digest,
    )


def _key(part: Part, preprocessing: Preprocessing, max_megapixels: float) -> str:
    """Changes when a file is added, removed, renamed, relabelled or touched."""
    size = f"{preprocessing.height}x{preprocessing.width}"
    how = f"{FORMAT}\t{size}\t{preprocessing.resize}\t{max_megapixels:g}\n"
    digest = hashlib.sha256(how.encode())
    for name, class_id, file in zip(
        part.names, part.class_ids, part.files, strict=True
    ):
        line = f"{file}\t{name}\t{class_id}\t{_state_of(file)}\n"
        digest.update(line.encode())
    return digest.hexdigest()[:32]


def _state_of(file: Path) -> str:
    """Size and time of the file's last change; `unreadable` for a broken link."""
    try:
        status = file.stat()
    except OSError as error:
        if error.errno not in UNREADABLE:
            raise
        return "unreadable"
    return f"{status.st_size}\t{status.st_mtime_ns}"


def _is_whole(folder: Path, part: Part, preprocessing: Preprocessing) -> bool:
    """Whether both files are as they were built, to the bit.

    False if an image that was unreadable then is readable now: a change of permissions
    changes neither its size nor its time.
    """
    try:
        index = json.loads((folder / INDEX).read_text())
        if index.pop("crc32") != _checksum(index):
            return False
        if index["images_crc32"] != file_checksums(folder / IMAGES):
            return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # not there, not JSON, or not an index
    if any(os.access(part.files[p], os.R_OK) for p in index.get("unread", ())):
        return False
    images = np.load(folder / IMAGES, mmap_mode="r")
    return bool(images.shape == _shape(part, preprocessing))


def _build(
    folder: Path,
    part: Part,
    preprocessing: Preprocessing,
    *,
    name: str,
    max_megapixels: float,
) -> None:
    shape = _shape(part, preprocessing)
    check_room(
        folder.parent,
        math.prod(shape),
        purpose=f"decoding the {name} images",
        remedy="make room, or name a folder on another disk with --cache",
    )
    images = np.lib.format.open_memmap(
        folder / IMAGES, mode="w+", dtype=np.uint8, shape=shape
    )
    take_room(folder / IMAGES, (folder / IMAGES).stat().st_size)
    sha256s, broken, unread = [], {}, []
    with progress_bar(f"decoding {name}", total=len(part)) as advance:
        each = _decoded(part, preprocessing, max_megapixels)
        for position, decoded in enumerate(each):
            sha256s.append(decoded.sha256)
            if decoded.image is None:
                broken[str(position)] = decoded.failure
                unread += [] if decoded.sha256 else [position]
            else:
                images[position] = decoded.image
            if position % 64 == 63:
                advance(64)
    images.flush()
    digest = dataset_digest(part.names, part.class_ids, sha256s)
    checksums = file_checksums(folder / IMAGES)
    index = {"digest": digest, "broken": broken, "images_crc32": checksums}
    if unread:
        index["unread"] = unread
    (folder / INDEX).write_text(json.dumps({**index, "crc32": _checksum(index)}))


def _shape(part: Part, preprocessing: Preprocessing) -> tuple[int, ...]:
    return (len(part), preprocessing.height, preprocessing.width, 3)


def _checksum(index: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(index, sort_keys=True).encode())


def _decoded(
    part: Part, preprocessing: Preprocessing, max_megapixels: float
) -> Iterator[_Decoded]:
    """In order, decoded by a few threads, some hundred images ahead at most."""

    def decode(file: Path) -> _Decoded:
        try:
            data = read_image(file)
        except UnreadableImage as error:
            return _Decoded("", None, str(error))
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            image = preprocessing.image(data, max_megapixels=max_megapixels)
            return _Decoded(sha256, image, "")
        except (UndecodableImage, ImageTooLarge) as error:
            return _Decoded(sha256, None, str(error))

    files = iter(part.files)
    with ThreadPoolExecutor(usable_cores(), "decode") as pool:
        while chunk := list(islice(files, 512)):
            yield from pool.map(decode, chunk)


def _broken_message(part: Part, broken: dict[str, str]) -> str:
    first = [f"{part.files[int(p)]} ({why})" for p, why in list(broken.items())[:3]]
    more = f" and {len(broken) - 3:,} more" if len(broken) > 3 else ""
    return (
        f"{len(broken):,} of {len(part):,} images do not decode: "
        f"{'; '.join(first)}{more}; replace them, or leave them out with --skip-broken"
    )
