"""Where a run came from: command, process, commit, versions of the libraries."""

import contextlib
import getpass
import os
import platform
import shlex
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from training.launch import program

LIBRARIES = (
    "torch",
    "torchvision",
    "onnx",
    "onnxscript",
    "mlflow",
    "numpy",
    "pillow",
    "simplejpeg",
)


def run_tags(arguments: Sequence[str]) -> dict[str, str]:
    """Tags of the MLflow run; those that begin with `mlflow.` its page shows on top."""
    command = f"{program()} {shlex.join(arguments)}"
    tags = {
        "command": command,
        "mlflow.source.name": command,
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
    }
    commit = _git_commit()
    if commit is not None:
        tags["mlflow.source.git.commit"] = commit
    return tags


def library_versions() -> dict[str, str]:
    versions = {name: version(name) for name in LIBRARIES}
    versions["onnxruntime"] = _onnxruntime_version()
    return {"python": platform.python_version(), **versions}


def _onnxruntime_version() -> str:
    """It goes by one of two names, for CPUs alone or with CUDA."""
    for name in ("onnxruntime-gpu", "onnxruntime"):
        with contextlib.suppress(PackageNotFoundError):
            return version(name)
    raise PackageNotFoundError("onnxruntime")


def this_process() -> str:
    """This process's name in the world: machine since its boot, number, start."""
    return f"{_machine()} {os.getpid()} {_started_ticks(os.getpid())}"


def is_dead(process: str) -> bool:
    """Whether `this_process()` of another one runs no more; False if one cannot tell,
    as of another machine's."""
    machine, _, rest = process.partition(" ")
    number, _, started = rest.partition(" ")
    if machine != _machine() or not number.isdigit():
        return False
    return _started_ticks(int(number)) != started


def process_started_at() -> float:
    """time.time() when this process began, interpreter and imports included."""
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    ticks = int(_started_ticks(os.getpid()))
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")


def _machine() -> str:
    """A container's host name, and the kernel's boot: numbers are used again."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{platform.node()}/{boot.read_text().strip()}"


def _started_ticks(process: int) -> str:
    """Clock ticks after boot; empty where there is no such process. `man proc`."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    state, *fields = text.rpartition(")")[2].split()  # the name may hold anything
    return "" if state == "Z" else fields[18]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        return str(os.getuid())


def _git_commit() -> str | None:
    """Of the working directory; None outside a repository."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
