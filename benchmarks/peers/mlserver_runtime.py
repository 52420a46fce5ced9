"""MLServer: base64 by the Open Inference Protocol; adaptive batches, two processes."""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from mlserver import MLModel
from mlserver.cli.main import root
from mlserver.codecs import Base64Codec, NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.onnx_model import OnnxModel


class Classifier(MLModel):  # type: ignore[misc]  # not installed beside mypy
    async def load(self) -> bool:
        self._model = OnnxModel()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        files = Base64Codec.decode_input(payload.inputs[0])
        images = np.stack([self._model.decode(data) for data in files])
        best = np.argsort(-self._model.logits(images), axis=1)[:, :5]
        output = NumpyCodec.encode_output("classes", best)
        return InferenceResponse(model_name=self.name, outputs=[output])


if __name__ == "__main__":
    port = int(os.environ["PEER_PORT"])
    server = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": port + 1,
        "metrics_port": port + 2,
        "debug": False,  # no line a request
        "parallel_workers": int(os.environ["PEER_WORKERS"]),
    }
    model = {
        "name": "classifier",
        "implementation": "benchmarks.peers.mlserver_runtime.Classifier",
        "max_batch_size": 32,
        "max_batch_time": 0.002,
    }
    with TemporaryDirectory() as folder:
        Path(folder, "settings.json").write_text(json.dumps(server))
        Path(folder, "model-settings.json").write_text(json.dumps(model))
        root(["start", folder])
