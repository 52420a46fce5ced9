"""LitServe: JSON with base64 in, as in its "Speed up serving" guide; batches."""

import base64
import os
from typing import Any

import litserve
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.onnx_model import OnnxModel


class Classifier(litserve.LitAPI):  # type: ignore[misc]  # not installed beside mypy
    def setup(self, device: str) -> None:
        self._model = OnnxModel()

    # An annotation would tell LitServe that the request is something else than JSON.
    def decode_request(self, request) -> NDArray[np.uint8]:  # type: ignore[no-untyped-def]
        return self._model.decode(base64.b64decode(request["image_data"]))

    def batch(self, inputs: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        return np.stack(inputs)

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._model.logits(images)

    def unbatch(self, output: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        return list(output)

    def encode_response(self, output: NDArray[np.float32]) -> dict[str, Any]:
        return {"top": self._model.top_five(output)}


if __name__ == "__main__":
    # 10 ms is what the guide sets; without it a batch is what one tick finds.
    api = Classifier(max_batch_size=32, batch_timeout=0.01)
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=int(os.environ["PEER_WORKERS"])
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PEER_PORT"]),
        generate_client_file=False,
        log_level="warning",
    )
