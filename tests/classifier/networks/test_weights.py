"""Weights to start from."""

import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn

from classifier.networks.build import build_network, new_spec
from classifier.networks.weights import (
    Fit,
    StartingWeights,
    UnfitWeights,
    WeightsNotFound,
    head_layers,
    imagenet_weights,
    load_weights,
    read_weights,
)

FAMILIES = {
    "alexnet": ["classifier.6"],
    "convnext_tiny": ["classifier.2"],
    "densenet121": ["classifier"],
    "efficientnet_b0": ["classifier.1"],
    "googlenet": ["aux1.fc2", "aux2.fc2", "fc"],
    "inception_v3": ["AuxLogits.fc", "fc"],
    "maxvit_t": ["classifier.5"],
    "mnasnet0_5": ["classifier.1"],
    "mobilenet_v3_small": ["classifier.3"],
    "regnet_y_400mf": ["fc"],
    "resnet18": ["fc"],
    "shufflenet_v2_x0_5": ["fc"],
    "squeezenet1_1": ["classifier.1"],
    "swin_t": ["head"],
    "vgg11": ["classifier.6"],
    "vit_b_16": ["heads.head"],
}


def network_of(classes: int, *, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    spec = new_spec("resnet18", classes=classes, stem="imagenet")
    return build_network(spec, size=64)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_head_of_each_family_has_one_output_a_class(name: str) -> None:
    # On the meta device nothing is drawn; RegNet computes its widths with tensors.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        network = build_network(new_spec(name, classes=7, stem="imagenet"), size=299)

    layers = head_layers(network)

    assert layers == FAMILIES[name]
    assert {len(network.get_parameter(f"{n}.weight")) for n in layers} == {7}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {f"module.{k}": v for k, v in state.items()},
        lambda state: {
            "epoch": 3,
            "state_dict": {f"model._orig_mod.{k}": v for k, v in state.items()},
        },
        lambda state: {"model": {"state_dict": state}, "optimizer": {}},
    ],
)
def test_files_of_usual_forms_are_read(
    wrap: Callable[[Mapping[str, Tensor]], Any], tmp_path: Path
) -> None:
    trained, network = network_of(5, seed=1), network_of(5)
    torch.save(wrap(trained.state_dict()), tmp_path / "weights.pth")

    fit = load_weights(network, read_weights(tmp_path / "weights.pth"))

    assert fit == Fit(head=(), missing=(), unused=())
    torch.testing.assert_close(network.state_dict(), trained.state_dict())


def test_a_head_of_other_classes_is_new(tmp_path: Path) -> None:
    trained, network = network_of(9, seed=1), network_of(5)
    fresh = network.get_parameter("fc.weight")
    before = fresh.detach().clone()
    safetensors.torch.save_file(trained.state_dict(), tmp_path / "weights.safetensors")

    weights = read_weights(tmp_path / "weights.safetensors")
    fit = load_weights(network, weights)

    assert fit == Fit(head=("fc.bias", "fc.weight"), missing=(), unused=())
    assert "the head is new" in fit.notes(weights.origin)[0]
    torch.testing.assert_close(fresh, before)
    torch.testing.assert_close(
        network.state_dict()["conv1.weight"], trained.state_dict()["conv1.weight"]
    )


def test_tensors_that_do_not_fit_are_listed() -> None:
    network = network_of(5)
    tensors = dict(network_of(5, seed=1).state_dict())
    del tensors["layer1.0.bn1.weight"]
    tensors["extra.scale"] = torch.zeros(3)
    tensors["bn1.weight"] = torch.zeros(1)

    fit = load_weights(network, StartingWeights(tensors, "weights.pth"))

    assert fit.missing == ("bn1.weight", "layer1.0.bn1.weight")
    assert fit.unused == ("bn1.weight", "extra.scale")
    assert [note.split(" ")[0] for note in fit.notes("weights.pth")] == ["2", "2"]


def test_weights_of_another_network_are_refused() -> None:
    other = torchvision.models.squeezenet1_1(num_classes=5).state_dict()

    with pytest.raises(UnfitWeights, match=r"0 of the network's 11,.*bn1\.bias"):
        load_weights(network_of(5), StartingWeights(other, "weights.pth"))


def test_a_pickle_with_code_is_not_run(tmp_path: Path) -> None:
    torch.save(network_of(2), tmp_path / "whole.pth")

    with pytest.raises(UnfitWeights, match="save the state dict alone"):
        read_weights(tmp_path / "whole.pth")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("w.pth", b"hello", "no file of weights|more than tensors"),
        ("w.pth", b"", "no file of weights"),
        ("w.safetensors", b"\0" * 20, "no file of weights"),
    ],
)
def test_damaged_files_are_refused(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(UnfitWeights, match=reason):
        read_weights(tmp_path / name)


def test_a_file_of_other_things_says_what_it_has(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "numbers.pth")

    with pytest.raises(UnfitWeights, match="has list and no state dict"):
        read_weights(tmp_path / "list.pth")
    with pytest.raises(UnfitWeights, match="no tensors; its keys are epoch"):
        read_weights(tmp_path / "numbers.pth")
    with pytest.raises(UnfitWeights, match="is no file; give a"):
        read_weights(tmp_path / "absent.pth")


def test_without_a_connection_a_download_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    spec = new_spec("squeezenet1_1", classes=3, stem="imagenet")

    with pytest.raises(WeightsNotFound, match="give the file: --weights FILE"):
        imagenet_weights(spec, size=None)


def test_downloaded_weights_bring_their_transforms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        torchvision.models.WeightsEnum, "get_state_dict", lambda self, **_: {}
    )
    found = {}
    for name in ("mobilenet_v3_large", "maxvit_t", "inception_v3"):
        spec = new_spec(name, classes=3, stem="imagenet")
        found[name] = imagenet_weights(spec, size=None).preprocessing

    large, maxvit, inception = found.values()
    assert large is not None
    assert maxvit is not None
    assert inception is not None
    assert (large.height, large.resize_to) == (224, 232)
    assert (maxvit.height, maxvit.resize_to) == (224, 224)
    assert maxvit.resize == "bicubic-antialias"
    assert (inception.height, inception.resize_to) == (299, 342)
    assert inception.mean == (0.5, 0.5, 0.5)


def test_tiny_has_no_weights_of_imagenet() -> None:
    with pytest.raises(UnfitWeights, match="has no weights of ImageNet"):
        imagenet_weights(new_spec("tiny", classes=3, stem="small"), size=None)
