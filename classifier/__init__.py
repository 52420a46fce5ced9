"""What a classifier version is: its labels, preprocessing, network, files and place."""

import os

# The one thing an import does here: MLflow reads this when it is imported, and phones
# home from then on (MLflow 3.17, on by default). docs/decisions.md
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
