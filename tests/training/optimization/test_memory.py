"""How many images fit in a step."""

from pathlib import Path

import pytest
import torch
from torch import nn

from classifier.bundle.preprocessing import Preprocessing
from classifier.networks.image_classifier import ImageClassifier
from training.compute import Compute
from training.optimization import memory

CPU = Compute(torch.device("cpu"), "fp32")
PLANE = 32 * 32 * 4
"""Bytes of a channel of a 32 x 32 image."""


def _classifier(*layers: nn.Module) -> ImageClassifier:
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return ImageClassifier(network, Preprocessing(32, 32))


def test_what_the_backward_pass_needs_is_counted_once() -> None:
    # The convolutions keep their inputs, of 3 and of 8 channels; the rectifier keeps
    # its output, which is the second one's input.
    classifier = _classifier(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1)
    )

    taken = memory.bytes_per_image(classifier, 32, CPU)

    # What is left are shapes and the pooled means.
    assert 11 * PLANE <= taken < 12 * PLANE


def test_sums_of_small_maps_are_counted() -> None:
    classifier = _classifier(
        nn.MaxPool2d(4),
        nn.Conv2d(3, 64, 1),
        nn.Conv2d(64, 64, 3, padding=1, bias=False),
    )

    taken = memory.bytes_per_image(classifier, 32, CPU)

    # 144 of them for 64 pixels.
    assert taken > 64 * 144 * 4


def test_copies_of_weights_in_bf16_are_not_of_an_image() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 64))
    classifier = ImageClassifier(network, Preprocessing(32, 32))
    compute = Compute(torch.device("cpu"), "bf16")

    # The layer's input, in bf16; the copy of the weight has 64 times as much.
    assert memory.bytes_per_image(classifier, 32, compute) == 3 * 32 * 32 * 2


def test_layers_that_do_not_learn_need_no_memory() -> None:
    classifier = _classifier(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    classifier.requires_grad_(False)

    assert memory.bytes_per_image(classifier, 32, CPU) == 0


def test_the_classifier_and_random_numbers_stay_as_they_are() -> None:
    classifier = _classifier(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    before = {name: t.clone() for name, t in classifier.state_dict().items()}
    state = torch.get_rng_state()

    memory.bytes_per_image(classifier, 32, CPU)

    after = classifier.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("images", "most"), [(4.9, 4), (8.1, 8), (203.0, 200)])
def test_images_fill_their_share_of_the_memory(
    images: float, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = _classifier(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    taken = memory.bytes_per_image(classifier, 32, CPU)
    monkeypatch.setattr(
        memory, "memory", lambda device: int(images * taken / memory.SHARE)
    )

    assert memory.most_images(classifier, 32, CPU) == most


@pytest.mark.parametrize(
    ("file", "text", "limit"),
    [
        ("memory.max", "max\n", 16_000_000 * 1024),
        ("memory.max", "4000000\n", 4_000_000),
        ("memory/memory.limit_in_bytes", "5000000\n", 5_000_000),
        ("slurm/job_7/memory.max", "6000000\n", 6_000_000),
        ("slurm/memory.max", "7000000\n", 7_000_000),
        ("memory/docker/1a/memory.limit_in_bytes", "8000000\n", 8_000_000),
        ("slurm/job_8/memory.max", "9000000\n", 16_000_000 * 1024),
    ],
)
def test_a_container_or_a_job_has_the_memory_that_it_was_given(
    tmp_path: Path, file: str, text: str, limit: int
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(
        "4:cpu,memory:/docker/1a\n1:name=systemd:/x\n0::/slurm/job_7\n"
    )
    (tmp_path / "proc/meminfo").write_text(
        "MemTotal:       16000000 kB\nMemFree: 1 kB\n"
    )
    (tmp_path / "sys/fs/cgroup" / file).parent.mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup" / file).write_text(text)

    assert memory.memory(CPU.device, root=tmp_path) == limit
