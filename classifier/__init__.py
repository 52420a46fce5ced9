"""A classifier version: labels, preprocessing, network, files and store."""

import os

# The only effect of this import. MLflow (3.17) and ONNX Runtime (1.31) read these
# variables when they are imported, and otherwise send telemetry. docs/decisions.md
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
