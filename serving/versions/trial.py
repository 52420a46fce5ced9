"""`python -m serving.versions.trial`: load and warm a version with limited memory.

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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from classifier.bundle.files import BrokenBundle, read_bundle
from classifier.inference.backends.onnx_runtime import OnnxBackend
from classifier.inference.predict import FailedCheck, warm_up

MEGABYTE = 2**20

_OUT_OF_MEMORY = re.compile(
    "bad_alloc|allocate|length_error|File too large|vector::|out of memory", re.I
)
"""ONNX Runtime's messages when memory or space for a file runs out."""

_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def main(job: Mapping[str, Any]) -> None:
    """Runs the trial and prints its result as JSON."""
    _end_with(job["parent"])
    bundle = read_bundle(Path(job["folder"]))
    _limit(int(job["megabytes"]))
    try:
        backend = OnnxBackend(bundle, device="cpu", threads=job["threads"])
        warm_up(bundle, backend, largest=job["largest"])
    except (BrokenBundle, FailedCheck, MemoryError) as error:
        result = {
            "failed": type(error).__name__,
            "message": str(error),
            "took_too_much": _took_too_much(error),
        }
    else:
        result = {"failed": None}
    print(json.dumps(result), flush=True)
    os._exit(0)  # a normal exit takes longer


def _end_with(parent: int) -> None:
    """Makes the kernel kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    os.nice(5)
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
