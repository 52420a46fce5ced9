"""`python -m serving.versions.trial`: load, warm and ask a version with limited memory.

serving.versions.load_guard runs it, and kills it when its time is over: a call into
ONNX Runtime can neither be interrupted nor limited in memory, but a process can.
"""

import ctypes
import errno
import json
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from classifier.bundle.files import BrokenBundle, read_bundle
from classifier.hardware import DeviceUnavailable
from classifier.inference.backends.base import Backend
from classifier.inference.backends.open import open_backend
from classifier.inference.predict import FailedCheck, warm_up

MEGABYTE = 2**20

MEASURED_SECONDS = 0.3
"""Least processor time in which a form's speed is measured."""

_OUT_OF_MEMORY = re.compile(
    "bad_alloc|allocate|length_error|File too large|vector::|out of memory", re.I
)
"""ONNX Runtime's messages when memory or space for a file runs out."""

_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def main(job: Mapping[str, Any]) -> None:
    """Runs the trial and prints its result as JSON."""
    _end_with(job["parent"], niceness=job["niceness"])
    bundle = read_bundle(Path(job["folder"]))
    _limit(int(job["megabytes"]))
    try:
        backend = open_backend(
            job["backend"],
            bundle,
            device="cpu",
            precision=job["precision"],
            threads=job["threads"],
        )
        warm_up(bundle, backend, largest=job["largest"])
        found = _ask(backend, job) if job["images"] is not None else {}
    except (BrokenBundle, DeviceUnavailable, FailedCheck, MemoryError) as error:
        result = {
            "failed": type(error).__name__,
            "message": str(error),
            "took_too_much": _took_too_much(error),
        }
    else:
        result = {"failed": None, **found}
    print(json.dumps(result), flush=True)
    os._exit(0)  # a normal exit takes longer


def _ask(backend: Backend, job: Mapping[str, Any]) -> dict[str, Any]:
    """First answers to the kept images, and images a second with a batch on each core.

    That is by processor time, as this process waits while the service answers others.
    Raises FailedCheck if the network cannot answer.
    """
    images = np.load(job["images"], mmap_mode="r", allow_pickle=False)
    network = backend.logits_on_one_core or backend.logits

    def first_answers(start: int) -> list[int]:
        batch = np.ascontiguousarray(images[start : start + job["largest"]])
        logits = network(batch)
        if not np.isfinite(logits).all():
            raise FailedCheck("it gave kept images logits that are not finite")
        answers: list[int] = logits.argmax(axis=1).tolist()
        return answers

    starts = range(0, len(images), job["largest"])
    rounds, began = 0, time.process_time()
    with ThreadPoolExecutor(job["threads"]) as pool:
        while rounds == 0 or time.process_time() - began < MEASURED_SECONDS:
            answers = [a for batch in pool.map(first_answers, starts) for a in batch]
            rounds += 1
    seconds = (time.process_time() - began) / rounds
    return {
        "answers": answers,
        "images_per_second": job["threads"] * len(images) / seconds,
    }


def _end_with(parent: int, *, niceness: int) -> None:
    """Makes the kernel kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    os.nice(niceness)
    # If memory runs out, the kernel ends this process before the service's.
    Path("/proc/self/oom_score_adj").write_text("1000")


def _limit(megabytes: int) -> None:
    """Limits the memory allocated from now on, and the size of each written file."""
    status = Path("/proc/self/status").read_text()
    taken = re.search(r"^VmData:\s+(\d+) kB", status, re.MULTILINE)
    assert taken is not None
    most = int(taken[1]) * 1024 + megabytes * MEGABYTE
    # Not RLIMIT_AS: it also counts mapped files and reserved addresses.
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (megabytes * MEGABYTE, megabytes * MEGABYTE)
    )


def _took_too_much(error: BaseException | None) -> bool:
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        if isinstance(error, MemoryError) or number in (errno.ENOMEM, errno.EFBIG):
            return True
        if _OUT_OF_MEMORY.search(str(error)):
            return True
        error = error.__cause__
    return False


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
