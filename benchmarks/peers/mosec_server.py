"""mosec: the image file as body; dynamic batches, as in its "Web service" example."""

import os
from typing import Any

import mosec
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.onnx_model import OnnxModel


class Classifier(mosec.Worker):  # type: ignore[misc]  # not installed beside mypy
    def __init__(self) -> None:
        self._model = OnnxModel()

    def deserialize(self, data: bytes) -> NDArray[np.uint8]:
        return self._model.decode(data)

    def forward(self, data: list[NDArray[np.uint8]]) -> list[dict[str, Any]]:
        logits = self._model.logits(np.stack(data))
        return [{"top": self._model.top_five(row)} for row in logits]


if __name__ == "__main__":
    settings = {"ADDRESS": "127.0.0.1", "PORT": os.environ["PEER_PORT"]}
    settings["PATH"] = f"/tmp/mosec-{settings['PORT']}"  # of its Unix sockets
    os.environ.update({f"MOSEC_{key}": value for key, value in settings.items()})
    server = mosec.Server()
    workers = int(os.environ["PEER_WORKERS"])
    # 16 and 2 ms: the best of those tried at 64 connections.
    server.append_worker(Classifier, num=workers, max_batch_size=16, max_wait_time=2)
    server.run()
