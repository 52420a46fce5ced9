"""A version's int8 form: made, measured, and stored beside the version."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from classifier.bundle import Bundle, QuantisedBundle, read_bundle, write_bundle
from classifier.dataset import BadDataset
from classifier.layouts import open_dataset
from classifier.registry import Registry
from classifier.versions import INT8_TAG, Version
from training.config import QuantizeConfig
from training.evaluate import Metrics, Predictions
from training.evaluation_report import check_classes_known, log_notes
from training.image_cache import DecodedPart, decode_part
from training.logged_models import experiment_of
from training.onnx_inference import OnnxNetwork
from training.progress import progress_bar
from training.provenance import run_tags
from training.publish import write_validation_predictions
from training.quantize import calibration_part, quantise
from training.tracking import RunTracker

TIMED_IMAGES = 64


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a version costs and is worth, in one of its two forms."""

    metrics: Metrics | None
    """None where the registry does not say."""

    images_per_second: float
    """On this machine's cores, TIMED_IMAGES at once."""

    megabytes: float


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """A version and its int8 form, side by side."""

    version: Version
    fp32: Measured
    int8: Measured
    agreement: float
    """The share of validation images, 0..1, whose first answer is the same."""

    calibration_images: int
    validation_images: int
    classes: int


def quantise_version(
    config: QuantizeConfig, *, arguments: Sequence[str]
) -> Quantisation:
    """Makes the int8 form and stores it; an earlier one is replaced.

    QuantisedBundle where the version is an int8 form itself, BadDataset for other data
    than the version's.
    """
    registry = Registry()
    version = registry.resolve(registry.model_name(config.model), config.version)
    fp32 = read_bundle(registry.fetch(version))
    if version.base is not None:
        raise QuantisedBundle(
            f"v{version.number} is quantised already; name the version it was made of, "
            f"--quantize v{version.base.number}"
        )
    calibration, val = _decode(config, version, fp32)
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
        write_validation_predictions(
            int8.validation_predictions, val.names, predictions
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
    config: QuantizeConfig, version: Version, bundle: Bundle
) -> tuple[DecodedPart, DecodedPart]:
    """Training images to calibrate on, and all validation images.

    BadDataset where they are not those that the version was validated on: its int8 form
    would be measured on other images than itself.
    """
    dataset = open_dataset(config.data, cache=config.cache_folder, want_train=True)
    log_notes(dataset)
    check_classes_known(dataset, bundle.labels)
    assert dataset.train is not None
    train = calibration_part(dataset.train, classes=len(dataset.labels))
    calibration, val = (
        decode_part(
            part,
            what=what,
            labels=bundle.labels,
            preprocessing=bundle.preprocessing,
            cache=config.cache_folder,
            skip_broken=config.skip_broken,
            max_megapixels=config.max_megapixels,
        )
        for what, part in (("train", train), ("val", dataset.val))
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
        for batch in OnnxNetwork(bundle).logits_by_batch(val.images):
            batches.append(batch)
            advance(len(batch))
    return Predictions(np.concatenate(batches), val.targets)


def _measured(bundle: Bundle, metrics: Metrics | None, val: DecodedPart) -> Measured:
    size_bytes = sum(file.stat().st_size for file in bundle.folder.iterdir())
    images = np.asarray(val.images[:TIMED_IMAGES])
    return Measured(
        metrics=metrics,
        images_per_second=OnnxNetwork(bundle).images_per_second(images),
        megabytes=size_bytes / 1e6,
    )


def _published_metrics(version: Version) -> Metrics | None:
    """The fp32 weights' on the same images, as the digest has shown; None where a
    tag of theirs is absent or odd."""
    loss = version.val_loss
    top1, top5 = version.val_top1_accuracy, version.val_top5_accuracy
    if loss is None or top1 is None or top5 is None:
        return None
    return Metrics(loss=loss, top1_accuracy=top1, top5_accuracy=top5)


def _agreement(predictions: Predictions, names: Sequence[str], fp32: Bundle) -> float:
    """With the answers that were kept with the version when it was published."""
    kept = pq.read_table(fp32.validation_predictions, columns=["image", "index_1"])
    first = dict(
        zip(kept["image"].to_pylist(), kept["index_1"].to_pylist(), strict=True)
    )
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
    """As a logged model of a run of its own, which tells the command and the commit.

    An earlier int8 form stays in the store, as services may be about to load it.
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
        )
        run.add_output(model_id, epoch=epoch)
        run.finish()
    # The model's id comes last: whatever dies before leaves the form there was.
    tags |= {"run_id": run.run_id, "model_id": model_id}
    registry.tag_version(
        version, {f"{INT8_TAG}{name}": value for name, value in tags.items()}
    )
