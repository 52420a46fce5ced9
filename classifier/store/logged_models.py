"""Experiments, and the logged models in which MLflow keeps the files of versions."""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from platform import python_version
from typing import Any

from mlflow.entities import ViewType
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import Array, ColSpec, DataType, Object, Property, Schema

from classifier.bundle.files import GRAPH, Bundle, digests_text
from classifier.storage import files_sha256
from classifier.store.artifacts import DIGESTS_TAG
from classifier.store.calls import sent_once, store_call
from classifier.store.location import (
    StoreUnavailable,
    is_remote,
    local_folder,
    store_folder,
)
from classifier.store.registry import Registry, all_pages

LOADER = "classifier.inference.pyfunc"
"""The module by which `mlflow.pyfunc` loads a version."""

TAKES = (
    "Images of any size: a path, the bytes of a file, an open file, its text in "
    "base64, a PIL image or an array [H, W, 3] of uint8; one, a list, or a column "
    "`image` of a frame. They give a row each. Pixels uint8 [N, {height}, {width}, 3], "
    'of this version\'s size, give {{"logits": [N, {classes}]}}.'
)
"""What MLmodel says of the input. A schema of MLflow would refuse most of it."""


def write_mlmodel(bundle: Bundle, *, run_id: str, model_id: str) -> None:
    """Add the files MLmodel and requirements.txt.

    The flavour onnx is read by MLflow's own loader, without code of this project; for
    `mlflow.pyfunc` flipside must be installed. If it is not, MLflow says so, as it
    compares requirements.txt with what is installed.
    """
    model = Model(
        run_id=run_id,
        model_id=model_id,
        signature=ModelSignature(outputs=Schema(_columns())),
        metadata={
            "takes": TAKES.format(
                height=bundle.preprocessing.height,
                width=bundle.preprocessing.width,
                classes=len(bundle.labels),
            ),
            "needs": f"the package flipside {version('flipside')}",
        },
    )
    # MLflow warns on every machine without CUDA if the list has CUDA's provider.
    model.add_flavor(
        "onnx",
        onnx_version=version("onnx"),
        data=GRAPH,
        providers=["CPUExecutionProvider"],
    )
    model.add_flavor(
        "python_function", loader_module=LOADER, python_version=python_version()
    )
    model.save(str(bundle.folder / "MLmodel"))
    requirement = f"flipside=={version('flipside')}\n"
    (bundle.folder / "requirements.txt").write_text(requirement)


def _columns() -> list[ColSpec]:
    """Columns of the frame that images give: the best answer, and the five best."""
    answer: dict[str, DataType] = {
        "index": DataType.long,
        "id": DataType.string,
        "name": DataType.string,
        "probability": DataType.double,
    }
    top = Array(Object([Property(name, kind) for name, kind in answer.items()]))
    return [
        *(ColSpec(kind, name) for name, kind in answer.items()),
        ColSpec(top, "top"),
    ]


class LoggedModels:
    """The logged models of one run."""

    def __init__(self, registry: Registry, *, experiment_id: str, run_id: str) -> None:
        self._client = registry.client
        self._experiment_id = experiment_id
        self._run_id = run_id

    @store_call("find a version's files")
    def find(self, name: str) -> str | None:
        """The id of the complete model of that name, or None.

        Deletes the incomplete ones, which interrupted attempts left.
        """
        found = None
        for model in self._client.search_logged_models(
            [self._experiment_id],
            filter_string=f"source_run_id = '{self._run_id}' AND name = '{name}'",
        ):
            if str(model.status) == "READY" and found is None:
                found = str(model.model_id)
            else:
                self._client.delete_logged_model(model.model_id)
                _remove_local(model)
        return found

    @store_call("store a version's files")
    def add(self, bundle: Bundle, *, name: str, tags: Mapping[str, str]) -> str:
        """Store a version's files as a logged model of this run; return its id.

        The digests of the files are a tag of the logged model, so that one look at the
        store answers for the whole version. Nothing refers to the model until it is
        registered, so no program loads what a failure left.
        """
        with sent_once():
            model = self._client.create_logged_model(
                self._experiment_id,
                name=name,
                source_run_id=self._run_id,
                tags=dict(tags),
            )
        try:
            write_mlmodel(bundle, run_id=self._run_id, model_id=model.model_id)
            digests = digests_text(files_sha256(bundle.folder))
            self._client.log_model_artifacts(model.model_id, str(bundle.folder))
            self._client.set_logged_model_tags(model.model_id, {DIGESTS_TAG: digests})
        except BaseException:
            self._client.finalize_logged_model(model.model_id, "FAILED")
            raise
        self._client.finalize_logged_model(model.model_id, "READY")
        return str(model.model_id)

    @store_call("read a version's tags")
    def tags_of(self, model_id: str) -> Mapping[str, str]:
        tags: Mapping[str, str] = self._client.get_logged_model(model_id).tags
        return tags


def open_experiment(registry: Registry, name: str, *, advice: str) -> str:
    """The experiment's id; made, if new, with artifacts where `mlflow ui` finds them.

    MLflow's default place would depend on its creator: an experiment made in MLflow's
    UI gets `mlflow-artifacts:`, to which only a client of the server can write.
    Raises StoreUnavailable; its message ends with `advice`, another way for the user.
    """
    with store_call(f"open experiment {name!r}"):
        found = registry.client.get_experiment_by_name(name)
        if found is None:
            folder = store_folder(registry.uri) / "mlruns" / name
            location = None if is_remote(registry.uri) else str(folder)
            return str(registry.client.create_experiment(name, location))
    if found.lifecycle_stage != "active":
        raise StoreUnavailable(
            f"experiment {name!r} was deleted in MLflow; restore it with `mlflow "
            f"experiments restore --experiment-id {found.experiment_id}`, or {advice}"
        )
    at_server = str(found.artifact_location).startswith("mlflow-artifacts:")
    if at_server and not is_remote(registry.uri):
        raise StoreUnavailable(
            f"experiment {name!r} keeps its artifacts on a server "
            f"({found.artifact_location}), and {registry.uri} is not one; set "
            f"MLFLOW_TRACKING_URI to the server's address, or {advice}"
        )
    return str(found.experiment_id)


@store_call("find a version's experiment")
def experiment_of(registry: Registry, model_id: str) -> str:
    """The name of the experiment that a logged model belongs to."""
    model = registry.client.get_logged_model(model_id)
    return str(registry.client.get_experiment(model.experiment_id).name)


def sizes_on_disk(registry: Registry) -> dict[str, int]:
    """Bytes of the files of each logged model in a local folder, by its id.

    MLflow keeps them in models/<id>/artifacts of the experiment's folder. To list the
    folders takes 0.1 s for 1,000 logged models, to ask MLflow for each 3 s.
    """
    with store_call("list the experiments"):
        search = registry.client.search_experiments
        experiments = list(all_pages(search, view_type=ViewType.ALL))
    folders = set((store_folder(registry.uri) / "mlruns").glob("*/models"))
    for experiment in experiments:
        with suppress(ValueError):
            folder = local_folder(str(experiment.artifact_location))
            if folder is not None:
                folders.add(folder / "models")
    sizes: dict[str, int] = {}
    for folder in folders:
        with suppress(OSError), os.scandir(folder) as entries:
            sizes |= {entry.name: _size(entry.path) for entry in entries}
    return sizes


def _size(model_folder: str) -> int:
    """Bytes of the files in `artifacts`; a version has no folders below it."""
    with (
        suppress(OSError),
        os.scandir(os.path.join(model_folder, "artifacts")) as files,
    ):
        return sum(file.stat().st_size for file in files if file.is_file())
    return 0


def _remove_local(model: Any) -> None:
    """Delete the files of an mlflow.entities.LoggedModel if they are in a local folder.

    MLflow's folder is <its id>/artifacts.
    """
    files = local_folder(str(model.artifact_location))
    if files is not None:
        folder = files.parent if files.parent.name == model.model_id else files
        shutil.rmtree(folder, ignore_errors=True)
