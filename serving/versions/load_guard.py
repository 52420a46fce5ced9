"""Limits of time and memory for loading a version.

A separate process (serving.versions.trial) loads the version first, and is killed when
its time is over; a graph that never ends or takes gigabytes does no harm there. A
version that passes is then loaded in this process.
"""

import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from classifier.bundle.files import BrokenBundle, Bundle
from classifier.hardware import ONNX_FP32, DeviceUnavailable, Form
from classifier.inference.predict import FailedCheck
from classifier.storage import build_once, default_cache
from serving.inference.native import run_natively
from serving.versions.trial_key import trial_key

logger = logging.getLogger(__name__)

MEGABYTE = 2**20

KNOWN_FAILURES = {
    kind.__name__: kind for kind in (BrokenBundle, DeviceUnavailable, FailedCheck)
}

ASKED_TIMES = 10
"""Times of --load-seconds that a trial with images may take beside a busy service."""

ERRORS_SHOWN = 2_000
"""Characters of a trial's last messages that are logged."""


def native_lock(descriptor: int, operation: int) -> None:
    """flock(2); the event loop goes on while another process holds the lock."""
    run_natively(fcntl.flock, descriptor, operation)


class LoadLimit(RuntimeError):
    """Loading the version takes more time or memory than allowed."""


class TooMuchMemory(LoadLimit):
    """Loading the version takes more memory than allowed."""


class LoadStopped(RuntimeError):
    """The service stops while the version is loading."""


T = TypeVar("T")

Job = Mapping[str, Any]
"""Input of serving.versions.trial."""


@dataclass(frozen=True, kw_only=True)
class LoadLimits:
    seconds: float
    """Limit for each of: reading the files, the trial, and the load after it."""

    megabytes: int

    def check_size(self, bundle: Bundle, *, largest: int) -> None:
        """Raises LoadLimit if the files or the images of a batch alone are too
        large."""
        files = [bundle.graph]
        if bundle.network.precision == "fp32":
            files.append(bundle.weights)
        sizes = sum(file.stat().st_size for file in files)
        self._check(sizes, f"{' and '.join(file.name for file in files)} have")
        height, width = bundle.preprocessing.height, bundle.preprocessing.width
        batch = largest * (height * width * 3 + len(bundle.labels) * 4)
        self._check(batch, f"a batch of {largest} images of {width} x {height} has")

    def _check(self, size: int, what: str) -> None:
        if size > self.megabytes * MEGABYTE:
            raise LoadLimit(
                f"{what} {size // MEGABYTE:,} MB, and a version may take "
                f"{self.megabytes:,} MB while it loads (--load-megabytes)"
            )

    @property
    def took_too_long(self) -> LoadLimit:
        return LoadLimit(
            f"it was not loaded and warm after {self.seconds:g} s, and a version may "
            f"take no longer (--load-seconds)"
        )

    @property
    def took_too_much(self) -> TooMuchMemory:
        return TooMuchMemory(
            f"it takes more memory than the {self.megabytes:,} MB that a version may "
            f"take while it loads (--load-megabytes)"
        )


class LoadGuard:
    """Runs trials and loads with limits; a version that passed is not tried again."""

    def __init__(self, limits: LoadLimits, *, threads: int) -> None:
        """`threads` is the number of cores for a network."""
        self._limits = limits
        self.threads = threads
        self._passed: set[str] = set()
        self._turns: dict[str, threading.Lock] = {}
        self._changed = threading.Lock()
        self._trials: set[subprocess.Popen[bytes]] = set()
        self._loads: set[Future[Any]] = set()
        self._is_stopped = False

    def largest_batch(
        self, bundle: Bundle, *, largest: int, form: Form = ONNX_FP32
    ) -> int:
        """Tries the version out, and returns how many images a batch of it may have.

        That is `largest`, or, where such a batch takes too much memory, a quarter of
        it, or 1: swin_t at 224 x 224 takes over 4 GB for 32 images. Raises as try_out.
        """
        for size in (largest, largest // 4):
            if size > 1:
                try:
                    self.try_out(bundle, largest=size, form=form)
                except TooMuchMemory:
                    logger.warning("a batch takes too much memory images=%d", size)
                else:
                    return size
        self.try_out(bundle, largest=1, form=form)
        return 1

    def try_out(self, bundle: Bundle, *, largest: int, form: Form = ONNX_FP32) -> None:
        """Runs the version in a trial, on one image and on `largest`.

        Raises LoadLimit, BrokenBundle, DeviceUnavailable or FailedCheck if the trial
        fails. All epochs of a run share a trial; the user's cache remembers that it
        passed.
        """
        limits = self._limits.seconds, self._limits.megabytes
        key = run_natively(trial_key, bundle, form, *limits, self.threads, largest)
        job = self._job(bundle, form, largest)

        def build(folder: Path) -> None:
            self._try(job)

        with self._changed:
            turn = self._turns.setdefault(key, threading.Lock())
        with turn:
            if key in self._passed:
                return
            try:  # once, even if several processes of the user need it
                folder = default_cache() / "trials" / key
                build_once(folder, build, lock=native_lock)
            # No space on the disk, or no home folder.
            except (OSError, KeyError) as error:
                logger.warning("a trial is not kept reason=%s", error)
                self._try(job)
            self._passed.add(key)

    def ask(
        self, bundle: Bundle, form: Form, images: Path, *, largest: int
    ) -> Mapping[str, Any]:
        """The `answers` to a file of images, and `images_per_second`, by a trial of low
        priority. Raises as try_out."""
        job = {
            **self._job(bundle, form, largest),
            "images": str(images.absolute()),
            "niceness": 10,
        }
        return self._try(job, seconds=ASKED_TIMES * self._limits.seconds)

    def _job(self, bundle: Bundle, form: Form, largest: int) -> Job:
        return {
            "parent": os.getpid(),
            "niceness": 5,
            "folder": str(bundle.folder.absolute()),
            "megabytes": self._limits.megabytes,
            "threads": self.threads,
            "largest": largest,
            "images": None,
            **asdict(form),
        }

    def within(
        self,
        load: Callable[[], T],
        *,
        late: Exception,
        drop: Callable[[T], object] = lambda loaded: None,
    ) -> T:
        """Runs `load`, which lets the event loop go on, in a thread and returns its
        result. If it takes too long, raises `late`, and calls `drop` with the result
        when it comes."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                loaded = load()
            except BaseException as error:
                with suppress(InvalidStateError):
                    future.set_exception(error)
                return
            try:
                future.set_result(loaded)
            except InvalidStateError:
                drop(loaded)

        with self._changed:
            self._check_stopped()
            self._loads.add(future)
        threading.Thread(target=run, name="load-within", daemon=True).start()
        try:
            return future.result(timeout=self._limits.seconds)
        except TimeoutError:
            _end(future, late)  # unless it is an error of `load`
            return future.result()
        finally:
            with self._changed:
                self._loads.discard(future)

    def stop(self) -> None:
        """Ends all loads under way with LoadStopped; later loads raise it too."""
        with self._changed:
            self._is_stopped = True
            for trial in self._trials:
                trial.kill()
            for future in self._loads:
                _end(future, _stopped())

    def _check_stopped(self) -> None:
        if self._is_stopped:
            raise _stopped()

    def _try(self, job: Job, *, seconds: float | None = None) -> dict[str, Any]:
        started = time.perf_counter()
        seconds = seconds or self._limits.seconds
        with _temporary_folder() as folder:
            errors = Path(os.devnull) if folder is None else folder / "errors"
            with errors.open("wb") as stderr:
                trial = self._start(job, folder, stderr)
            try:
                output, _ = trial.communicate(timeout=seconds)
            except subprocess.TimeoutExpired as error:
                raise self._limits.took_too_long from error
            finally:
                trial.kill()
                trial.communicate()
                with self._changed:
                    self._trials.discard(trial)
            said = errors.read_text("utf-8", errors="replace")[-ERRORS_SHOWN:]
        self._check_stopped()
        result = self._judge(trial.returncode, output, said)
        logger.info("tried a version seconds=%.2f", time.perf_counter() - started)
        return result

    def _start(
        self, job: Job, folder: Path | None, stderr: Any
    ) -> "subprocess.Popen[bytes]":
        # The same import path as this process, with its working directory.
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        environment = {**os.environ, "PYTHONPATH": path}
        if folder is not None:
            environment["TMPDIR"] = str(folder)
        with self._changed:
            self._check_stopped()
            trial = subprocess.Popen(
                [sys.executable, "-P", "-m", "serving.versions.trial", json.dumps(job)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
                start_new_session=True,  # Ctrl-C must not reach the trial
            )
            self._trials.add(trial)
        return trial

    def _judge(self, code: int, output: bytes, said: str) -> dict[str, Any]:
        try:
            result: dict[str, Any] = json.loads(output)
        except ValueError as error:
            logger.error("a trial ended code=%d said=%s", code, said)
            raise self._ended(code) from error
        if result["failed"] is None:
            return result
        logger.error("a trial failed reason=%s said=%s", result["message"], said)
        if result["took_too_much"]:
            raise self._limits.took_too_much
        raise KNOWN_FAILURES[result["failed"]](result["message"])

    def _ended(self, code: int) -> Exception:
        if code == -signal.SIGKILL:  # by the kernel, when memory ran out
            return self._limits.took_too_much
        if code < 0:
            return FailedCheck(
                f"the process that tried to load it was ended by "
                f"{signal.Signals(-code).name}"
            )
        return RuntimeError(f"the trial of a version ended with {code}")


@contextmanager
def _temporary_folder() -> Iterator[Path | None]:
    """A folder for a process that may be killed and leave files; None if none can be
    made."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="flipside-")
    except OSError:
        yield None
        return
    with folder as name:
        yield Path(name)


def _end(future: "Future[Any]", error: Exception) -> None:
    with suppress(InvalidStateError):
        future.set_exception(error)


def _stopped() -> LoadStopped:
    return LoadStopped("the service is being stopped; ask another")
