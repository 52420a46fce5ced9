"""`--evaluate`: a version's accuracy, printed as the seed report printed it."""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from classifier.bundle.files import Bundle
from classifier.bundle.labels import Labels, unicode_hint
from classifier.console.text import printable
from classifier.datasets.dataset import BadDataset, Dataset
from classifier.datasets.source import open_dataset
from classifier.datasets.split import SPLIT, Splitting, read_split
from classifier.inference import predict
from classifier.inference.backends.onnx_runtime import OnnxBackend
from classifier.networks.image_classifier import ImageClassifier
from classifier.storage import write_json
from classifier.store.registry import Registry
from classifier.store.versions import Version
from training.compute import DeviceUnavailable, choose_compute
from training.config.commands import EvaluationConfig, QuantizeConfig
from training.data.decoded_images import decode_part
from training.evaluation.class_metrics import as_json, class_report, report_lines
from training.evaluation.evaluate import (
    BATCH_SIZE,
    Predictions,
    logits_by_batch,
    measure,
)

logger = logging.getLogger(__name__)

PRINT_EVERY = 10
"""Batches between two lines, as in pytorch/examples' imagenet/main.py."""


@dataclass
class _Meter:
    """The latest value and the average over all images, `name value (average)`."""

    name: str
    format: str
    value: float = 0.0
    total: float = 0.0
    count: int = 0

    def update(self, value: float, count: int) -> None:
        self.value = value
        self.total += value * count
        self.count += count

    def __str__(self) -> str:
        average = self.total / self.count
        return f"{self.name} {self.value:{self.format}} ({average:{self.format}})"


def print_evaluation(config: EvaluationConfig) -> None:
    registry = Registry()
    version = registry.find(config.version, model=config.model)
    bundle = registry.bundle(version)
    dataset = open_data_of(
        version, bundle.labels, registry=registry, config=config, want_train=False
    )
    val = decode_part(
        dataset.val,
        name="val",
        labels=bundle.labels,
        preprocessing=bundle.preprocessing,
        cache=config.cache_folder,
        skip_broken=config.skip_broken,
        max_megapixels=config.max_megapixels,
    )
    answers = _answers(bundle, val.images, device=config.device)
    meters = (
        _Meter("Time", "6.3f"),
        _Meter("Loss", ".4e"),
        _Meter("Acc@1", "6.2f"),
        _Meter("Acc@5", "6.2f"),
    )
    batches = math.ceil(len(val) / BATCH_SIZE)
    logits: list[NDArray[np.float32]] = []
    started = time.perf_counter()
    for index, batch in enumerate(answers):
        targets = val.targets[len(logits) * BATCH_SIZE :][: len(batch)]
        logits.append(batch)
        metrics = measure(batch, targets)
        values = (
            time.perf_counter() - started,
            metrics.loss,
            100 * metrics.top1_accuracy,
            100 * metrics.top5_accuracy,
        )
        for meter, value in zip(meters, values, strict=True):
            meter.update(value, len(batch))
        if index % PRINT_EVERY == 0:
            print(_progress_line(index, batches, meters), flush=True)
        started = time.perf_counter()
    predictions = Predictions(np.concatenate(logits), val.targets)
    overall = predictions.metrics
    report = class_report(
        val.targets, predictions.first_answers, classes=len(bundle.labels)
    )
    print("\n".join(map(printable, report_lines(report, bundle.labels))))
    # The line that the seed report closed with stays the last: people cut it out.
    print(
        f" *   Acc@1 {100 * overall.top1_accuracy:.3f} "
        f"Acc@5 {100 * overall.top5_accuracy:.3f}"
    )
    if config.out is not None:
        facts = {
            "model": version.model,
            "version": version.number,
            "data": dataset.source,
            "images": len(val),
            **asdict(overall),
        }
        write_json(config.out, facts | as_json(report, bundle.labels))


def _answers(
    bundle: Bundle, images: NDArray[np.uint8], *, device: str
) -> Iterator[NDArray[np.float32]]:
    """Logits [n, K] per batch: from torch, or from ONNX Runtime.

    Torch has no network of an int8 form or of an imported graph, and does not run a
    user's function here.
    """
    is_int8, network = bundle.network.precision == "int8", bundle.network
    if is_int8 or network.source == "onnx" or network.is_function:
        if device == "cuda":
            kind = "a network of other code" if network.is_function else "a graph"
            raise DeviceUnavailable(
                f"--device cuda was asked for, but {kind} is measured on the CPU; "
                f"use --device auto or cpu"
            )
        backend = OnnxBackend.for_one_batch_at_a_time(bundle)
        return predict.logits_by_batch(backend, images, batch_size=BATCH_SIZE)
    compute = choose_compute(device)
    classifier = ImageClassifier.from_bundle(bundle).to(compute.device)
    classifier = classifier.to(memory_format=torch.channels_last)
    return logits_by_batch(classifier, images)


def open_data_of(
    version: Version,
    labels: Labels,
    *,
    registry: Registry,
    config: EvaluationConfig | QuantizeConfig,
    want_train: bool,
) -> Dataset:
    """The data for a version with these labels, split as its run recorded.

    Notes go to standard error, as programs read the output of `--evaluate`. Raises
    BadDataset, also if the version does not know a class.
    """
    splitting = Splitting(
        recorded=read_split(registry.run_text(version, SPLIT)),
        takes_all=config.part == "all",
    )
    dataset = open_dataset(
        config.data,
        cache=config.cache_folder,
        want_train=want_train,
        labels=config.labels_file,
        splitting=splitting,
    )
    for note in dataset.notes:
        logger.warning("%s", note)
    _check_classes_known(dataset, labels)
    return dataset


def _check_classes_known(dataset: Dataset, labels: Labels) -> None:
    unknown = sorted(set(dataset.val.class_ids) - set(labels.ids))
    if unknown:
        hint = unicode_hint(unknown, labels.ids)
        raise BadDataset(
            f"the version does not know {len(unknown)} of the data's classes: "
            f"{', '.join(unknown[:5])}{', …' if len(unknown) > 5 else ''}; "
            f"{hint or 'it was trained on other data, so name its data with --data'}"
        )


def _progress_line(index: int, batches: int, meters: Sequence[_Meter]) -> str:
    width = len(str(batches))
    return "\t".join([f"Test: [{index:{width}d}/{batches}]", *map(str, meters)])
