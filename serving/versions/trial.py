"""`python -m serving.versions.trial`: open and warm a version, with limited memory.

Run by serving.versions.load_guard, and killed by it when time is over. A call into
ONNX Runtime can neither be interrupted nor held to an amount of memory; a process can.
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
"""What ONNX Runtime says where there is no memory, or no room for a file."""

_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def main(job: Mapping[str, Any]) -> None:
    """Prints what came of it, as JSON."""
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
    os._exit(0)  # to take everything apart takes time


def _end_with(parent: int) -> None:
    """Killed where who started this ends, however it does."""
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    os.nice(5)
    # Where memory runs out, this goes before any process that answers.
    Path("/proc/self/oom_score_adj").write_text("1000")


def _limit(megabytes: int) -> None:
    """Limits the memory that is taken from now on, and each file that is written."""
    status = Path("/proc/self/status").read_text()
    taken = re.search(r"^VmData:\s+(\d+) kB", status, re.MULTILINE)
    assert taken is not None
    most = int(taken[1]) * 1024 + megabytes * MEGABYTE
    # Not RLIMIT_AS: files that are mapped, and what is reserved, are no memory.
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
