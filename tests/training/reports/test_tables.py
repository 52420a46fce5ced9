"""The layer table."""

import csv
import io

from classifier.bundle.network import NetworkSpec
from classifier.bundle.preprocessing import Preprocessing
from classifier.networks.build import build_network
from classifier.networks.image_classifier import ImageClassifier
from training.reports.tables import layer_table


def test_layers_come_with_shape_and_parameters_and_sum_to_the_network() -> None:
    network = build_network(NetworkSpec("resnet18", "imagenet", 200), size=64)
    preprocessing = Preprocessing(64, 64)
    classifier = ImageClassifier(network, preprocessing)

    rows = list(csv.DictReader(io.StringIO(layer_table(classifier, preprocessing))))

    first, *layers, total = rows
    assert first == {
        "name": "conv1",
        "kind": "Conv2d",
        "output_shape": "64 x 32 x 32",
        "parameters": "9408",
    }
    assert layers[-1]["output_shape"] == "200"
    assert int(total["parameters"]) == 11_279_112
    # a ReLU that a block runs twice stands twice, and has none
    assert sum(int(row["parameters"]) for row in rows[:-1]) == 11_279_112
    assert not any(module._forward_hooks for module in classifier.modules())
