"""Registers an ONNX file with `mlflow.onnx.log_model`, as in MLflow's documentation."""

import sys
from pathlib import Path

import mlflow
import onnx


def main(store: Path, file: Path) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{store / 'mlflow.db'}")
    if mlflow.get_experiment_by_name("imported") is None:
        mlflow.create_experiment("imported", str(store / "mlruns"))
    mlflow.set_experiment("imported")
    with mlflow.start_run():
        mlflow.onnx.log_model(
            onnx.load(file), name="model", registered_model_name="imported"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
