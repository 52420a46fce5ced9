"""Conventional training: ImageFolder, workers, fp32, `log_model` each epoch.

It follows imagenet/main.py of pytorch/examples, with MLflow's fluent calls, and prints
a line of JSON per epoch: images, and seconds of training, validation and logging.
"""

import argparse
import copy
import json
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import mlflow
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

from benchmarks.training_programs import arrange, existing_folder

MODEL = "conventional"
PRINT_FREQUENCY = 10
"""Steps between two logged points, as in the example."""

Batches = DataLoader[tuple[Tensor, Tensor]]


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        if (arguments.data / "val" / "val_annotations.txt").is_file():
            arguments.data = arrange(str(arguments.data), Path(folder))
        mlflow.set_experiment(MODEL)
        with mlflow.start_run():
            _run(arguments)


def _run(arguments: argparse.Namespace) -> None:
    torch.manual_seed(arguments.seed)
    train_loader = _loader(arguments.data / "train", arguments, shuffle=True)
    val_loader = _loader(arguments.data / "val", arguments, shuffle=False)
    example = torch.stack([val_loader.dataset[index][0] for index in range(2)])
    classes = len(list((arguments.data / "train").iterdir()))
    network = models.get_model(arguments.arch, num_classes=classes)
    network.to(arguments.device)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4
    )
    mlflow.log_params({"batch_size": arguments.batch_size, "lr": 0.1})
    for epoch in range(1, arguments.epochs + 1):
        started = time.perf_counter()
        images = _train(
            network,
            islice(train_loader, arguments.steps_limit),
            optimizer,
            first_step=(epoch - 1) * len(train_loader),
        )
        trained = time.perf_counter()
        metrics = _validate(network, val_loader)
        validated = time.perf_counter()
        _log_epoch(network, metrics, epoch, example=example)
        line = {
            "epoch": epoch,
            "images": images,
            "seconds_training": trained - started,
            "seconds_validation": validated - trained,
            "seconds_logging": time.perf_counter() - validated,
        }
        print(json.dumps(line), flush=True)


def _loader(folder: Path, arguments: argparse.Namespace, *, shuffle: bool) -> Batches:
    transform = transforms.Compose(
        [
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    return DataLoader(
        datasets.ImageFolder(folder, transform),
        batch_size=arguments.batch_size,
        shuffle=shuffle,
        num_workers=arguments.workers,
        pin_memory=arguments.device == "cuda",
    )


def _train(
    network: nn.Module,
    batches: Iterator[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    *,
    first_step: int,
) -> int:
    """Train one epoch; return its number of images."""
    criterion = nn.CrossEntropyLoss()
    device = next(network.parameters()).device
    sums, images = np.zeros(3), 0
    network.train()
    for index, (inputs, targets) in enumerate(batches):
        inputs = inputs.to(device, non_blocking=True)
        targets = targets.to(device, non_blocking=True)
        logits = network(inputs)
        loss = criterion(logits, targets)
        sums += _sums(loss, logits, targets)
        images += len(targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if index % PRINT_FREQUENCY == 0:
            names = ("train_loss", "train_acc1", "train_acc5")
            averages = dict(zip(names, sums / images, strict=True))
            mlflow.log_metrics(averages, step=first_step + index)
    return images


def _validate(network: nn.Module, batches: Batches) -> dict[str, float]:
    criterion = nn.CrossEntropyLoss()
    device = next(network.parameters()).device
    sums, images = np.zeros(3), 0
    network.eval()
    with torch.no_grad():
        for inputs, targets in batches:
            inputs = inputs.to(device, non_blocking=True)
            targets = targets.to(device, non_blocking=True)
            logits = network(inputs)
            sums += _sums(criterion(logits, targets), logits, targets)
            images += len(targets)
    return dict(zip(("val_loss", "val_acc1", "val_acc5"), sums / images, strict=True))


def _sums(loss: Tensor, logits: Tensor, targets: Tensor) -> tuple[float, ...]:
    """Sums over a batch: loss, top-1 hits, top-5 hits."""
    top = logits.topk(min(5, logits.shape[1])).indices
    hits = top == targets[:, None]
    top1, top5 = hits[:, 0].sum().item(), hits.sum().item()
    return loss.item() * len(targets), top1, top5


def _log_epoch(
    network: nn.Module, metrics: dict[str, float], epoch: int, *, example: Tensor
) -> None:
    mlflow.log_metrics(metrics, step=epoch)
    mlflow.pytorch.log_model(
        # A graph exported on a GPU does not load on a machine without one.
        copy.deepcopy(network).cpu().eval(),
        name=f"epoch-{epoch}",
        input_example=example.numpy(),
        registered_model_name=MODEL,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train as most people do.")
    parser.add_argument("--data", type=existing_folder, required=True)
    parser.add_argument("--arch", default="resnet18", help="a network of torchvision")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps-limit", type=int, help="stop an epoch after N steps")
    return parser.parse_args()


if __name__ == "__main__":
    main()
