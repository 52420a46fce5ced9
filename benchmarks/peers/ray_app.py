"""Ray Serve: the image file as body; as in its guide "Dynamic request batching"."""

import os
import time
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray import serve
from starlette.requests import Request

from benchmarks.peers.onnx_model import OnnxModel


class Classifier:
    def __init__(self) -> None:
        self._model = OnnxModel()

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.002)  # type: ignore[untyped-decorator]  # not installed beside mypy
    async def _predict(self, images: list[NDArray[np.uint8]]) -> list[dict[str, Any]]:
        logits = self._model.logits(np.stack(images))
        return [{"top": self._model.top_five(row)} for row in logits]

    async def __call__(self, request: Request) -> dict[str, Any]:
        image = self._model.decode(await request.body())
        answer: dict[str, Any] = await self._predict(image)
        return answer


if __name__ == "__main__":
    workers = int(os.environ["PEER_WORKERS"])
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"] = "60"  # of a busy machine
    ray.init(num_cpus=workers, include_dashboard=False)
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(os.environ["PEER_PORT"])}
    )
    deployed = serve.deployment(num_replicas=workers, max_ongoing_requests=64)
    serve.run(deployed(Classifier).bind(), route_prefix="/predict")
    time.sleep(10**6)
