"""A run's logged models: where MLflow keeps the files of its versions."""

import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import Schema, TensorSpec

from classifier.bundle.files import GRAPH, Bundle
from classifier.store.registry import Registry, sent_once, store_call


def write_mlmodel(bundle: Bundle, *, run_id: str, model_id: str) -> None:
    """Adds the file MLmodel: MLflow's onnx flavor, read by its own loader.

    No pickle, and no code of ours is run by who loads it.
    """
    size = (bundle.preprocessing.height, bundle.preprocessing.width)
    images = TensorSpec(np.dtype(np.uint8), (-1, *size, 3), "images")
    logits = TensorSpec(np.dtype(np.float32), (-1, len(bundle.labels)), "logits")
    model = Model(
        run_id=run_id,
        model_id=model_id,
        signature=ModelSignature(Schema([images]), Schema([logits])),
    )
    # On CPU, as MLflow warns on every machine without CUDA if it is in the list.
    model.add_flavor(
        "onnx",
        onnx_version=version("onnx"),
        data=GRAPH,
        providers=["CPUExecutionProvider"],
    )
    model.add_flavor(
        "python_function",
        loader_module="mlflow.onnx",
        data=GRAPH,
        python_version=platform.python_version(),
    )
    model.save(str(bundle.folder / "MLmodel"))


class LoggedModels:
    """Those of one run."""

    def __init__(self, registry: Registry, *, experiment_id: str, run_id: str) -> None:
        self._client = registry.client
        self._experiment_id = experiment_id
        self._run_id = run_id

    @store_call("find a version's files")
    def find(self, name: str) -> str | None:
        """The id of the model of that name, if it was stored whole; None without.

        What an interrupted attempt left half-made is done away with.
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
        """Stores a version's files as a logged model of this run; its id.

        Nothing refers to it until it is registered: whatever dies before leaves
        nothing that anyone would load.
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
            self._client.log_model_artifacts(model.model_id, str(bundle.folder))
        except BaseException:
            self._client.finalize_logged_model(model.model_id, "FAILED")
            raise
        self._client.finalize_logged_model(model.model_id, "READY")
        return str(model.model_id)

    @store_call("read a version's tags")
    def tags_of(self, model_id: str) -> Mapping[str, str]:
        tags: Mapping[str, str] = self._client.get_logged_model(model_id).tags
        return tags


@store_call("find a version's experiment")
def experiment_of(registry: Registry, model_id: str) -> str:
    """The name of the experiment that a logged model belongs to."""
    model = registry.client.get_logged_model(model_id)
    return str(registry.client.get_experiment(model.experiment_id).name)


def _remove_local(model: Any) -> None:
    """The files of an mlflow.entities.LoggedModel, where they are kept in a folder:
    <its id>/artifacts."""
    url = urlparse(str(model.artifact_location))
    if url.scheme in ("", "file"):
        files = Path(unquote(url.path))
        whole = files.parent if files.parent.name == model.model_id else files
        shutil.rmtree(whole, ignore_errors=True)
