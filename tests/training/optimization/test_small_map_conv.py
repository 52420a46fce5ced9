"""Convolutions onto small maps: the same numbers, and nothing else changes."""

import copy
import operator
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from classifier.bundle.network import NetworkSpec
from classifier.networks.build import build_network
from training.optimization import small_map_conv
from training.optimization.small_map_conv import speed_up_small_maps

SIZES = [(1, 1, 1), (2, 2, 1), (1, 2, 1), (2, 1, 1), (4, 4, 2), (3, 4, 2), (1, 2, 2)]


def _layer(**different: object) -> nn.Conv2d:
    torch.manual_seed(0)
    options = {"kernel_size": 3, "padding": 1, "bias": False, **different}
    network = nn.Sequential(nn.Conv2d(16, 24, **options))  # type: ignore[arg-type]
    speed_up_small_maps(network)
    layer = network.to(memory_format=torch.channels_last)[0]
    assert isinstance(layer, nn.Conv2d)
    return layer


def _spied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the inputs that are computed as products from now on."""
    taken: list[tuple[int, ...]] = []
    product = small_map_conv._product

    def noted(inputs: Tensor, weight: Tensor, *, stride: int) -> Tensor:
        taken.append(tuple(inputs.shape))
        return product(inputs, weight, stride=stride)

    monkeypatch.setattr(small_map_conv, "_product", noted)
    return taken


def _last_stage_of_resnet18() -> nn.Module:
    network = build_network(NetworkSpec("resnet18", "imagenet", 10), size=64)
    return network.get_submodule("layer4")


def _bf16() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def _gradients(
    call: Callable[[Tensor], Tensor], inputs: Tensor, weight: Tensor
) -> list[Tensor]:
    """The output, and the gradients of a fixed function of it."""
    inputs = inputs.clone().requires_grad_()
    outputs = call(inputs)
    downstream = torch.linspace(-1, 1, outputs.numel()).view(outputs.shape)
    loss = (outputs.float() * downstream).sum()
    return [outputs.detach(), *torch.autograd.grad(loss, (inputs, weight))]


@pytest.mark.parametrize(("height", "width", "stride"), SIZES)
def test_outputs_and_gradients_are_those_of_the_convolution(
    monkeypatch: pytest.MonkeyPatch, height: int, width: int, stride: int
) -> None:
    taken = _spied(monkeypatch)
    layer = _layer(stride=stride)
    inputs = torch.randn(8, 16, height, width)

    with _bf16():
        short = _gradients(layer, inputs, layer.weight)

    exact = _gradients(
        lambda x: conv2d(x, layer.weight, padding=1, stride=stride),
        inputs,
        layer.weight,
    )
    assert taken == [(8, 16, height, width)]
    for ours, fp32 in zip(short, exact, strict=True):
        assert ours.shape == fp32.shape
        # bf16 keeps 8 bits; four roundings of the largest terms add up.
        assert (ours - fp32).abs().max() < 4 * 2**-8 * fp32.abs().max()


def test_outputs_keep_the_type_and_memory_order_of_the_convolution() -> None:
    layer = _layer()
    inputs = torch.randn(8, 16, 2, 2).to(memory_format=torch.channels_last)

    with _bf16():
        outputs = layer(inputs)
        outputs.sum().backward()

    assert outputs.dtype == torch.bfloat16
    assert outputs.is_contiguous(memory_format=torch.channels_last)
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
    assert layer.weight.grad.stride() == layer.weight.stride()


def test_all_other_calls_are_the_convolution_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = _spied(monkeypatch)
    layer, inputs = _layer(), torch.randn(8, 16, 2, 2)
    expected = conv2d(inputs, layer.weight, padding=1)

    in_fp32 = layer(inputs)
    with torch.autocast("cpu", dtype=torch.float16):
        layer(inputs)
    with _bf16():
        layer(torch.randn(8, 16, 3, 2))
        layer.eval()(inputs)

    assert torch.equal(in_fp32, expected)
    assert torch.equal(layer(inputs), expected)
    assert taken == []


@pytest.mark.parametrize(
    "different",
    [
        {"bias": True},
        {"kernel_size": 1, "padding": 0},
        {"padding": 0},
        {"padding": "same"},
        {"dilation": 2, "padding": 2},
        {"groups": 2},
        {"stride": (1, 2)},
        {"stride": 3},
        {"padding_mode": "circular"},
    ],
)
def test_other_layers_are_left_alone(different: dict[str, object]) -> None:
    assert type(_layer(**different)) is nn.Conv2d


def test_a_network_stays_the_same_in_evaluation_and_export() -> None:
    network = _last_stage_of_resnet18().eval()
    parameters = list(network.parameters())
    inputs = torch.randn(2, 256, 4, 4)
    names, answers = list(network.state_dict()), network(inputs)
    graph = torch.export.export(network, (inputs,)).graph_module.code
    described = repr(network)

    speed_up_small_maps(network)

    assert list(network.state_dict()) == names
    assert all(map(operator.is_, network.parameters(), parameters))
    assert torch.equal(network(inputs), answers)
    assert torch.export.export(network, (inputs,)).graph_module.code == graph
    assert repr(network) == described


def test_a_copy_computes_with_weights_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = _spied(monkeypatch)
    layer, inputs = _layer(), torch.randn(8, 16, 2, 2)

    copied = copy.deepcopy(layer)
    with torch.no_grad():
        copied.weight.zero_()
    with _bf16():
        outputs = copied(inputs)

    assert len(taken) == 1
    assert (outputs == 0).all()
    copied.eval()
    assert layer.training


def test_resnet18_at_64_pixels_has_four_layers_that_are_computed_as_products(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = _spied(monkeypatch)
    stage = _last_stage_of_resnet18()
    speed_up_small_maps(stage)

    with _bf16():
        stage(torch.randn(4, 256, 4, 4))  # what the earlier stages make of 64 pixels

    assert taken == [(4, 256, 4, 4), *[(4, 512, 2, 2)] * 3]
