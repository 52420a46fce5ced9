"""From a version's answer to the outputs that an inference request wants."""

import numpy as np

from classifier.ranking import softmax, top_k
from serving.inference_request import InferenceRequest, WantedOutput
from serving.predictor import Predictor
from serving.request_queue import Answer
from serving.tensors import OutputTensor, encode


def write_inference(
    asked: InferenceRequest, predictor: Predictor, answer: Answer
) -> tuple[bytes, int | None]:
    """The body, and how many bytes of it are JSON if tensors follow.

    Raises what an image failed of: a tensor has no room for it.
    """
    for failure in answer.failures.values():
        raise failure
    version = predictor.version
    head = {"model_name": version.model, "model_version": version.number}
    if asked.id is not None:
        head["id"] = asked.id
    return encode(head, [_tensor(o, predictor, answer) for o in asked.outputs])


def _tensor(wanted: WantedOutput, predictor: Predictor, answer: Answer) -> OutputTensor:
    values = answer.logits
    if wanted.name == "probabilities":
        values = softmax(answer.logits).astype(np.float32)
    if not wanted.classes:
        return OutputTensor(wanted.name, values, wanted.is_binary)
    names = predictor.bundle.labels.names
    likeliest = top_k(answer.logits, wanted.classes)
    texts = [
        [f"{row[index]:.7g}:{index}:{names[index]}" for index in indices]
        for row, indices in zip(values, likeliest, strict=True)
    ]
    return OutputTensor(wanted.name, texts, wanted.is_binary)
