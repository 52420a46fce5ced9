"""Checks of store, data and network before the first step, in two seconds."""

import copy
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from classifier.bundle.labels import Labels
from classifier.console.exits import NotNow, OurFault, WrongUsage
from classifier.datasets.dataset import BadDataset
from classifier.metrics import IntArray
from classifier.networks.build import logits_of
from classifier.networks.image_classifier import ImageClassifier
from classifier.storage import check_room, megabytes
from classifier.store.location import (
    DEFAULT_STORE,
    is_remote,
    sqlite_file,
    store_folder,
)
from training.optimization.schedule import auto_batch_size
from training.reports.curves import standard_error

GRAPH_BYTES = 1_000_000
"""Upper bound of a version's files without its weights: they take 0.2 to 0.6 MB."""

PIXELS = 16 * 64 * 64
"""Pixels to measure the first loss on: 0.1 s for ResNet-18, 0.5 s with small stem."""

FAR_NATS = 10.0
"""Loss above ln K that a broken network reaches and an untrained one does not.

Measured over 8 seeds, K = 2 to 1000, in evaluation mode: up to 0.6 on photographs, 1.9
on white images, 4.4 on black-and-white noise; a head of weights N(0, 1) is 20 to 35
above. docs/decisions.md"""

FEW_STEPS = 5
"""Steps of an epoch that are too few: 16 such epochs suffice for digits alone."""

FEW_IMAGES = 2
"""Images of a class that are too few to learn it."""

FEW_TO_MEASURE = 100
"""Validation images with which an accuracy is known to 10 points at best."""

LARGEST_INPUT = 50.0
"""Largest normalised value: 2.7 with ImageNet's mean and std, 255 without normalising.
In small images the loss alone would miss that, as zero padding outweighs it."""


class StoreInTheWay(NotNow, RuntimeError):
    """Files beside the store would keep MLflow from finding it."""


class TooManyProcesses(WrongUsage, ValueError):
    """A batch has fewer than two images for each process."""


class NetworkUnfit(OurFault, RuntimeError):
    """The network does not fit the classes, or is broken before its first step."""


def check_store(uri: str, *, epochs: int, weight_bytes: int) -> list[str]:
    """Notes about the store for the user. Raises StoreInTheWay or DiskTooSmall.

    `weight_bytes` is the estimated size of one version's weights. Registry checks that
    the store opens.
    """
    if is_remote(uri):
        return [f"the run is shown at {uri}, not by `mlflow ui` in this folder"]
    folder = store_folder(uri)
    if sqlite_file(uri) == folder / "mlflow.db":
        _check_file_store(folder)
    _check_disk(folder, epochs=epochs, weight_bytes=weight_bytes)
    shown = os.environ.get("MLFLOW_BACKEND_STORE_URI") or DEFAULT_STORE
    if (sqlite_file(uri) or uri) == (sqlite_file(shown) or shown):
        return []
    file = sqlite_file(uri)
    where = f"sqlite:///{file}" if file else uri
    return [
        f"`mlflow ui` in this folder shows another store, {shown}; this run is shown "
        f"by `mlflow ui --backend-store-uri {where}`"
    ]


def check_processes(processes: int, *, batch_size: int, images: int) -> None:
    """Raises TooManyProcesses: batch norm needs two images in each process."""
    least = 2 * processes
    if processes > 1 and min(batch_size, images) < least:
        raise TooManyProcesses(
            f"{processes} processes share each batch and need two images each, and a "
            f"batch has {min(batch_size, images)} (--batch-size {batch_size}, {images} "
            f"training images); start {max(1, min(batch_size, images) // 2)} processes "
            f"at most, or take larger batches"
        )


def size_notes(
    targets: IntArray,
    labels: Labels,
    *,
    batch_size: int,
    processes: int = 1,
    steps: int,
    val_images: int,
) -> list[str]:
    """Warnings about too few steps, training images or validation images."""
    images, notes = len(targets), []
    if steps < FEW_STEPS:
        auto = auto_batch_size(images, processes=processes)
        remedy = (
            f"leave out --batch-size, which gives batches of {auto} at most"
            if auto < batch_size
            else "train more --epochs"
        )
        all_of_them = "all " if batch_size >= images else ""
        notes.append(
            f"an epoch is {steps} step{'s' if steps > 1 else ''}, as a batch holds "
            f"{all_of_them}{min(batch_size, images)} of {images} training images; a "
            f"network learns little from so few: {remedy}"
        )
    counts = np.bincount(targets, minlength=len(labels))
    few = [
        f"{labels.ids[index]} ({counts[index]})"
        for index in np.flatnonzero(counts <= FEW_IMAGES)
    ]
    if few:
        notes.append(
            f"{len(few)} of {len(labels)} classes have {FEW_IMAGES} training images or "
            f"fewer, too few to learn from: {_first(few)}; add some, or remove their "
            f"folders"
        )
    if val_images < FEW_TO_MEASURE:
        error = 1.96 * standard_error(0.5, val_images)
        notes.append(
            f"{val_images} validation images measure an accuracy of 50 % to "
            f"{100 * error:.0f} points either way; smaller differences mean nothing"
        )
    return notes


def check_images(targets: IntArray, labels: Labels) -> None:
    """Raises BadDataset for a class without images, or a lone class or image."""
    if len(labels) < 2:
        raise BadDataset(
            f"{labels.ids[0]!r} is the only class, and there is nothing to "
            f"distinguish it from; add a folder of another class to train/ and val/"
        )
    if len(targets) < 2:
        raise BadDataset(
            "there is one training image, and batch norm needs two in a batch; add some"
        )
    counts = np.bincount(targets, minlength=len(labels))
    empty = [labels.ids[index] for index in np.flatnonzero(counts == 0)]
    if empty:
        raise BadDataset(
            f"{len(empty)} of {len(labels)} classes have no training image that "
            f"decodes: {_first(empty)}; add some, or remove their folders from train/ "
            f"and val/"
        )


def check_network(
    classifier: ImageClassifier,
    images: NDArray[np.uint8],
    targets: IntArray,
    *,
    classes: int,
) -> None:
    """Raises NetworkUnfit if an untrained network is broken.

    Its inputs must be normalised, its logits [N, K], and its loss near that of a guess,
    ln K, in evaluation or in training mode: until batch norm has learnt statistics, a
    deep network such as Inception v3 reaches a loss of 1e12 in the former. The network,
    its mode and torch's random state do not change.
    """
    count = min(len(images), max(2, PIXELS // math.prod(images.shape[1:3])))
    # Evenly over the part, which is sorted by class.
    positions = np.linspace(0, len(images) - 1, count).astype(int)
    device = next(classifier.parameters()).device
    inputs = torch.from_numpy(images[positions]).to(device)
    with torch.inference_mode():
        largest = classifier.normalise(inputs).abs().max().item()
    logits = _first_logits(classifier, inputs, training=False)
    if not largest < LARGEST_INPUT:
        raise NetworkUnfit(
            f"normalised images reach {largest:.4g}, and a few units are right; the "
            f"means and stds of preprocessing must be fractions of 1"
        )
    if logits.shape != (count, classes):
        raise NetworkUnfit(
            f"the network answers {tuple(logits.shape)} for {count} images of "
            f"{classes} classes; its last layer must have {classes} outputs"
        )
    wanted = torch.from_numpy(targets[positions])
    loss = cross_entropy(logits, wanted).item()
    # `not <`: NaN must not pass.
    if not loss - math.log(classes) < FAR_NATS:
        logits = _first_logits(classifier, inputs, training=True)
        loss = cross_entropy(logits, wanted).item()
    if not loss - math.log(classes) < FAR_NATS:
        raise NetworkUnfit(
            f"before its first step the network's loss is {loss:.4g}, and a guess "
            f"among {classes} classes has {math.log(classes):.4g}; look at the "
            f"initialisation of its layers"
        )


def _first_logits(
    classifier: ImageClassifier, inputs: Tensor, *, training: bool
) -> Tensor:
    """Logits [N, K] by a copy in that mode, so that its batch norm alone learns."""
    copied = copy.deepcopy(classifier).train(training)
    devices = [inputs.device] if inputs.device.type == "cuda" else []
    with torch.inference_mode(), torch.random.fork_rng(devices):
        logits, *_ = logits_of(copied(inputs))
    return logits.float().cpu()


def _check_file_store(folder: Path) -> None:
    """Raises StoreInTheWay: with these files plain MLflow takes ./mlruns for its store.

    mlflow/tracking/_tracking_service/utils.py, 3.17
    """
    stale = sorted(
        path
        for path in (folder / "mlruns").glob("*/meta.yaml")
        if path.parent.name.isdigit()
    )
    if not stale:
        return
    # The tool overwrites an existing database.
    is_taken = (folder / "mlflow.db").exists()
    target = "old-runs.db" if is_taken else "mlflow.db"
    raise StoreInTheWay(
        f"{_first(list(map(str, stale)))} make `mlflow ui` and MLflow's clients look "
        f"for runs in mlruns/, as an MLflow before 3.7 wrote them, and fail; to keep "
        f"them run `mlflow migrate-filestore --source mlruns --target "
        f"sqlite:///{target}` in {folder}, then remove these meta.yaml"
    )


def _check_disk(folder: Path, *, epochs: int, weight_bytes: int) -> None:
    """Raises DiskTooSmall: a version per epoch, and the state twice, must fit."""
    state_bytes = 3 * weight_bytes  # weights, momentum, their average
    version_bytes = weight_bytes + GRAPH_BYTES
    check_room(
        folder,
        epochs * version_bytes + 2 * state_bytes,
        purpose=f"a run of {epochs} versions of {megabytes(version_bytes)} each, and "
        f"{megabytes(2 * state_bytes)} to resume from and to spare,",
        remedy="make room, train fewer --epochs, or keep the store on another disk "
        "(MLFLOW_TRACKING_URI=sqlite:////disk/mlflow.db)",
    )


def _first(names: Sequence[str], limit: int = 3) -> str:
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
