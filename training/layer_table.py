"""The layers of a network, in the order they run."""

import csv
import io

import torch
from torch import Tensor, nn

from classifier.network import ImageClassifier
from classifier.plain_text import csv_row
from classifier.preprocessing import Preprocessing


def layer_table(classifier: ImageClassifier, preprocessing: Preprocessing) -> str:
    """CSV: name, kind, output shape without the batch, parameters."""
    rows: list[tuple[str, str, str, int]] = []

    def note(name: str, layer: nn.Module) -> None:
        def hook(_layer: nn.Module, _inputs: object, output: Tensor) -> None:
            shape = " x ".join(str(size) for size in output.shape[1:])
            parameters = sum(p.numel() for p in layer.parameters())
            rows.append((name, type(layer).__name__, shape, parameters))

        hooks.append(layer.register_forward_hook(hook))

    hooks: list[torch.utils.hooks.RemovableHandle] = []
    for name, layer in classifier.network.named_modules():
        if not any(layer.children()):
            note(name, layer)
    was_training, device = classifier.training, next(classifier.parameters()).device
    shape = (1, preprocessing.height, preprocessing.width, 3)
    with torch.inference_mode():
        classifier.eval()(torch.zeros(shape, dtype=torch.uint8, device=device))
    classifier.train(was_training)
    for handle in hooks:
        handle.remove()
    total = sum(p.numel() for p in classifier.network.parameters())
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("name", "kind", "output_shape", "parameters"))
    writer.writerows(map(csv_row, rows))
    writer.writerow(("total", type(classifier.network).__name__, "", total))
    return table.getvalue()
