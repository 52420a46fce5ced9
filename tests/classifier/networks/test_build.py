"""Networks by name."""

import importlib.util
import py_compile
import sys
from pathlib import Path
from py_compile import PycInvalidationMode

import pytest
import torch
import torchvision

from classifier.bundle.network import (
    NetworkNotAllowed,
    NetworkSpec,
    UnfitSize,
    UnknownNetwork,
)
from classifier.networks.build import (
    auxiliary_weight,
    build_network,
    check_image_size,
    load_tensors,
    logits_of,
    new_spec,
    usual_size,
)

FUNCTION = """
from torch import nn

def build(classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, classes))

def broken(classes):
    return classes

def failing(classes):
    return {}[classes]
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the module `nets_of_a_user.small`; its package fails when imported
    before it may be."""
    package = tmp_path / "nets_of_a_user"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "small.py").write_text(FUNCTION)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [n for n in sys.modules if n.startswith("nets_of_a_user")]:
        monkeypatch.delitem(sys.modules, name)
    return package / "small.py"


def test_both_stems_have_torchvisions_state_dict_names() -> None:
    theirs = torchvision.models.resnet18(num_classes=7).state_dict()

    for stem in ("imagenet", "small"):
        spec = new_spec("resnet18", classes=7, stem=stem)
        assert list(build_network(spec, size=64).state_dict()) == list(theirs)


def test_the_size_is_the_networks_own_unless_it_takes_many() -> None:
    vit, many = "timm:vit_tiny_patch16_224", "timm:mobilenetv3_small_050"

    sizes = {name: usual_size(name) for name in ("swin_v2_t", "resnet18", vit, many)}

    assert sizes == {"swin_v2_t": 256, "resnet18": 64, vit: 224, many: 64}
    assert usual_size(many, otherwise=224) == 224
    assert usual_size("timm:haloregnetz_b") == 224  # its attention needs so many
    with pytest.raises(UnfitSize, match=f"{vit} takes images of 224 x 224 pixels only"):
        check_image_size(vit, 64)
    for name, size in ((vit, 224), (many, 96), ("resnet18", 40)):
        check_image_size(name, size)


def test_a_network_that_timm_lacks_is_unknown() -> None:
    for name in ("timm:resnet1", "timm:resnet18.no_such_weights"):
        with pytest.raises(UnknownNetwork, match="timm has no network 'resnet1"):
            usual_size(name)


def test_the_small_stem_keeps_the_resolution() -> None:
    spec = new_spec("resnet18", classes=7, stem="small")
    network = build_network(spec, size=32).eval()
    shapes = []
    network.get_submodule("layer1").register_forward_hook(
        lambda _m, _i, o: shapes.append(o.shape[2:])
    )

    network(torch.zeros(1, 3, 32, 32))

    assert shapes == [(32, 32)]


def test_googlenet_has_its_auxiliary_heads_in_training() -> None:
    network = build_network(new_spec("googlenet", classes=3, stem="imagenet"), size=64)
    images = torch.zeros(2, 3, 64, 64)

    assert [logits.shape for logits in network(images)] == [(2, 3)] * 3
    assert network.eval()(images).shape == (2, 3)
    assert auxiliary_weight(network) == 0.3


def test_inception_has_its_second_head_where_it_fits() -> None:
    spec = new_spec("inception_v3", classes=3, stem="imagenet")

    with torch.device("meta"):
        heads = [
            any(n.startswith("Aux") for n in build_network(spec, size=s).state_dict())
            for s in (75, 299)
        ]

    assert heads == [False, True]


def test_a_function_of_the_users_builds_a_network(module: Path) -> None:
    spec = new_spec("nets_of_a_user.small:build", classes=4, stem="imagenet")
    assert "nets_of_a_user" not in sys.modules

    network = build_network(spec, size=8, allowed={"nets_of_a_user.small:build"})

    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 4)


def test_a_function_runs_only_where_it_is_named(module: Path) -> None:
    spec = new_spec("nets_of_a_user.small:build", classes=4, stem="imagenet")

    with pytest.raises(NetworkNotAllowed, match="--allow-network nets_of_a_user"):
        build_network(spec, size=8, allowed={"nets_of_a_user.small:broken"})

    assert "nets_of_a_user" not in sys.modules


def test_a_changed_source_file_is_not_imported(module: Path) -> None:
    spec = new_spec("nets_of_a_user.small:build", classes=4, stem="imagenet")
    module.write_text(FUNCTION + "raise SystemExit")

    with pytest.raises(NetworkNotAllowed, match="has changed since"):
        build_network(spec, size=8, allowed={"nets_of_a_user.small:build"})


def test_cached_bytecode_of_other_code_is_not_run(module: Path) -> None:
    spec = new_spec("nets_of_a_user.small:build", classes=4, stem="imagenet")
    other = module.with_name("other.py")
    other.write_text("def build(classes):\n    raise SystemExit\n")
    cached = importlib.util.cache_from_source(str(module))
    py_compile.compile(
        str(other), cached, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH
    )

    network = build_network(spec, size=8, allowed={"nets_of_a_user.small:build"})

    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 4)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("nets_of_a_user.small:absent", "has no function 'absent'"),
        ("nets_of_a_user.small:broken", "must return an nn.Module, got int"),
        ("nets_of_a_user.small:failing", r"failed with KeyError: 4 \(.*small.py, line"),
    ],
)
def test_a_function_must_build_a_network(
    module: Path, function: str, reason: str
) -> None:
    spec = new_spec(function, classes=4, stem="imagenet")

    with pytest.raises(UnknownNetwork, match=reason):
        build_network(spec, size=8, allowed={function})


@pytest.mark.parametrize("name", ["nets_of_a_user.large:build", "no_such_module:build"])
def test_a_module_that_is_not_there_is_told(module: Path, name: str) -> None:
    with pytest.raises(UnknownNetwork, match="no source file of module"):
        new_spec(name, classes=4, stem="imagenet")


def test_an_imported_graph_has_no_network() -> None:
    spec = NetworkSpec("onnx", "imagenet", 3, source="onnx")

    with pytest.raises(UnknownNetwork, match="use the onnx backend"):
        build_network(spec, size=8)


def test_tensors_of_a_file_fit_a_module_that_asks_for_its_version() -> None:
    # torchvision's MNASNet refuses a state dict without torch's metadata.
    spec = NetworkSpec("mnasnet0_5", "imagenet", 3)
    made, other = (build_network(spec, size=32) for _ in range(2))

    load_tensors(other, dict(made.state_dict()))

    pairs = zip(made.state_dict().values(), other.state_dict().values(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_a_missing_tensor_is_named() -> None:
    network = build_network(NetworkSpec("tiny", "imagenet", 3), size=32)
    tensors = dict(network.state_dict())
    name, _ = tensors.popitem()

    with pytest.raises(RuntimeError, match=f"Missing .*{name}"):
        load_tensors(network, tensors)


@pytest.mark.parametrize("answer", [{"logits": torch.zeros(2, 3)}, (), (1.0,), None])
def test_what_is_no_logits_is_said_and_no_traceback(answer: object) -> None:
    with pytest.raises(UnknownNetwork, match=r"logits .* and answered"):
        logits_of(answer)


def test_absent_auxiliary_heads_have_no_logits() -> None:
    logits = torch.zeros(2, 3, dtype=torch.bfloat16)

    (found,) = logits_of((logits, None))

    assert found.dtype == torch.float32
