"""Convolutions onto small maps: the same numbers, and nothing else changes."""

import copy
import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from classifier.bundle.network import NetworkSpec
from classifier.networks.build import build_network
from training.optimization import small_map_conv
from training.optimization.small_map_conv import speed_up_small_maps

SIZES = [(1, 1, 1), (2, 2, 1), (1, 2, 1), (2, 1, 1), (4, 4, 2), (3, 4, 2), (1, 2, 2)]


SUMMED = [(1, 1), (2, 2), (1, 2), (4, 4), (8, 8), (7, 7), (4, 8), (16, 16), (2, 8)]
"""Sizes of maps that fp32 computes with sums."""


def _layer(channels: int = 16, **different: Any) -> nn.Conv2d:
    torch.manual_seed(0)
    options = {"kernel_size": 3, "padding": 1, "bias": False, **different}
    network = nn.Sequential(nn.Conv2d(channels, channels + 8, **options))
    speed_up_small_maps(network)
    layer = network.to(memory_format=torch.channels_last)[0]
    assert isinstance(layer, nn.Conv2d)
    return layer


def _spied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the inputs that are computed in another way from now on."""
    taken: list[tuple[int, ...]] = []
    product, filtered = small_map_conv._product, small_map_conv._filtered
    one = small_map_conv._linear

    def noted(inputs: Tensor, weight: Tensor, *, stride: int) -> Tensor:
        taken.append(tuple(inputs.shape))
        return product(inputs, weight, stride=stride)

    def noted_too(inputs: Tensor, weight: Tensor) -> Tensor:
        taken.append(tuple(inputs.shape))
        return filtered(inputs, weight)

    def noted_1x1(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        taken.append(tuple(inputs.shape))
        return one(inputs, weight, bias)

    monkeypatch.setattr(small_map_conv, "_linear", noted_1x1)
    monkeypatch.setattr(small_map_conv, "_product", noted)
    monkeypatch.setattr(small_map_conv, "_filtered", noted_too)
    return taken


def _resnet18() -> nn.Module:
    return build_network(NetworkSpec("resnet18", "imagenet", 10), size=64)


def _last_stage_of_resnet18() -> nn.Module:
    return _resnet18().get_submodule("layer4")


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
def test_bf16_outputs_and_gradients_are_those_of_the_convolution(
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


@pytest.mark.parametrize(("height", "width"), SUMMED)
def test_fp32_outputs_and_gradients_are_those_of_the_convolution(
    monkeypatch: pytest.MonkeyPatch, height: int, width: int
) -> None:
    taken = _spied(monkeypatch)
    layer = _layer(128)
    inputs = torch.randn(64, 128, height, width)

    _check_against_float64(layer, inputs)

    assert taken == [(64, 128, height, width)]


@pytest.mark.parametrize(("height", "width"), [(4, 4), (3, 4), (1, 2)])
def test_fp32_outputs_and_gradients_with_stride_2_are_those_of_the_convolution(
    monkeypatch: pytest.MonkeyPatch, height: int, width: int
) -> None:
    taken = _spied(monkeypatch)
    layer = _layer(stride=2)

    _check_against_float64(layer, torch.randn(8, 16, height, width))

    assert taken == [(8, 16, height, width)]


@pytest.mark.parametrize("bias", [False, True])
def test_fp32_outputs_and_gradients_of_1x1_are_those_of_the_convolution(
    monkeypatch: pytest.MonkeyPatch, bias: bool
) -> None:
    taken = _spied(monkeypatch)
    layer = _layer(kernel_size=1, padding=0, bias=bias)
    inputs = torch.randn(8, 16, 2, 3)

    ours = _gradients(layer, inputs, layer.weight)

    exact = _gradients(
        lambda x: conv2d(x, layer.weight, layer.bias), inputs, layer.weight
    )
    assert taken == [(8, 16, 2, 3)]
    for product, convolution in zip(ours, exact, strict=True):
        torch.testing.assert_close(product, convolution, rtol=1e-5, atol=1e-5)


def _check_against_float64(layer: nn.Conv2d, inputs: Tensor) -> None:
    ours = _gradients(layer, inputs, layer.weight)
    weight = layer.weight.detach().double().requires_grad_()
    exact = _gradients(
        lambda x: conv2d(x, weight, padding=1, stride=layer.stride),
        inputs.double(),
        weight,
    )
    for fp32, fp64 in zip(ours, exact, strict=True):
        assert fp32.dtype == torch.float32
        assert fp32.shape == fp64.shape
        # fp32 keeps 24 bits, and sums of sums lose nine of them.
        assert (fp32 - fp64).abs().max() < 2**-15 * fp64.abs().max()


def test_fp32_maps_of_little_work_are_left_to_the_convolution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = _spied(monkeypatch)

    _layer(16)(torch.randn(64, 16, 4, 4))  # few channels
    _layer(64)(torch.randn(64, 64, 16, 16))  # few for the size of the map
    _layer(64)(torch.randn(8, 64, 2, 2))  # few images
    _layer(kernel_size=1, padding=0)(torch.randn(64, 16, 8, 8))  # enough pixels
    _layer(64)(torch.randn(64, 64, 5, 5))  # tiles that are mostly empty
    _layer(64).double()(torch.randn(64, 64, 4, 4).double())

    assert taken == []


@pytest.mark.parametrize("in_bf16", [False, True])
def test_outputs_keep_the_type_and_memory_order_of_the_convolution(
    in_bf16: bool,
) -> None:
    layer = _layer(64)
    inputs = torch.randn(16, 64, 2, 2).to(memory_format=torch.channels_last)

    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=in_bf16):
        outputs = layer(inputs)
        outputs.sum().backward()

    assert outputs.dtype == (torch.bfloat16 if in_bf16 else torch.float32)
    assert outputs.is_contiguous(memory_format=torch.channels_last)
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
    assert layer.weight.grad.stride() == layer.weight.stride()


def test_all_other_calls_are_the_convolution_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = _spied(monkeypatch)
    layer, inputs = _layer(64), torch.randn(16, 64, 2, 2)
    expected = conv2d(inputs, layer.weight, padding=1)

    with torch.autocast("cpu", dtype=torch.float16):
        layer(inputs)
    with _bf16():
        layer(torch.randn(16, 64, 3, 2))
        layer.eval()(inputs)

    assert torch.equal(layer(inputs), expected)
    with torch.inference_mode():
        layer(torch.randn(16, 64, 4, 4))
    assert taken == []


def test_a_network_is_measured_with_sums_of_the_smallest_maps_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = _spied(monkeypatch)
    network = _resnet18().eval()
    images = torch.randn(16, 3, 64, 64)
    with torch.inference_mode():
        expected = network(images)

        speed_up_small_maps(network)

        logits = network(images)
    assert taken == [(16, 256, 4, 4), *[(16, 512, 2, 2)] * 3]
    torch.testing.assert_close(logits, expected, rtol=0, atol=2e-5)


def test_what_was_measured_first_can_be_trained() -> None:
    small_map_conv._axis.cache_clear()
    layer, inputs = _layer(64), torch.randn(16, 64, 2, 2)
    with torch.inference_mode():
        layer(inputs)

    layer(inputs).sum().backward()

    assert layer.weight.grad is not None


@pytest.mark.parametrize(
    "different",
    [
        {"bias": True},
        {"kernel_size": 1, "padding": 0, "stride": 2},
        {"kernel_size": 1, "padding": 1},
        {"padding": 0},
        {"padding": "same"},
        {"dilation": 2, "padding": 2},
        {"groups": 2},
        {"stride": (1, 2)},
        {"stride": 3},
        {"padding_mode": "circular"},
    ],
)
def test_other_layers_are_left_alone(different: dict[str, Any]) -> None:
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


def test_resnet18_at_64_pixels_in_bf16_has_four_layers_that_are_computed_as_products(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = _spied(monkeypatch)
    stage = _last_stage_of_resnet18()
    speed_up_small_maps(stage)

    with _bf16():
        stage(torch.randn(4, 256, 4, 4))  # what the earlier stages make of 64 pixels

    assert taken == [(4, 256, 4, 4), *[(4, 512, 2, 2)] * 3]


def test_resnet18_at_64_pixels_in_fp32_has_ten_layers_that_are_computed_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = _spied(monkeypatch)
    network = _resnet18()
    speed_up_small_maps(network)

    network(torch.randn(16, 3, 64, 64))

    assert taken == [
        *[(16, 128, 8, 8)] * 3,
        *[(16, 256, 4, 4)] * 4,
        *[(16, 512, 2, 2)] * 3,
    ]
