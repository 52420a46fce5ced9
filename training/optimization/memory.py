"""Memory of a training step: how many images it can hold."""

import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from classifier.networks.build import logits_of
from classifier.networks.image_classifier import ImageClassifier
from training.compute import Compute
from training.optimization.small_map_conv import speed_up_small_maps

SHARE = 0.4
"""Share of the memory for what the images of a step leave for its gradients. The rest
is for weights, momentum, gradients on their way, gaps in the heap, decoded images and
other programs: EfficientNet-Lite0 with 200 images of 128 x 128 keeps 5.4 GB and takes
9.2 in all."""

PIXELS = 16 * 64 * 64
"""In the smaller of two batches that are compared; small_map_conv.py takes other forms
in smaller ones. It has two images at least, as batch norm of a 1x1 map refuses one."""


def most_images(
    classifier: ImageClassifier, size: int, compute: Compute, *, processes: int = 1
) -> int:
    """How many `size` x `size` images fit in a step of all `processes` of a machine.

    A multiple of 8, or less than 8. The same each time on a machine, whatever else runs
    on it, so that a run can be repeated.
    """
    room = SHARE * memory(compute.device)
    if compute.device.type == "cuda":
        room *= processes
    fit = int(room / max(1, bytes_per_image(classifier, size, compute)))
    return fit if fit < 8 else fit // 8 * 8


def bytes_per_image(classifier: ImageClassifier, size: int, compute: Compute) -> int:
    """Bytes that a forward pass in training keeps for the backward pass, an image.

    The difference of two batches, one twice as large as the other, divided by the
    images that it has more: weights and their copies in bf16 cancel out.
    """
    trial = copy.deepcopy(classifier).train()
    if compute.device.type == "cpu":
        speed_up_small_maps(trial)
    few = max(2, PIXELS // size**2)
    less, more = (_kept_bytes(trial, n, size, compute) for n in (few, 2 * few))
    return (more - less) // few


def _kept_bytes(
    classifier: ImageClassifier, images: int, size: int, compute: Compute
) -> int:
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    device = compute.device
    zeros = torch.zeros(images, size, size, 3, dtype=torch.uint8, device=device)
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        compute.autocast(),
    ):
        outputs = logits_of(classifier(zeros))
        # Held until here: a freed block would be counted once for two tensors.
        del outputs
    return sum(kept.values())


def memory(device: torch.device, *, root: Path = Path("/")) -> int:
    """Bytes of the device, or those that this process may use of the machine's."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    limits = [_number(file) for file in _limits_of_groups(root)]
    limits.append(_total(root / "proc/meminfo"))
    return min(limit for limit in limits if limit is not None)


def _limits_of_groups(root: Path) -> Iterator[Path]:
    """The files of the limits of this process's control groups, and of those above.

    A container mostly sees its own group as the uppermost, a job of Slurm or systemd
    does not.
    """
    lines = (root / "proc/self/cgroup").read_text().splitlines()
    mine = [line.split(":", 2) for line in lines]
    v2 = root / "sys/fs/cgroup"
    for kind, top, name in (
        ("", v2, "memory.max"),
        ("memory", v2 / "memory", "memory.limit_in_bytes"),
    ):
        path = next((own for _, kinds, own in mine if kind in kinds.split(",")), "/")
        group = top / path.lstrip("/")
        for each in (group, *group.parents):
            if each.is_relative_to(top):
                yield each / name


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # absent, or `max`
        return None


def _total(meminfo: Path) -> int:
    lines = meminfo.read_text().splitlines()
    line = next(line for line in lines if line.startswith("MemTotal:"))
    return int(line.split()[1]) * 1024
