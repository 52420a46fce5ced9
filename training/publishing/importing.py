"""`--import`: a model made elsewhere becomes a version: files, proof, publication."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from classifier.bundle.files import BrokenBundle, Bundle
from classifier.bundle.labels import Labels
from classifier.bundle.predictions import write_predictions
from classifier.console.text import printable
from classifier.datasets.dataset import BadDataset, Dataset
from classifier.datasets.source import open_dataset
from classifier.inference.backends.onnx_file import open_session
from classifier.inference.backends.onnx_runtime import OnnxBackend
from classifier.inference.predict import logits_by_batch
from classifier.store.registry import Registry
from classifier.store.versions import Version
from training.config.commands import ImportConfig
from training.data.decoded_images import DecodedPart, decode_part
from training.publishing.export import check_alike, prove_export, write_version
from training.publishing.foreign_graph import UnfitModel
from training.publishing.foreign_model import (
    Foreign,
    plain_name,
    random_images,
    read_foreign,
)
from training.publishing.publish import (
    DIFFERENCE_TAG,
    measured_tags,
    move_best_aliases,
)
from training.publishing.tracking import RunTracker, library_versions, run_tags

if TYPE_CHECKING:  # it brings torch, which takes 4 s to import
    from training.evaluation.evaluate import Predictions

BATCHES = (1, 3)
"""Sizes of the batches of the proof; a graph of a fixed batch fails with one. The first
images are enough for that."""

PROOF_IMAGES = 24
"""Validation images of the proof."""

RANDOM_IMAGES = 6
"""Images of a proof without data."""

BATCH_SIZE = 64

EXPERIMENT = "import"


def import_model(config: ImportConfig, *, arguments: Sequence[str]) -> None:
    """Makes the version, and prints what it is.

    Raises UnfitModel, BadSidecar, UnfitWeights or BadDataset before anything is stored.
    """
    registry = Registry(create=True)
    with tempfile.TemporaryDirectory(prefix="flipside-") as downloads:
        foreign = read_foreign(config, registry, Path(downloads))
        _print("model", f"{foreign.name}, {foreign.kind}")
        for note in foreign.notes:
            _print("note", note)
        validation = None
        if config.data is not None:
            foreign, validation = _open_data(config, foreign)
        version = _Import(config, registry, foreign, validation, arguments).publish()
    _print("version", f"v{version.number} of {version.model} in {registry.uri}")
    _print(
        "serve it",
        f"python -m serving --model {version.model} --versions v{version.number}",
    )


@dataclass(frozen=True)
class _Validation:
    """The data that the version is measured on."""

    dataset: Dataset
    part: DecodedPart

    @property
    def tags(self) -> dict[str, str]:
        return {
            "dataset_name": self.dataset.name,
            "dataset_digest": self.part.digest,
            "dataset_source": self.dataset.source,
        }


def _open_data(config: ImportConfig, foreign: Foreign) -> tuple[Foreign, _Validation]:
    """The validation images, and the model with the class ids that the data has."""
    assert config.data is not None
    dataset = open_dataset(config.data, cache=config.cache_folder, want_train=False)
    labels = _with_ids_of(foreign.parts.labels, dataset)
    part = decode_part(
        dataset.val,
        name="val",
        labels=labels,
        preprocessing=foreign.parts.preprocessing,
        cache=config.cache_folder,
        skip_broken=config.skip_broken,
        max_megapixels=config.max_megapixels,
    )
    _print("data", f"{dataset.name}: {len(part):,} validation images")
    for note in dataset.notes:
        _print("note", note)
    parts = replace(foreign.parts, labels=labels)
    return replace(foreign, parts=parts), _Validation(dataset, part)


def _with_ids_of(labels: Labels, dataset: Dataset) -> Labels:
    """Classes that the data has by the same name get the data's ids.

    Raises BadDataset if the model lacks a class of the data.
    """
    theirs = dataset.labels
    by_name = dict(zip(theirs.names, theirs.ids, strict=True))
    ids = tuple(
        id_ if id_ in theirs.index_of else by_name.get(name, id_)
        for id_, name in zip(labels.ids, labels.names, strict=True)
    )
    unknown = sorted(set(dataset.val.class_ids) - set(ids))
    if unknown or len(set(ids)) < len(ids):
        few = f"{', '.join(unknown[:5])}{', …' if len(unknown) > 5 else ''}"
        raise BadDataset(
            f"the model does not know {len(unknown)} of the data's classes: {few}; its "
            f"own are {', '.join(labels.ids[:3])}, …; name them in the model's order, "
            f"by the ids or names of the data, with --labels FILE"
        )
    return Labels(ids, labels.names)


@dataclass(frozen=True)
class _Import:
    """One model on its way into the registry."""

    config: ImportConfig
    registry: Registry
    foreign: Foreign
    validation: _Validation | None
    arguments: Sequence[str]

    def publish(self) -> Version:
        """Proves, stores, logs and registers, in this order, as for a run's epochs."""
        with tempfile.TemporaryDirectory(prefix="flipside-") as folder:
            bundle = write_version(
                Path(folder), self.foreign.weights, self.foreign.parts
            )
            difference = self._prove(bundle)
            predictions = self._predict(bundle)
            return self._store(bundle, predictions, difference)

    def _prove(self, bundle: Bundle) -> float:
        """The largest difference of a logit from the model's own answers."""
        foreign, where = self.foreign, "random"
        images = random_images(bundle.preprocessing, RANDOM_IMAGES)
        if self.validation is not None:
            kept, where = self.validation.part.images, "validation"
            places = np.linspace(0, len(kept) - 1, min(PROOF_IMAGES, len(kept)))
            images = np.array(kept[places.astype(np.int64)])
        expected = foreign.logits(images)
        session = open_session(bundle.graph, name=foreign.name)
        few = slice(BATCHES[-1])
        for size in BATCHES:
            _check_batches(
                session, images[few], expected[few], size=size, foreign=foreign
            )
        try:
            difference = prove_export(
                bundle, images, expected, tolerance=foreign.tolerance
            )
        except BrokenBundle as error:
            raise UnfitModel(f"{foreign.name} does not fit: {error}") from error
        _print(
            "proof",
            f"at most {difference:.2g} from the model's own logits on {len(images)} "
            f"{where} images; the same alone and in batches of {BATCHES[-1]}",
        )
        return difference

    def _predict(self, bundle: Bundle) -> "Predictions | None":
        """Answers to the validation images, written into the bundle."""
        if self.validation is None:
            return None
        from training.evaluation.evaluate import Predictions

        part = self.validation.part
        backend = OnnxBackend.for_one_batch_at_a_time(bundle)
        batches = list(logits_by_batch(backend, part.images, batch_size=BATCH_SIZE))
        predictions = Predictions(np.concatenate(batches), part.targets)
        write_predictions(
            bundle.validation_predictions,
            names=part.names,
            targets=predictions.targets,
            probabilities=predictions.probabilities,
        )
        metrics = predictions.metrics
        _print(
            "measured",
            f"top-1 {100 * metrics.top1_accuracy:.2f} %, "
            f"top-5 {100 * metrics.top5_accuracy:.2f} %, loss {metrics.loss:.4f}",
        )
        return predictions

    def _store(
        self, bundle: Bundle, predictions: "Predictions | None", difference: float
    ) -> Version:
        """The version is registered last; without data it has no tags of measures."""
        name = plain_name(self.foreign.name)
        tags = {DIFFERENCE_TAG: repr(difference), "imported_from": self.config.source}
        with RunTracker.start(
            self.registry,
            experiment=self.config.experiment or self._dataset_name or EXPERIMENT,
            tags={**run_tags(self.arguments), "mlflow.runName": f"import-{name}"},
        ) as run:
            run.log_params(self._params())
            model_id = run.models.add(bundle, name=name, tags=tags)
            run.add_output(model_id, epoch=0)
            if predictions is not None:
                tags |= self._log_measures(run, model_id, predictions)
            version = self.registry.register(
                self._model,
                model_id=model_id,
                run_id=run.run_id,
                tags={"run_id": run.run_id, **tags},
            )
            if self.validation is not None:
                digest = self.validation.part.digest
                move_best_aliases(self.registry, self._model, digest=digest)
            run.finish()
        return version

    def _log_measures(
        self, run: RunTracker, model_id: str, predictions: "Predictions"
    ) -> dict[str, str]:
        """Logs data and metrics. Returns the tags of both."""
        from training.evaluation.calibration import calibrate
        from training.evaluation.epoch import now_ms

        assert self.validation is not None
        dataset, part = self.validation.dataset, self.validation.part
        run.log_dataset(
            name=dataset.name,
            digest=part.digest,
            source=dataset.source,
            size=f"{len(part):,} validation images",
        )
        metrics = predictions.metrics
        calibration = calibrate(predictions.logits, predictions.targets)
        run.log_measures(
            {
                **{f"val/{name}": value for name, value in asdict(metrics).items()},
                "val/expected_calibration_error": calibration.error,
            },
            model_id=model_id,
            epoch=0,
            time_ms=now_ms(),
        )
        return {**measured_tags(metrics, calibration), **self.validation.tags}

    def _params(self) -> dict[str, object]:
        parts = self.foreign.parts
        versions = {f"version_{k}": v for k, v in library_versions().items()}
        preprocessing = parts.preprocessing.to_json()
        return {
            **{k: v for k, v in asdict(self.config).items() if k != "cache"},
            **preprocessing,
            **versions,
            "classes": len(parts.labels),
            "network": parts.network.architecture,
        }

    @property
    def _dataset_name(self) -> str | None:
        return None if self.validation is None else self.validation.dataset.name

    @property
    def _model(self) -> str:
        """<dataset>-<arch>, as a run's; without data the file's name."""
        if self.config.model is not None:
            return self.config.model
        name = plain_name((self.config.arch or self.foreign.name).removeprefix("timm:"))
        if self.config.source.startswith("models:/"):
            # Its own model keeps the versions that its users know.
            name = f"{name}-imported"
        return "-".join(filter(None, (self._dataset_name, name)))


def _check_batches(
    session: Any,
    images: NDArray[np.uint8],
    expected: NDArray[np.float32],
    *,
    size: int,
    foreign: Foreign,
) -> None:
    """Raises UnfitModel if batches of `size` fail or give other logits."""
    try:
        found = np.concatenate(
            [
                session.run(["logits"], {"images": images[start : start + size]})[0]
                for start in range(0, len(images), size)
            ]
        )
        check_alike(found, expected, tolerance=foreign.tolerance)
    except Exception as error:  # ONNX Runtime's errors share no class of their own
        reason = str(error).strip().splitlines()[0][:300]
        raise UnfitModel(
            f"{foreign.name} does not give the same answers in batches of {size} "
            f"({reason}); export it in evaluation mode, with a first axis that is free "
            f"(dynamic_shapes or dynamic_axes of torch.onnx.export)"
        ) from error


def _print(name: str, text: str) -> None:
    print(f"{name:9} {printable(text)}", flush=True)
