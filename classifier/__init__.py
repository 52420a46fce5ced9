"""What a classifier version is: its labels, preprocessing, network, files and place."""

import os

# The one thing an import does here: MLflow (3.17) and ONNX Runtime (1.31) read these
# when they are imported, and phone home from then on. docs/decisions.md
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
