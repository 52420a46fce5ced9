"""Servers to measure: this project's, and peers with their installation.

Each peer is started as its manual recommends; the files it needs are in peers/.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import onnxruntime

from benchmarks.load import base64_json, multipart, raw
from benchmarks.servers import SAME_CLASSES, Launch, ServerFailed, free_port
from benchmarks.training_programs import ROOT
from classifier.hardware import usable_cores

ENVIRONMENTS = ROOT / "build" / "peers"
WORKERS = 2
ROUNDED = 0.75
"""Least share of images on which int8 and fp32 agree; chance is 1 in 200."""


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Settings that all servers share."""

    store: str
    model: str
    bundle: Path
    """Folder of the version that the peers serve."""

    work: Path
    """Folder for files that a peer makes."""


def flipside(
    contest: Contest, *versions: str, flags: Mapping[str, str], name: str = "flipside"
) -> Launch:
    """This project's server. It answers with the first of `versions`."""
    port = free_port()
    given = {
        "model": contest.model,
        "versions": ",".join(versions),
        "port": str(port),
        "drain-seconds": "0",
        **flags,
    }
    command = [sys.executable, "-m", "serving"]
    for flag, value in given.items():
        command += [f"--{flag}", value]
    return Launch(
        name=name,
        command=tuple(command),
        port=port,
        path=f"/predict?version={versions[0]}",
        encode=raw,
        best=lambda answer: int(answer["results"][0]["top"][0]["index"]),
        same_classes=ROUNDED if versions[0].endswith(".int8") else SAME_CLASSES,
        environment={"MLFLOW_TRACKING_URI": contest.store},
        says_ready=True,
    )


def _litserve(contest: Contest) -> Launch:
    python = _environment("litserve")
    port = free_port()
    return Launch(
        name=f"LitServe {_version(python, 'litserve')}",
        command=(str(python), "-m", "benchmarks.peers.litserve_server"),
        port=port,
        path="/predict",
        encode=base64_json(lambda data: {"image_data": data}),
        best=lambda answer: int(answer["top"][0]["index"]),
        environment={**_settings(contest), "PEER_PORT": str(port)},
    )


def _bentoml(contest: Contest) -> Launch:
    python = _environment("bentoml")
    port = free_port()
    service = "benchmarks.peers.bentoml_service:Classifier"
    return Launch(
        name=f"BentoML {_version(python, 'bentoml')}",
        command=(
            *(str(python.with_name("bentoml")), "serve", service),
            *("--host", "127.0.0.1", "--port", str(port)),
        ),
        port=port,
        path="/predict",
        encode=multipart("images"),
        best=lambda answer: int(answer[0][0]["index"]),
        environment={
            **_settings(contest),
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_HOME": str(contest.work / "bentoml"),
        },
    )


def _mlflow(contest: Contest) -> Launch:
    port = free_port()
    model = contest.work / "mlflow-model"
    module = "benchmarks.peers.mlflow_model"
    if not model.is_dir():
        _run([sys.executable, "-m", module, str(model)])
    return Launch(
        name=f"mlflow models serve {version('mlflow')}",
        command=(
            *(sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model)),
            *("--env-manager", "local", "--workers", str(WORKERS)),
            *("--host", "127.0.0.1", "--port", str(port)),
        ),
        port=port,
        path="/invocations",
        encode=base64_json(
            lambda data: {"dataframe_split": {"columns": ["image"], "data": [[data]]}}
        ),
        best=lambda answer: int(answer["predictions"][0][0]["index"]),
        environment={
            **_settings(contest),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PATH": _path(),  # it starts `uvicorn` by that name
        },
    )


def _flask(contest: Contest) -> Launch:
    port = free_port()
    return Launch(
        name=f"Flask {version('flask')} with torch {version('torch')}",
        command=(
            *(sys.executable, "-m", "gunicorn", "--workers", str(WORKERS)),
            *("--bind", f"127.0.0.1:{port}", "benchmarks.peers.flask_app:app"),
        ),
        port=port,
        path="/predict",
        encode=multipart("file"),
        best=lambda answer: int(answer["top"][0]["index"]),
        environment=_settings(contest),
    )


PEERS: Mapping[str, Callable[[Contest], Launch]] = {
    "litserve": _litserve,
    "bentoml": _bentoml,
    "mlflow": _mlflow,
    "flask": _flask,
}
"""Peers by name. Raises ServerFailed if one cannot be installed."""


def _settings(contest: Contest) -> dict[str, str]:
    return {
        "PEER_BUNDLE": str(contest.bundle),
        "PEER_WORKERS": str(WORKERS),
        "PEER_THREADS": str(max(1, usable_cores() // WORKERS)),
    }


def _path() -> str:
    return f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"


def _environment(package: str) -> Path:
    """The Python of a virtual environment with the package, which is kept."""
    folder = ENVIRONMENTS / package
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.is_file():
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        # Of the same release as ours, whose package may be onnxruntime-gpu.
        runtime = f"onnxruntime=={onnxruntime.__version__}"
        wanted = [package, "numpy", "pillow", runtime]
        _run([str(python), "-m", "pip", "install", "--quiet", *wanted])
        done.touch()
    return python


def _version(python: Path, package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return _run([str(python), "-c", code]).strip()


def _run(command: Sequence[str]) -> str:
    """The output of a command. Raises ServerFailed with the output's end."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        words = done.stderr.strip().splitlines()[-1:]
        raise ServerFailed(f"`{' '.join(command)}` failed: {' '.join(words)}")
    return done.stdout
