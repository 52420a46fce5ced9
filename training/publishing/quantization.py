"""Makes a version's int8 form, measures it, and stores it beside the version."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from classifier.bundle.files import Bundle, QuantisedBundle, write_bundle
from classifier.bundle.predictions import read_predictions, write_predictions
from classifier.console.progress import progress_bar
from classifier.console.text import printable
from classifier.datasets.dataset import BadDataset, Part
from classifier.inference.backends.onnx_runtime import OnnxBackend
from classifier.inference.predict import images_per_second, logits_by_batch
from classifier.store.logged_models import experiment_of
from classifier.store.registry import Registry
from classifier.store.versions import INT8_TAG, Version
from training.config.commands import QuantizeConfig
from training.data.decoded_images import DecodedPart, decode_train_and_val
from training.evaluation.epoch import now_ms
from training.evaluation.evaluate import BATCH_SIZE, Metrics, Predictions
from training.evaluation.evaluate_version import open_data_of
from training.publishing.tracking import RunTracker, run_tags

CALIBRATION_IMAGES = 512
"""Least number of images, if there are as many. 1,000 take twice as long, and
0.2 points more top-1 answers agree with fp32 (Tiny ImageNet, ResNet-18)."""

CALIBRATION_BATCH = 32
"""The range of an activation is the mean of its extremes over such batches."""


def calibration_part(train: Part, *, classes: int) -> Part:
    """The first images of each class, as many of each, CALIBRATION_IMAGES or more."""
    return train.first_per_class(math.ceil(CALIBRATION_IMAGES / classes))


def quantise(bundle: Bundle, images: NDArray[np.uint8]) -> bytes:
    """The int8 graph, its weights inside; calibrated on `images` [N, H, W, 3].

    Activations are uint8 and weights int8, one scale for each output channel: with int8
    activations ONNX Runtime is four times slower on x86. Each choice with
    its numbers is in docs/decisions.md.
    """
    with tempfile.TemporaryDirectory(prefix="flipside-") as folder:
        whole, prepared, quantised = (
            str(Path(folder) / name)
            for name in ("whole.onnx", "prepared.onnx", "quantised.onnx")
        )
        # Both tools look for external weights in folders of their own.
        onnx.save(onnx.load(str(bundle.graph)), whole)
        # Folds batch norm into the convolutions before it. The symbolic inference of
        # shapes wants sympy; the plain one finds all there are.
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantised,
            _Batches(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_dense_nodes(prepared),
            extra_options={"CalibMovingAverage": True},
        )
        return Path(quantised).read_bytes()


def _dense_nodes(graph: str) -> list[str]:
    """The last layer stays fp32: 0.1 % of the work, a fifth of the changed answers."""
    nodes = onnx.load(graph).graph.node
    return [node.name for node in nodes if node.op_type in ("Gemm", "MatMul")]


class _Batches:
    """A data reader for quantize_static(): `get_next()` until None.

    The order is shuffled with a fixed seed. Sorted by class, a batch would hold few
    classes and narrow ranges.
    """

    def __init__(self, images: NDArray[np.uint8]) -> None:
        order = np.random.default_rng(0).permutation(len(images))
        # Batches of nearly equal size, as a small batch has small extremes.
        parts = np.array_split(order, math.ceil(len(images) / CALIBRATION_BATCH))
        self._batches: Iterator[NDArray[np.uint8]] = (images[part] for part in parts)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch}


TIMED_IMAGES = 64


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Accuracy, speed and size of one form of a version."""

    metrics: Metrics | None
    """None if the registry lacks them."""

    images_per_second: float
    """On this machine's cores, in batches of TIMED_IMAGES."""

    megabytes: float


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """A version and its int8 form, side by side."""

    version: Version
    fp32: Measured
    int8: Measured
    agreement: float
    """Share of validation images with the same top-1 answer, 0..1."""

    calibration_images: int
    validation_images: int
    classes: int


def quantise_version(
    config: QuantizeConfig, *, arguments: Sequence[str]
) -> Quantisation:
    """Makes the int8 form and stores it in place of an earlier one.

    Raises QuantisedBundle if the version is an int8 form itself, and BadDataset if the
    data is not the version's.
    """
    registry = Registry()
    version = registry.find(config.version, model=config.model)
    fp32 = registry.bundle(version)
    if version.base is not None:
        raise QuantisedBundle(
            f"v{version.number} is quantised already; name the version it was made of, "
            f"--quantize v{version.base.number}"
        )
    calibration, val = _decode(config, version, fp32, registry)
    with tempfile.TemporaryDirectory(prefix="flipside-") as folder:
        int8 = write_bundle(
            Path(folder),
            weights=None,
            graph=quantise(fp32, calibration.images),
            labels=fp32.labels,
            preprocessing=fp32.preprocessing,
            network=replace(fp32.network, precision="int8"),
        )
        predictions = _predict(int8, val)
        write_predictions(
            int8.validation_predictions,
            names=val.names,
            targets=predictions.targets,
            probabilities=predictions.probabilities,
        )
        quantisation = Quantisation(
            version=version,
            fp32=_measured(fp32, _published_metrics(version), val),
            int8=_measured(int8, predictions.metrics, val),
            agreement=_agreement(predictions, val.names, fp32),
            calibration_images=len(calibration),
            validation_images=len(val),
            classes=len(fp32.labels),
        )
        _store(registry, int8, quantisation, arguments=arguments)
    return quantisation


def _decode(
    config: QuantizeConfig, version: Version, bundle: Bundle, registry: Registry
) -> tuple[DecodedPart, DecodedPart]:
    """Training images to calibrate on, and all validation images.

    Raises BadDataset if the version was validated on other images: then both forms
    would be measured on different images.
    """
    dataset = open_data_of(
        version, bundle.labels, registry=registry, config=config, want_train=True
    )
    assert dataset.train is not None
    train = calibration_part(dataset.train, classes=len(dataset.labels))
    calibration, val = decode_train_and_val(
        train,
        dataset.val,
        config=config,
        labels=bundle.labels,
        preprocessing=bundle.preprocessing,
    )
    validated_on = version.dataset_digest
    if val.digest != validated_on:
        raise BadDataset(
            f"the validation images of {dataset.source} are not those that "
            f"v{version.number} was validated on (their digest is {val.digest[:12]}, "
            f"not {str(validated_on)[:12]}); name with --data what it was trained on"
        )
    return calibration, val


def _predict(bundle: Bundle, val: DecodedPart) -> Predictions:
    batches = []
    with progress_bar("measuring int8", total=len(val)) as advance:
        backend = OnnxBackend.for_one_batch_at_a_time(bundle)
        for batch in logits_by_batch(backend, val.images, batch_size=BATCH_SIZE):
            batches.append(batch)
            advance(len(batch))
    return Predictions(np.concatenate(batches), val.targets)


def _measured(bundle: Bundle, metrics: Metrics | None, val: DecodedPart) -> Measured:
    size_bytes = sum(file.stat().st_size for file in bundle.folder.iterdir())
    images = np.asarray(val.images[:TIMED_IMAGES])
    return Measured(
        metrics=metrics,
        images_per_second=images_per_second(
            OnnxBackend.for_one_batch_at_a_time(bundle), images
        ),
        megabytes=size_bytes / 1e6,
    )


def _published_metrics(version: Version) -> Metrics | None:
    """Metrics of the fp32 weights on the same images; None if a tag is absent."""
    loss = version.val_loss
    top1, top5 = version.val_top1_accuracy, version.val_top5_accuracy
    if loss is None or top1 is None or top5 is None:
        return None
    return Metrics(loss=loss, top1_accuracy=top1, top5_accuracy=top5)


def _agreement(predictions: Predictions, names: Sequence[str], fp32: Bundle) -> float:
    """With the answers that were kept with the version when it was published."""
    kept = read_predictions(fp32.validation_predictions, classes=len(fp32.labels))
    first = dict(zip(kept.names, kept.indices[:, 0].tolist(), strict=True))
    same = [
        first[name] == answer
        for name, answer in zip(names, predictions.logits.argmax(axis=1), strict=True)
        if name in first  # --skip-broken may have left out more at that time
    ]
    return float(np.mean(same))


def _store(
    registry: Registry,
    int8: Bundle,
    quantisation: Quantisation,
    *,
    arguments: Sequence[str],
) -> None:
    """Stores it as a logged model of a new run, which has the command and commit.

    An earlier int8 form stays in the store, as a service may be loading it.
    """
    metrics = quantisation.int8.metrics
    assert metrics is not None  # they were measured just now
    values = {
        "val_loss": metrics.loss,
        "val_top1_accuracy": metrics.top1_accuracy,
        "val_top5_accuracy": metrics.top5_accuracy,
        "agreement": quantisation.agreement,
        "calibration_images": quantisation.calibration_images,
    }
    tags = {name: repr(value) for name, value in values.items()}
    version, epoch = quantisation.version, quantisation.version.epoch or 0
    assert version.model_id is not None  # or its files could not have been read
    links = {
        "epoch": str(epoch),
        "precision": "int8",
        "quantised_model": version.model,
        "quantised_version": version.number,
        "quantised_model_id": version.model_id,
    }
    with RunTracker.start(
        registry,
        experiment=experiment_of(registry, version.model_id),
        tags={
            **run_tags(arguments),
            **links,
            "mlflow.runName": f"quantize-v{version.number}",
        },
    ) as run:
        model_id = run.models.add(
            int8, name=f"epoch-{epoch:02}-int8", tags={**links, **tags}
        )
        run.log_measures(
            {name.replace("val_", "val/"): value for name, value in values.items()},
            model_id=model_id,
            epoch=epoch,
            time_ms=now_ms(),
        )
        run.add_output(model_id, epoch=epoch)
        run.finish()
    # The version is tagged last: an interrupted attempt keeps the earlier form.
    tags |= {"run_id": run.run_id, "model_id": model_id}
    registry.tag_version(
        version, {f"{INT8_TAG}{name}": value for name, value in tags.items()}
    )


def print_quantisation(quantisation: Quantisation) -> None:
    print("\n".join(map(printable, report_lines(quantisation))), flush=True)


def report_lines(quantisation: Quantisation) -> list[str]:
    version, name = quantisation.version, f"v{quantisation.version.number}"
    names = ("top-1", "top-5", "loss", "images/s", "size in MB")
    columns = map(_column, (quantisation.fp32, quantisation.int8))
    rows = list(zip(names, *columns, strict=True))
    if quantisation.classes <= 5:  # of five, the truth is always among five
        del rows[1]
    return [
        f"{version.model}: {name} in int8, calibrated on "
        f"{quantisation.calibration_images:,} training images",
        "",
        f"{'':12}{'fp32':>10}{'int8':>10}",
        *(f"{row[0]:12}{row[1]:>10}{row[2]:>10}" for row in rows),
        "",
        f"The first answers agree on {100 * quantisation.agreement:.2f} % of "
        f"{quantisation.validation_images:,} validation images.",
        f"Ask for it as {name}.int8: python -m compare --model {version.model} "
        f"--a {name} --b {name}.int8",
    ]


def _column(form: Measured) -> tuple[str, ...]:
    """Top-1, top-5 and loss (dashes if they are unknown), speed and size."""
    speed, size = f"{form.images_per_second:,.0f}", f"{form.megabytes:.1f}"
    if form.metrics is None:
        return ("\N{EN DASH}",) * 3 + (speed, size)
    top1, top5 = form.metrics.top1_accuracy, form.metrics.top5_accuracy
    percents = (f"{100 * top1:.2f} %", f"{100 * top5:.2f} %")
    return (*percents, f"{form.metrics.loss:.4f}", speed, size)
