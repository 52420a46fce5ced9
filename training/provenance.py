"""Where a run came from: command, commit, versions of the libraries."""

import getpass
import platform
import shlex
import subprocess
from collections.abc import Sequence
from importlib.metadata import version

LIBRARIES = ("torch", "torchvision", "onnx", "onnxscript", "mlflow", "numpy", "pillow")


def run_tags(arguments: Sequence[str]) -> dict[str, str]:
    """Tags of the MLflow run; those that begin with `mlflow.` its page shows on top."""
    command = f"python -m training {shlex.join(arguments)}"
    tags = {
        "command": command,
        "mlflow.source.name": command,
        "mlflow.source.type": "LOCAL",
        "mlflow.user": getpass.getuser(),
    }
    commit = _git_commit()
    if commit is not None:
        tags["mlflow.source.git.commit"] = commit
    return tags


def library_versions() -> dict[str, str]:
    versions = {name: version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), **versions}


def _git_commit() -> str | None:
    """Of the working directory; None outside a repository."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
