"""network.json."""

from typing import Any

import pytest
from torchvision import models

from classifier.bundle.network import (
    TORCHVISION_NETWORKS,
    NetworkSpec,
    check_size,
    default_size,
    source_of,
)

DIGEST = "0123456789abcdef" * 4


def test_the_names_are_torchvisions() -> None:
    assert list(TORCHVISION_NETWORKS) == models.list_models(module=models)


@pytest.mark.parametrize(
    "spec",
    [
        NetworkSpec("resnet50", "small", 3, source="torchvision"),
        NetworkSpec("vit_b_16", "imagenet", 3, source="torchvision"),
        NetworkSpec("convnext_atto.d2_in1k", "imagenet", 3, source="timm"),
        NetworkSpec("a.b:c", "imagenet", 3, source="a.b:c", source_sha256=DIGEST),
        NetworkSpec("onnx", "imagenet", 3, source="onnx"),
        NetworkSpec("tiny", "small", 3),
    ],
)
def test_a_network_survives_json(spec: NetworkSpec) -> None:
    assert NetworkSpec.from_json(spec.to_json()) == spec


def test_a_network_of_the_first_wave_is_read() -> None:
    found = {"architecture": "resnet18", "stem": "small", "classes": 3}

    assert NetworkSpec.from_json(found) == NetworkSpec("resnet18", "small", 3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"architecture": "resnet19"}, "torchvision has no architecture 'resnet19'"),
        ({"architecture": ["resnet18"]}, "architecture must be text"),
        ({"source": None, "architecture": "resnet50"}, "tiny or resnet18"),
        ({"source": "hub"}, "source must be torchvision, timm, onnx or"),
        ({"source": "timm", "architecture": "a b"}, "timm has no architecture"),
        ({"source": "nets:build"}, "source_sha256 belongs to a function"),
        ({"source_sha256": DIGEST}, "source_sha256 belongs to a function"),
        ({"source": "nets:build", "source_sha256": "abc"}, "must be 64 hex digits"),
        ({"stem": "large"}, "stem must be imagenet or small"),
        ({"architecture": "vgg11", "stem": "small"}, "only ResNets have the stem"),
        ({"heads": 2}, "'heads' is not known"),
    ],
)
def test_wrong_fields_are_found(change: dict[str, Any], reason: str) -> None:
    fields = NetworkSpec("resnet18", "imagenet", 3, source="torchvision").to_json()

    with pytest.raises(ValueError, match=reason):
        NetworkSpec.from_json({**fields, **change})


def test_sources_follow_from_the_typed_name() -> None:
    names = ("tiny", "vgg11", "timm:resnet50.a1_in1k", "mynets:build", "a.b:c")

    assert [source_of(name) for name in names] == [
        None, "torchvision", "timm", "mynets:build", "a.b:c",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mobilenet_v3", "do you mean mobilenet_v3_large, mobilenet_v3_small"),
        ("lenet", "do you mean alexnet"),
        ("timm:", "got 'timm:'"),
        ("nets:build()", "got 'nets:build"),
        ("", "got ''; do you mean alexnet"),
    ],
)
def test_a_name_of_no_network_is_refused(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        source_of(name)


def test_networks_of_one_size_refuse_others() -> None:
    for name, size in (("vit_b_16", 64), ("swin_v2_t", 224), ("inception_v3", 74)):
        with pytest.raises(ValueError, match=f"{name} takes images of"):
            check_size(name, size)
        check_size(name, default_size(name))

    assert [default_size(n) for n in ("vit_b_16", "swin_v2_t", "resnet18")] == [
        224, 256, 64,
    ]  # fmt: skip
