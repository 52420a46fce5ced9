"""Where a run came from: command, commit, versions of the libraries."""

import contextlib
import getpass
import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

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
    command = f"python -m training {shlex.join(arguments)}"
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
