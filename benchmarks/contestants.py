"""Servers to measure: this project's, and peers with their installation.

Each peer is started as its manual recommends; the files it needs are in peers/.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx.parser
import onnxruntime

from benchmarks.load import Encoding, base64_json, multipart, raw
from benchmarks.servers import BUSY, Launch, ServerFailed, free_port
from benchmarks.training_programs import ROOT
from classifier.bundle.files import Bundle, read_bundle
from classifier.hardware import usable_cores

ENVIRONMENTS = ROOT / "build" / "peers"
NULL = "null network, one process"
WORKERS = 2


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
    contest: Contest,
    *versions: str,
    flags: Mapping[str, str],
    name: str = "flipside",
    proves: bool = False,
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
        best=_best_of_ours,
        environment={"MLFLOW_TRACKING_URI": contest.store},
        takes_many=not proves,
        proves=proves,
    )


def null_network(contest: Contest, *, flags: Mapping[str, str]) -> Launch:
    """This project's server in one process, with a network that looks at no pixel."""
    file = contest.work / "null.onnx"
    store = f"sqlite:///{contest.work / 'null.db'}"
    if not file.is_file():
        _write_null_network(file, read_bundle(contest.bundle))
        labels = str(contest.bundle / "labels.json")
        _run(
            *(sys.executable, "-m", "training", "--import", str(file)),
            *("--labels", labels, "--model", "null"),
            environment={"MLFLOW_TRACKING_URI": store},
        )
    null = replace(contest, store=store, model="null")
    launch = flipside(null, "v1", flags={"workers": "1", **flags}, name=NULL)
    return replace(launch, same_classes=0, connections=(BUSY,), takes_many=False)


def app_of_file(given: Path, contest: Contest) -> Launch:
    """An app of a file in gunicorn's gevent worker; it serves $BUNDLE as ours does."""
    port, file = free_port(), given.absolute()
    return Launch(
        name=file.name,
        command=(
            *(sys.executable, "-m", "gunicorn", "-k", "gevent", "-w", "1"),
            *("-b", f"127.0.0.1:{port}", "--chdir", str(file.parent)),
            f"{file.stem}:create_app()",
        ),
        port=port,
        path="/predict",
        encode=raw,
        best=_best_of_ours,
        environment={"BUNDLE": str(contest.bundle)},
    )


def _write_null_network(file: Path, bundle: Bundle) -> None:
    """A graph that gives the same logits for every image, as many as it has classes."""
    size, classes = bundle.preprocessing, len(bundle.labels)
    logits = ", ".join(str(index / classes) for index in range(classes))
    graph = f"""<ir_version: 10, opset_import: ["" : 18]>
        null (uint8[N, {size.height}, {size.width}, 3] images)
            => (float[N, {classes}] logits)
        <float[1, {classes}] constant = {{{logits}}}, int64[1] classes = {{{classes}}}>
        {{
            count = Shape<start = 0, end = 1>(images)
            shape = Concat<axis = 0>(count, classes)
            logits = Expand(constant, shape)
        }}"""
    onnx.save(onnx.parser.parse_model(graph), file)


def _best_of_ours(answer: Any) -> int:
    return int(answer["results"][0]["top"][0]["index"])


def _program(
    title: str,
    package: str,
    module: str,
    *,
    requirements: Sequence[str] = (),
    path: str = "/predict",
    encode: Encoding = raw,
    best: Callable[[Any], int] = lambda answer: int(answer["top"][0]["index"]),
) -> Callable[[Contest], Launch]:
    """A peer that is a program of benchmarks/peers in an environment of its own."""

    def launch(contest: Contest) -> Launch:
        python = _environment(package, *requirements)
        port = free_port()
        return Launch(
            name=f"{title} {_version(python, package)}",
            command=(str(python), "-m", f"benchmarks.peers.{module}"),
            port=port,
            path=path,
            encode=encode,
            best=best,
            environment={**_settings(contest), "PEER_PORT": str(port)},
        )

    return launch


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


def _open_inference(data: str) -> object:
    column = {"name": "images", "datatype": "BYTES", "shape": [1, 1], "data": [data]}
    return {"inputs": [{**column, "parameters": {"content_type": "base64"}}]}


PEERS: Mapping[str, Callable[[Contest], Launch]] = {
    "mosec": _program("mosec", "mosec", "mosec_server", path="/inference"),
    "litserve": _program(
        "LitServe",
        "litserve",
        "litserve_server",
        encode=base64_json(lambda data: {"image_data": data}),
    ),
    "ray": _program("Ray Serve", "ray", "ray_app", requirements=["ray[serve]"]),
    "mlserver": _program(
        "MLServer",
        "mlserver",
        "mlserver_runtime",
        requirements=["uvloop<0.22"],  # MLServer 1.7 asks for a loop that is not there
        path="/v2/models/classifier/infer",
        encode=base64_json(_open_inference),
        best=lambda answer: int(answer["outputs"][0]["data"][0]),
    ),
    "flask": _flask,
}
"""Peers by name. Raises ServerFailed if one cannot be installed."""


def _settings(contest: Contest) -> dict[str, str]:
    return {
        "PEER_BUNDLE": str(contest.bundle),
        "PEER_WORKERS": str(WORKERS),
        "PEER_THREADS": str(max(1, usable_cores() // WORKERS)),
    }


def _environment(package: str, *requirements: str) -> Path:
    """The Python of a virtual environment with the package, which is kept."""
    folder = ENVIRONMENTS / package
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.is_file():
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        # Of the same release as ours, whose package may be onnxruntime-gpu.
        runtime = f"onnxruntime=={onnxruntime.__version__}"
        wanted = (package, *requirements, "numpy", "pillow", runtime)
        _run(str(python), "-m", "pip", "install", "--quiet", *wanted)
        done.touch()
    return python


def _version(python: Path, package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return _run(str(python), "-c", code).strip()


def _run(*command: str, environment: Mapping[str, str] | None = None) -> str:
    """The output of a command. Raises ServerFailed with the output's end."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        words = done.stderr.strip().splitlines()[-1:]
        raise ServerFailed(f"`{' '.join(command)}` failed: {' '.join(words)}")
    return done.stdout
