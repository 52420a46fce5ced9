"""The fast form of a version: the fastest that answers the kept images as fp32 does."""

import hashlib
import json
import logging
import queue
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.bundle.files import KEPT_IMAGES, WEIGHTS, BrokenBundle, Bundle
from classifier.hardware import BackendKind, DeviceUnavailable, Form, processor
from classifier.inference.backends.base import Backend
from classifier.inference.backends.open import check_form, runtime_versions
from classifier.inference.predict import FailedCheck
from classifier.storage import build_once, default_cache, write_json
from classifier.store.location import StoreUnavailable
from classifier.store.versions import Version
from serving.config import PRECISIONS
from serving.inference.native import run_natively
from serving.inference.predictor import Predictor, Proof
from serving.versions.load_guard import LoadGuard, LoadLimit, LoadStopped, native_lock
from serving.versions.registry_watch import RegistryWatch

FORMAT = 1
"""To be increased when findings of before are to be made again."""

FINDING = "finding.json"

LEAST_GAIN = 1.1
"""A form replaces fp32 if it is at least so many times as fast: less may be noise."""

_FAILURES = (BrokenBundle, DeviceUnavailable, FailedCheck, LoadLimit)

logger = logging.getLogger(__name__)


class NotProved(RuntimeError):
    """No form of the version can be proved; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Speed and flips of a form on the kept images."""

    form: Form
    images_per_second: float
    flips: float
    """Share of the images whose first answer is not that of the first form."""

    failure: str | None = None

    def __str__(self) -> str:
        if self.failure is not None:
            return f"{self.form} failed, {self.failure}"
        speed = f"{self.images_per_second:,.0f} images/s"
        return f"{self.form} {speed} and {self.flips:.2%}"


@dataclass(frozen=True)
class Finding:
    """All forms of a version on this machine, the one that it is loaded in first."""

    images: int
    forms: tuple[Measured, ...]

    def best(self, max_flips: float) -> Measured:
        first, *others = self.forms
        able = [m for m in others if m.failure is None and m.flips <= max_flips]
        fastest = max(able, key=lambda m: m.images_per_second, default=first)
        is_faster = fastest.images_per_second >= LEAST_GAIN * first.images_per_second
        return fastest if is_faster else first

    def proof(self, max_flips: float) -> Proof:
        best = self.best(max_flips)
        return Proof(
            f"{best.form} is the fastest of these whose first answers to "
            f"{self.images:,} kept images differ from fp32's on at most "
            f"{max_flips:.2%}: {'; '.join(map(str, self.forms))}",
            best.flips,
        )

    @classmethod
    def read(cls, file: Path) -> "Finding":
        found = json.loads(file.read_text("utf-8"))
        return cls(
            found["images"],
            tuple(Measured(**{**m, "form": Form(**m["form"])}) for m in found["forms"]),
        )


@dataclass(frozen=True)
class _Job:
    """A version to be made faster; it may be unloaded meanwhile."""

    predictor: weakref.ref[Predictor]
    version: Version
    bundle: Bundle
    largest: int


class FastForms:
    """Finds the fast form of each version, one after the other, in the background.

    A form is asked in a process of its own, so that one that fails, hangs or takes all
    memory does no harm. What is found is kept in the user's cache.
    """

    def __init__(
        self,
        guard: LoadGuard,
        watch: RegistryWatch,
        *,
        first: Form,
        max_flips: float,
        wait_until_ready: Callable[[], object],
        open_warm: Callable[[Form, Bundle, int], Backend],
    ) -> None:
        """Versions are loaded in the form `first`. `open_warm` opens a bundle in
        another one, warm for batches of so many images."""
        self._guard = guard
        self._watch = watch
        self._first = first
        self._max_flips = max_flips
        self._wait_until_ready = wait_until_ready
        self._open_warm = open_warm
        self._jobs: queue.Queue[_Job] = queue.Queue()
        self._thread: threading.Thread | None = None

    def improve(self, predictor: Predictor, *, largest: int) -> None:
        """Looks for the fast form of a version, once the service is ready."""
        predictor.proof = Proof("fp32 answers until other forms are measured")
        self._jobs.put(
            _Job(weakref.ref(predictor), predictor.version, predictor.bundle, largest)
        )
        if self._thread is None:  # no thread of before a fork is alive after it
            self._thread = threading.Thread(
                target=self._run, name="fast-forms", daemon=True
            )
            self._thread.start()

    def _run(self) -> None:
        self._wait_until_ready()
        while True:
            job = self._jobs.get()
            try:
                self._improve(job)
            except LoadStopped:
                return
            except Exception:
                logger.exception("no fast form version=%s", job.version.name)

    def _improve(self, job: _Job) -> None:
        if job.predictor() is None:
            return
        backend = None
        try:
            files = self._files(job)
            finding = self._find(job, files)
            form = finding.best(self._max_flips).form
            if form != self._first and job.predictor() is not None:
                backend = self._open_warm(form, files[form], job.largest)
            proof = finding.proof(self._max_flips)
        except (NotProved, StoreUnavailable, *_FAILURES) as error:
            logger.warning("no fast form version=%s: %s", job.version.name, error)
            proof = Proof(f"fp32 is served, and no faster form: {_public(error)}")
        predictor = job.predictor()
        if predictor is not None:
            predictor.use(backend or predictor.backend, proof)
            logger.info(
                "form version=%s served_as=%s flips=%s reason=%s",
                job.version.name,
                predictor.form,
                proof.flips,
                proof.reason,
            )

    def _files(self, job: _Job) -> dict[Form, Bundle]:
        """The forms that this machine has of the version, and the files of each."""
        found = {self._first: job.bundle}
        int8 = self._int8_files(job)
        engines: tuple[BackendKind, ...] = ("onnx", "openvino")
        for backend in engines:
            for precision in PRECISIONS[backend]:
                files = int8 if precision == "int8" else job.bundle
                if precision != "auto" and files is not None:
                    form = Form(backend, precision)
                    if _is_here(form):
                        found.setdefault(form, files)
        return found

    def _int8_files(self, job: _Job) -> Bundle | None:
        """None if there are none, or if they are not those of this version."""
        form, own = job.version.int8, job.bundle
        if form is None:
            return None
        try:
            files = self._watch.bundle(form)
        except (BrokenBundle, StoreUnavailable, OSError) as error:
            logger.warning("no int8 form version=%s: %s", form.name, error)
            return None
        is_same = (
            files.labels == own.labels and files.preprocessing == own.preprocessing
        )
        return files if is_same else None

    def _find(self, job: _Job, files: Mapping[Form, Bundle]) -> Finding:
        """The finding in the cache, or a new one. Raises NotProved."""
        key = run_natively(_key, files, self._guard.threads, job.largest)
        try:
            folder = build_once(
                default_cache() / "forms" / key,
                lambda folder: write_json(
                    folder / FINDING, asdict(self._measure(job, files))
                ),
                is_whole=lambda folder: (folder / FINDING).is_file(),
                lock=native_lock,
            )
            return Finding.read(folder / FINDING)
        # No space on the disk, no home folder, or a damaged file.
        except (OSError, LookupError, ValueError, TypeError) as error:
            logger.warning("what was found is not kept reason=%s", error)
            return self._measure(job, files)

    def _measure(self, job: _Job, files: Mapping[Form, Bundle]) -> Finding:
        """Asks every form about the kept images. Raises NotProved."""
        kept = self._watch.kept_images(job.version)
        if kept is None:
            raise NotProved(
                f"its run has kept no images to prove one on, {KEPT_IMAGES}"
            )
        found = [(form, self._ask(form, job, files[form], kept)) for form in files]
        _, first = found[0]
        if isinstance(first, Exception):
            raise NotProved(f"fp32 itself failed: {_public(first)}")
        right = np.array(first["answers"])
        return Finding(
            len(right), tuple(_measured(form, asked, right) for form, asked in found)
        )

    def _ask(
        self, form: Form, job: _Job, files: Bundle, kept: Path
    ) -> Mapping[str, Any] | Exception:
        try:
            return self._guard.ask(files, form, kept, largest=job.largest)
        except LoadStopped:
            raise
        except (*_FAILURES, RuntimeError) as error:
            return error


def _measured(
    form: Form, asked: Mapping[str, Any] | Exception, right: NDArray[np.int64]
) -> Measured:
    if isinstance(asked, Exception):
        failure = _public(asked)
        return Measured(form=form, images_per_second=0, flips=1, failure=failure)
    return Measured(
        form=form,
        images_per_second=asked["images_per_second"],
        flips=float((np.array(asked["answers"]) != right).mean()),
    )


def _is_here(form: Form) -> bool:
    try:
        check_form(form)
    except DeviceUnavailable:
        return False
    return True


def _key(files: Mapping[Form, Bundle], threads: int, largest: int) -> str:
    """Equal where every form of the same files has the same answers and speed."""
    machine = [processor().get(name) for name in ("model name", "flags")]
    facts = [FORMAT, *runtime_versions(), *machine, threads, largest]
    digest = hashlib.sha256(json.dumps([*facts, *map(str, files)]).encode())
    for bundle in {bundle.folder: bundle for bundle in files.values()}.values():
        for file in (bundle.graph, bundle.folder / WEIGHTS):
            if file.is_file():  # an int8 form's weights are in its graph
                with file.open("rb") as opened:
                    digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def _public(error: Exception) -> str:
    """The reason without paths of this machine."""
    if isinstance(error, StoreUnavailable):
        return "the store cannot be read now; the service's log says why"
    return str(error)
