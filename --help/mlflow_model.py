"""A pyfunc model for `mlflow models serve`: a column of base64, as MLflow reads it.

A bundle is a pyfunc model already, but one that takes arrays of numbers, which cost
MLflow 45 kB of JSON an image. `python -m benchmarks.peers.mlflow_model FOLDER` saves.
"""

import sys
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature, set_model
from mlflow.types.schema import ColSpec, DataType, Schema

from benchmarks.peers.onnx_model import OnnxModel


class Classifier(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # no types
    def load_context(self, context: Any) -> None:
        self._model = OnnxModel()

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: Any = None
    ) -> list[list[dict[str, Any]]]:
        decoded = np.stack([self._model.decode(data) for data in model_input["image"]])
        return [self._model.top_five(row) for row in self._model.logits(decoded)]


set_model(Classifier())

if __name__ == "__main__":
    mlflow.pyfunc.save_model(
        sys.argv[1],
        python_model=__file__,
        signature=ModelSignature(Schema([ColSpec(DataType.binary, "image")])),
        pip_requirements=[],
    )
