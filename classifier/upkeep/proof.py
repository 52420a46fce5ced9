"""Proof that a version is whole: its files, its weights, its graph and its run."""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.bundle.files import (
    GRAPH,
    KEPT_IMAGES,
    BrokenBundle,
    Bundle,
    read_bundle,
    weights_header,
)
from classifier.bundle.network import NetworkNotAllowed, UnknownNetwork
from classifier.hardware import usable_cores
from classifier.inference.backends.base import Backend
from classifier.inference.backends.onnx_runtime import OnnxBackend
from classifier.inference.backends.open import open_backend
from classifier.metrics import likeness
from classifier.storage import file_sha256
from classifier.store.cache.entries import NOT_PUBLISHED
from classifier.store.location import FilesAbsent
from classifier.store.provenance import find_run
from classifier.store.registry import Registry
from classifier.store.versions import Version

EQUAL = "graph equals weights"
"""Beginning of the note on a graph that was compared with its network."""

PROOF_IMAGES = 8
"""Images on which graph and weights are run."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found of a version."""

    version: Version
    faults: tuple[str, ...] = ()
    """Why it is not whole; none if it is."""

    notes: tuple[str, ...] = ()
    """What was proved, and what could not be."""

    files: int = 0
    size: int = 0
    """Bytes of all files."""


@dataclass
class _Files:
    """The files of a version, read and hashed, before its graph is proved."""

    bundle: Bundle | None = None
    digests: dict[str, str] = field(default_factory=dict)
    """sha256 of the files as they are, by path."""

    has_records: bool = False
    faults: list[str] = field(default_factory=list)
    size: int = 0


class _Kind(NamedTuple):
    """Versions of one kind differ in the values of their weights alone."""

    graph: str
    header: str
    network: str
    preprocessing: str


def prove_versions(
    registry: Registry, versions: Sequence[Version]
) -> Iterator[Finding]:
    """A finding for each version, in their order.

    Files are hashed side by side, ahead of the graphs, which are proved one after the
    other. A graph reads its weights from their file, so that one proof holds for every
    version of the same graph whose files have their recorded digests; without digests
    the graph is run with the version's own weights. Raises StoreUnavailable if the
    store does not answer.
    """
    # The backends log why a graph cannot be run, with a traceback; the finding says it.
    quiet = logging.getLogger("classifier.inference")
    level = quiet.level
    quiet.setLevel(logging.CRITICAL)
    proofs = _Proofs(registry)
    pool = ThreadPoolExecutor(usable_cores(), "verify")
    try:
        read = pool.map(lambda version: _read(registry, version), versions)
        for version, files in zip(versions, read, strict=True):
            yield proofs.finding(version, files)
    finally:
        pool.shutdown(cancel_futures=True)
        quiet.setLevel(level)


def _read(registry: Registry, version: Version) -> _Files:
    """Hash and read the files. A missing or damaged one is a fault."""
    files = _Files()
    try:
        folder = registry.fetch(version)
    except (FilesAbsent, BrokenBundle) as error:
        files.faults.append(str(error))
        return files
    assert version.model_id is not None  # fetch() needs it
    recorded = registry.digests_of(version.model_id)
    files.has_records = bool(recorded)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.name in NOT_PUBLISHED:
            continue
        name = path.relative_to(folder).as_posix()
        files.digests[name] = file_sha256(path)
        files.size += path.stat().st_size
    files.faults += [
        f"{name} is not what was published: its sha256 is {found[:12]}…, "
        f"{recorded[name][:12]}… was recorded"
        for name, found in files.digests.items()
        if name in recorded and found != recorded[name]
    ]
    files.faults += [
        f"{name} is missing" for name in recorded if name not in files.digests
    ]
    if not files.faults:
        try:
            files.bundle = read_bundle(folder)
        except BrokenBundle as error:
            files.faults.append(str(error))
    return files


class _Proofs:
    """Proofs of graphs and looks at runs, each made once."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._faults_of_run: dict[str | None, list[str]] = {}
        self._proved: dict[_Kind, str] = {}
        """Kind of a proved graph -> the name of the version it was proved with."""

    def finding(self, version: Version, files: _Files) -> Finding:
        finding = Finding(
            version=version,
            faults=(*files.faults, *self._look_at_run(version)),
            notes=() if files.has_records or not files.digests else ("no digests",),
            files=len(files.digests),
            size=files.size,
        )
        if files.bundle is None:
            return finding
        kind = _kind(files.bundle, files.digests)
        proved_with = self._proved.get(kind)
        if files.has_records and proved_with:
            note = f"graph proved with {proved_with}"
            return replace(finding, notes=(*finding.notes, note))
        try:
            note = self._prove(version, files.bundle, proved_with)
        except BrokenBundle as error:
            return replace(finding, faults=(*finding.faults, str(error)))
        if note.startswith(EQUAL):
            self._proved.setdefault(kind, f"v{version.number}")
        return replace(finding, notes=(*finding.notes, note))

    def _look_at_run(self, version: Version) -> list[str]:
        """Faults of the run that made the version; none if it is there."""
        run_id = version.run_id
        if run_id not in self._faults_of_run:
            run = find_run(self._registry, run_id)
            faults = []
            if run is None:
                faults.append(f"its run {run_id} is not in the store")
            elif run.info.lifecycle_stage != "active":
                faults.append(
                    f"its run {run_id} was deleted; mlflow runs restore --run-id "
                    f"{run_id} brings it back"
                )
            self._faults_of_run[run_id] = faults
        return self._faults_of_run[run_id]

    def _prove(self, version: Version, bundle: Bundle, proved_with: str | None) -> str:
        """Run the graph, and the network where there is one; what it showed.

        The network is left out where the graph is `proved_with` other weights. Raises
        BrokenBundle if they differ, or if the graph cannot be run.
        """
        images, of_what = self._images(version, bundle)
        graph = OnnxBackend.for_one_batch_at_a_time(bundle)
        found = _logits(graph, images, bundle)
        shown = f"graph runs on {len(images)} {of_what} images"
        if proved_with:
            return f"{shown}, proved with {proved_with}"
        if bundle.network.precision == "int8":
            return shown
        try:
            network = open_backend(
                "torch", bundle, device="cpu", threads=usable_cores()
            )
        except (UnknownNetwork, NetworkNotAllowed) as error:
            return f"{shown}, not compared with the weights: {error}"
        except ModuleNotFoundError as error:
            return f"{shown}, not compared with the weights: {error.name} is missing"
        alike = likeness(found, network.logits(images))
        if not alike.is_alike:
            raise BrokenBundle(
                f"{GRAPH} differs from the network with the same weights by "
                f"{alike.difference:.3g} in a logit, where {alike.allowed:.3g} is "
                f"allowed, on {len(images)} {of_what} images"
            )
        return (
            f"{EQUAL} within {alike.difference:.1e} on {len(images)} {of_what} images"
        )

    def _images(
        self, version: Version, bundle: Bundle
    ) -> tuple[NDArray[np.uint8], str]:
        """Images that the version's run kept, else fixed noise."""
        size = (bundle.preprocessing.height, bundle.preprocessing.width, 3)
        run_id = (version.base or version).run_id
        file = run_id and self._registry.file_of_run(run_id, KEPT_IMAGES)
        kept = _first_images(file, size) if file else None
        if kept is not None:
            return kept, "kept"
        noise = np.random.default_rng(0).integers(0, 256, (PROOF_IMAGES, *size))
        return noise.astype(np.uint8), "random"


def _first_images(file: Path, size: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """The first images of a run's sample; None if the file has no such images."""
    try:
        kept = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if kept.dtype != np.uint8 or kept.shape[1:] != size or len(kept) == 0:
        return None
    return np.array(kept[:PROOF_IMAGES])


def _logits(
    backend: Backend, images: NDArray[np.uint8], bundle: Bundle
) -> NDArray[np.float32]:
    """Raises BrokenBundle if the network fails, or gives other than finite logits."""
    try:
        logits = backend.logits(images)
    except Exception as error:  # ONNX Runtime's errors share no class of their own
        raise BrokenBundle(f"{GRAPH} cannot be run: {type(error).__name__}") from error
    if logits.shape != (len(images), len(bundle.labels)):
        raise BrokenBundle(f"{GRAPH} gives logits {logits.shape}")
    if not np.isfinite(logits).all():
        raise BrokenBundle(f"{GRAPH} gives logits that are not finite")
    return logits


def _kind(bundle: Bundle, digests: dict[str, str]) -> _Kind:
    is_int8 = bundle.network.precision == "int8"
    header = b"" if is_int8 else weights_header(bundle.weights).text
    return _Kind(
        graph=digests[GRAPH],
        header=hashlib.sha256(header).hexdigest(),
        network=json.dumps(bundle.network.to_json(), sort_keys=True),
        preprocessing=json.dumps(bundle.preprocessing.to_json(), sort_keys=True),
    )
