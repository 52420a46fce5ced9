"""A service of our own, for the time of a comparison.

It is ready after 2.5 s. The imports of this program take about as long, so that both
run side by side: a comparison is 1.9 s shorter for it on 2 busy cores.
"""

import contextlib
import ctypes
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from classifier.store.versions import INT8, canonical_name, split_name
from compare.collect.schema import is_file_name

DEFAULT_ADDRESS = ("127.0.0.1", 8000)
"""Where a service is looked for when none is named."""

BATCH_SIZE = 64
"""Images in a request, and in a batch of our own service: 5 % more answers a second
than with 32 (ResNet-18, 64 x 64), and no more with 128."""

START_SECONDS = 60.0
STOP_SECONDS = 15.0

KEPT_SETTINGS = ("SERVING_DEVICE",)
"""SERVING_* variables that our own service inherits. The others, such as keys, are
meant for a service that other people use."""


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OwnService:
    """A service that is starting or running; own_service() waits for its end."""

    _process: subprocess.Popen[str]
    _output: IO[str]
    _log: IO[str]

    def wait_for_url(self) -> str:
        """Wait for the start, once. Raises ServiceUnavailable with the reason."""
        return _first_line(self._output, self._log)

    def has_started(self) -> bool:
        """Whether wait_for_url() returns or raises at once."""
        return bool(select.select([self._output], [], [], 0)[0])

    def close(self) -> None:
        """Ask the process to stop, without a wait."""
        self._process.terminate()


@contextlib.contextmanager
def own_service(
    *, model: str | None, versions: Sequence[str], max_megapixels: float
) -> Iterator[OwnService]:
    """Serve `versions` of `model`; None is the only model of the registry.

    The service is stopped at the end, and by the kernel if this process is killed.
    """
    command = [sys.executable, "-m", "serving", "--port", "0"]
    command += [] if model is None else ["--model", model]
    # No other client uses it, so that nothing has to be drained.
    command += ["--versions", ",".join(versions), "--drain-seconds", "0"]
    command += ["--max-batch-size", str(BATCH_SIZE)]
    command += ["--backend", "onnx", "--precision", "fp32"]
    command += ["--max-megapixels", f"{max_megapixels:g}"]
    logger.info("starting a service for this comparison")
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=_environment(os.environ),
            preexec_fn=_die_with_parent,
        ) as process,
    ):
        assert process.stdout is not None
        own = OwnService(process, process.stdout, log)
        try:
            yield own
        finally:
            own.close()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in variables.items()
        if not name.startswith("SERVING_") or name in KEPT_SETTINGS
    }


def _first_line(output: IO[str], log: IO[str]) -> str:
    ready, _, _ = select.select([output], [], [], START_SECONDS)
    line = output.readline() if ready else ""
    if line.startswith("serving on "):
        return line.removeprefix("serving on ").strip()
    log.seek(0)
    said = [text for text in log.read().splitlines() if text.startswith("error: ")]
    log.seek(0)
    last = "; ".join(log.read().splitlines()[-3:]) or "it printed nothing"
    reason = said[0].removeprefix("error: ") if said else last
    from compare.collect.client import ServiceUnavailable  # requests: 0.07 s

    raise ServiceUnavailable(f"the service did not start: {reason}")


def _die_with_parent() -> None:
    """Set Linux's PR_SET_PDEATHSIG, in the child before exec."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


LOOK_SECONDS = 1.0


@contextlib.contextmanager
def early_service(
    *,
    url: str | None,
    model: str | None,
    versions: Sequence[str],
    max_megapixels: float,
) -> Iterator[OwnService | None]:
    """Yield a service of our own that is being started, or None if that is premature.

    It is premature if a service is named or listens at the default address, if no
    version but only files are named, and if a version is named by an alias: the service
    would follow the alias while requests are for one number. Two models need two
    services, which are started later. A file that is absent ends the comparison.
    """
    files = [Path(name) for name in versions if is_file_name(name)]
    served = [split_name(name) for name in versions if not is_file_name(name)]
    names = list(dict.fromkeys(canonical_name(name) for _, name in served))
    models = {of_name or model for of_name, _ in served}
    is_premature = len(models) != 1 or not all(map(_is_number, names))
    is_useless = not all(file.is_file() for file in files)
    if url is not None or is_premature or is_useless or _is_taken():
        yield None
        return
    (only,) = models
    with own_service(model=only, versions=names, max_megapixels=max_megapixels) as own:
        yield own


def _is_number(name: str) -> bool:
    """`name` is canonical."""
    return name.removesuffix(INT8).isdecimal()


def _is_taken() -> bool:
    """Whether anything listens at the default address."""
    try:
        socket.create_connection(DEFAULT_ADDRESS, timeout=LOOK_SECONDS).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True
