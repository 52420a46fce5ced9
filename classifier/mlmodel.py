"""A bundle as MLflow's own tools read it, `mlflow.pyfunc.load_model` first."""

import platform
from importlib.metadata import version

import numpy as np
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import Schema, TensorSpec

from classifier.bundle import GRAPH, Bundle


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
