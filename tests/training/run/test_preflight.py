"""What would spoil a run is told before its first step, with the remedy."""

import copy
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from classifier.bundle.labels import Labels
from classifier.bundle.network import NetworkSpec
from classifier.bundle.preprocessing import Preprocessing
from classifier.datasets.dataset import BadDataset
from classifier.metrics import IntArray
from classifier.networks.build import build_network
from classifier.networks.image_classifier import ImageClassifier
from classifier.storage import DiskTooSmall
from tests.conftest import picture
from training.compute import Compute, World
from training.data.batches import Batches
from training.data.decoded_images import DecodedPart
from training.optimization.trainer import Trainer
from training.recipes import RECIPES
from training.run.preflight import (
    NetworkUnfit,
    StoreInTheWay,
    check_images,
    check_network,
    check_store,
    size_notes,
)

DEFAULT = "sqlite:///mlflow.db"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a store."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _notes(uri: str, *, epochs: int = 1) -> list[str]:
    return check_store(uri, epochs=epochs, weight_bytes=1000)


def _stale(folder: Path, experiment: str = "0") -> Path:
    path = folder / "mlruns" / experiment / "meta.yaml"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def test_a_store_that_plain_mlflow_ui_shows_needs_no_words(here: Path) -> None:
    _stale(here, "digits")  # an experiment's folder of ours, whatever lies in it

    assert _notes(DEFAULT) == []
    assert _notes(f"sqlite:///{here / 'mlflow.db'}") == []


@pytest.mark.parametrize(
    ("uri", "note"),
    [
        ("sqlite:////elsewhere/x.db", "--backend-store-uri sqlite:////elsewhere/x.db"),
        (
            "sqlite:///sub/mlflow.db",
            r"--backend-store-uri sqlite:////.*/sub/mlflow\.db",
        ),
        ("http://mlflow:5000", "the run is shown at http://mlflow:5000"),
    ],
)
@pytest.mark.usefixtures("here")
def test_another_store_is_told_with_the_way_to_see_it(uri: str, note: str) -> None:
    (told,) = _notes(uri)

    assert re.search(note, told)


def test_files_of_an_old_store_are_named_with_the_remedy(here: Path) -> None:
    stale = _stale(here)

    with pytest.raises(StoreInTheWay) as refusal:
        _notes(DEFAULT)

    assert str(stale) in str(refusal.value)
    remedy = "mlflow migrate-filestore --source mlruns --target sqlite:///mlflow.db`"
    assert remedy in str(refusal.value)


def test_the_remedy_for_an_old_store_does_not_overwrite_the_new_one(
    here: Path,
) -> None:
    _stale(here)
    (here / "mlflow.db").touch()

    with pytest.raises(StoreInTheWay, match=r"--target sqlite:///old-runs\.db"):
        _notes(DEFAULT)


def test_an_old_store_beside_another_database_is_not_in_the_way(here: Path) -> None:
    _stale(here)

    assert len(_notes("sqlite:///other.db")) == 1


@pytest.mark.usefixtures("here")
def test_a_run_that_does_not_fit_the_disk_is_refused() -> None:
    with pytest.raises(
        DiskTooSmall, match=r"1000000000 versions of 1 MB each.* MB are free there; .*"
    ):
        _notes(DEFAULT, epochs=10**9)


def test_a_class_without_training_images_is_named() -> None:
    labels = Labels.from_ids(["ant", "bee", "cat"])

    check_images(np.array([2, 1, 0]), labels)
    with pytest.raises(BadDataset, match=r"1 of 3 classes .* decodes: bee; add some"):
        check_images(np.array([0, 2, 2]), labels)


def _images(count: int = 6, size: int = 32) -> NDArray[np.uint8]:
    return np.stack([np.asarray(picture(size, size, seed)) for seed in range(count)])


def _targets(count: int, classes: int) -> IntArray:
    return np.arange(count) % classes


def _classifier(
    architecture: str = "resnet18", *, classes: int = 3, stem: str = "imagenet"
) -> ImageClassifier:
    torch.manual_seed(0)
    network = build_network(NetworkSpec(architecture, stem, classes), size=64)
    return ImageClassifier(network, Preprocessing(32, 32))


def _check(classifier: ImageClassifier, *, classes: int = 3) -> None:
    images = _images()
    targets = _targets(len(images), classes)
    check_network(classifier, images, targets, classes=classes)


@pytest.mark.parametrize("stem", ["imagenet", "small"])
@pytest.mark.parametrize("architecture", ["resnet18", "tiny"])
@pytest.mark.parametrize("classes", [2, 200])
def test_a_fresh_network_passes(architecture: str, stem: str, classes: int) -> None:
    _check(_classifier(architecture, classes=classes, stem=stem), classes=classes)


def test_batch_norm_that_has_learnt_no_statistics_passes() -> None:
    # As in Inception v3, whose outputs grow from layer to layer until it has.
    layers = [
        layer
        for channels in (3, 8, 8, 8)
        for layer in (nn.Conv2d(channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    ]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.append(nn.Linear(8, 3))
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=10)
    classifier = ImageClassifier(network, Preprocessing(32, 32))
    before = [tensor.clone() for tensor in network.state_dict().values()]

    _check(classifier)

    after = network.state_dict().values()
    assert all(map(torch.equal, before, after))


@pytest.mark.parametrize("count", [1, 2])
def test_a_handful_of_images_is_enough(count: int) -> None:
    images = _images(count, size=8)

    check_network(_classifier(), images, _targets(count, 3), classes=3)


def test_a_head_of_another_number_of_classes_is_refused() -> None:
    with pytest.raises(NetworkUnfit, match=r"\(6, 4\) for 6 images of 3 classes"):
        _check(_classifier(classes=4))


def test_a_head_with_weights_far_too_large_is_refused() -> None:
    classifier = _classifier()
    torch.nn.init.normal_(list(classifier.parameters())[-2])

    with pytest.raises(NetworkUnfit, match=f"3 classes has {math.log(3):.4g}"):
        _check(classifier)


def test_images_that_are_not_normalised_are_refused() -> None:
    classifier = _classifier()
    classifier.channel_means.zero_()
    classifier.channel_stds.fill_(1)

    with pytest.raises(NetworkUnfit, match=r"normalised images reach 2\d\d, "):
        _check(classifier)


def test_weights_that_are_no_numbers_are_refused() -> None:
    classifier = _classifier()
    with torch.no_grad():
        next(classifier.parameters())[0] = torch.nan

    with pytest.raises(NetworkUnfit, match="loss is nan"):
        _check(classifier)


@pytest.mark.parametrize("is_training", [True, False])
def test_a_run_is_the_same_to_the_bit_with_and_without_the_check(
    is_training: bool,
) -> None:
    checked = _classifier().train(is_training)
    unchecked = copy.deepcopy(checked)
    randomness = torch.get_rng_state()

    _check(checked)

    assert torch.equal(torch.get_rng_state(), randomness)
    assert checked.training == checked.network.training == is_training
    _train(checked)
    _train(unchecked)
    expected = unchecked.state_dict()
    for name, tensor in checked.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def _train(classifier: ImageClassifier) -> None:
    images = _images()
    names = tuple(map(str, range(len(images))))
    cpu = torch.device("cpu")
    part = DecodedPart(names, images, _targets(len(images), 3), digest="")
    batches = Batches(part, batch_size=4, seed=0, device=cpu, world=World())
    compute = Compute(cpu, "fp32")
    trainer = Trainer(classifier, batches, RECIPES["strong"], compute=compute, epochs=1)
    trainer.run_epoch(1)


LABELS = Labels(("a", "b", "c"), ("a", "b", "c"))


def _size_notes(
    counts: tuple[int, int, int], *, batch_size: int, steps: int, val_images: int = 500
) -> list[str]:
    targets = np.repeat(np.arange(3), counts)
    return size_notes(
        targets, LABELS, batch_size=batch_size, steps=steps, val_images=val_images
    )


def test_a_data_set_that_is_large_enough_needs_no_words() -> None:
    assert _size_notes((100, 100, 100), batch_size=15, steps=20) == []


@pytest.mark.parametrize(
    ("counts", "batch_size", "steps", "words"),
    [
        (
            (100, 100, 100),
            256,
            2,
            "an epoch is 2 steps, as a batch holds 256 of 300 training images; a "
            "network learns little from so few: leave out --batch-size, which gives "
            "batches of 15",
        ),
        (
            (50, 50, 100),
            256,
            1,
            "an epoch is 1 step, as a batch holds all 200 of 200 training images",
        ),
        ((3, 3, 3), 2, 4, "from so few: train more --epochs"),
        (
            (1, 2, 400),
            20,
            21,
            "2 of 3 classes have 2 training images or fewer, too few to learn from: a "
            "(1), b (2)",
        ),
    ],
)
def test_what_will_not_work_is_said(
    counts: tuple[int, int, int], batch_size: int, steps: int, words: str
) -> None:
    (note,) = _size_notes(counts, batch_size=batch_size, steps=steps)

    assert words in note


def test_batches_of_several_processes_are_not_called_too_large() -> None:
    """Two images for each of 8 processes: leaving out --batch-size gives the same."""
    (note,) = size_notes(
        np.repeat(np.arange(3), 13),
        LABELS,
        batch_size=16,
        processes=8,
        steps=2,
        val_images=500,
    )

    assert note.endswith("train more --epochs")


def test_few_validation_images_tell_little() -> None:
    (note,) = _size_notes((100,) * 3, batch_size=15, steps=20, val_images=25)

    assert note.startswith(
        "25 validation images measure an accuracy of 50 % to 20 points"
    )


def test_a_lone_training_image_is_refused() -> None:
    with pytest.raises(BadDataset, match="one training image, and batch norm needs"):
        check_images(np.array([0]), LABELS)


def test_a_lone_class_is_refused() -> None:
    with pytest.raises(BadDataset, match="'cat' is the only class, and there is"):
        check_images(np.array([0, 0]), Labels.from_ids(["cat"]))
