"""Publishes a checkpoint: files, proof, logged model, metrics, version."""

import logging
import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from classifier.bundle.predictions import write_predictions
from classifier.store.registry import Registry
from classifier.store.versions import Version
from training.data.decoded_images import DecodedPart
from training.publishing.export import VersionParts, prove_export, write_version
from training.publishing.tracking import RunTracker

if TYPE_CHECKING:  # they bring torch, which an import of a graph does without
    from training.evaluation.calibration import Calibration
    from training.evaluation.epoch import Checkpoint
    from training.evaluation.evaluate import Metrics

PROOF_IMAGES = 64
"""Validation images to compare ONNX with torch on; 0.1 s on two cores."""

DIFFERENCE_TAG = "onnx_max_abs_diff"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Publisher:
    """Publishes the versions of one run."""

    registry: Registry
    tracker: RunTracker
    model: str
    parts: VersionParts
    val: DecodedPart
    dataset_tags: dict[str, str]
    workspace: Path
    """A folder on the store's disk for temporary files."""

    def publish(self, checkpoint: "Checkpoint", *, again: bool = False) -> Version:
        """Proves, stores, logs and registers the checkpoint, in this order.

        `again` continues an attempt that was interrupted at any point: the version is
        registered last, and earlier parts are found or done again. Raises
        ExportMismatch before anything is stored.
        """
        started = time.perf_counter()
        epoch = checkpoint.record.epoch
        version = self._registered(epoch) if again else None
        if version is None:
            name = f"epoch-{epoch:02}"
            model_id = self.tracker.models.find(name) if again else None
            version = self._register(
                checkpoint, model_id or self._store(checkpoint, name)
            )
        move_best_aliases(
            self.registry, self.model, digest=self.dataset_tags["dataset_digest"]
        )
        logger.info(
            "published version=%s epoch=%d seconds=%.2f",
            version.number,
            epoch,
            time.perf_counter() - started,
        )
        return version

    def _registered(self, epoch: int) -> Version | None:
        if not self.registry.has_model(self.model):
            return None
        key = (self.tracker.run_id, epoch)
        versions = self.registry.versions(self.model)
        return next((v for v in versions if (v.run_id, v.epoch) == key), None)

    def _store(self, checkpoint: "Checkpoint", name: str) -> str:
        """Stores the files as a logged model. Returns its id."""
        with tempfile.TemporaryDirectory(dir=self.workspace) as folder:
            bundle = write_version(Path(folder), checkpoint.weights, self.parts)
            difference = prove_export(
                bundle,
                np.array(self.val.images[:PROOF_IMAGES]),
                checkpoint.predictions.logits[:PROOF_IMAGES],
            )
            write_predictions(
                bundle.validation_predictions,
                names=self.val.names,
                targets=checkpoint.predictions.targets,
                probabilities=checkpoint.predictions.probabilities,
            )
            tags = {
                "epoch": str(checkpoint.record.epoch),
                DIFFERENCE_TAG: repr(difference),
            }
            return self.tracker.models.add(bundle, name=name, tags=tags)

    def _register(self, checkpoint: "Checkpoint", model_id: str) -> Version:
        record = checkpoint.record
        self.tracker.add_output(model_id, epoch=record.epoch)
        self.tracker.log_running(record.training.points)
        self.tracker.log_epoch(record, model_id=model_id)
        tags = {
            "run_id": self.tracker.run_id,
            "epoch": str(record.epoch),
            **measured_tags(record.val, record.calibration),
            **_difference_tag(self.tracker.models.tags_of(model_id)),
            **self.dataset_tags,
        }
        return self.registry.register(
            self.model, model_id=model_id, run_id=self.tracker.run_id, tags=tags
        )


def measured_tags(val: "Metrics", calibration: "Calibration") -> dict[str, str]:
    """Tags of a version about its validation images."""
    return {
        "val_loss": repr(val.loss),
        "val_top1_accuracy": repr(val.top1_accuracy),
        "val_top5_accuracy": repr(val.top5_accuracy),
        "expected_calibration_error": repr(calibration.error),
        "temperature": repr(calibration.temperature),
        "cross_fitted_calibration_error": repr(calibration.cross_fitted_error),
    }


def move_best_aliases(registry: Registry, model: str, *, digest: str) -> None:
    """Moves `best` and `best-loss` to the best of all versions of the same images.

    They are computed from the registry each time. So the next version repairs an
    interrupted move, and a worse run takes no alias.
    """
    rivals = [
        version
        for version in registry.versions(model)
        if version.dataset_digest == digest
    ]
    best = max(rivals, key=_top1_accuracy, default=None)
    best_loss = min(rivals, key=_loss, default=None)
    for alias, found in (("best", best), ("best-loss", best_loss)):
        if found is not None and alias not in found.aliases:
            registry.set_alias(model, alias, found.number)


def _difference_tag(tags: Mapping[str, str]) -> dict[str, str]:
    """Empty if the logged model no longer has the tag."""
    return {DIFFERENCE_TAG: tags[DIFFERENCE_TAG]} if DIFFERENCE_TAG in tags else {}


def _top1_accuracy(version: Version) -> float:
    """Below all others if its tag is absent; of equals, max() takes the earliest."""
    accuracy = version.val_top1_accuracy
    return -math.inf if accuracy is None else accuracy


def _loss(version: Version) -> float:
    return math.inf if version.val_loss is None else version.val_loss
