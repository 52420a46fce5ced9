"""3x3 convolutions onto maps of 2x2 or less, as the matrix products they are.

oneDNN pads such maps and multiplies with the padding, and its bf16 gradients are slow
beyond that (numbers: docs/decisions.md). Here each output pixel is one product of the
inputs that it sees with the weights that they meet.
"""

from types import MethodType

import torch
from torch import Tensor, nn

LARGEST_MAP = 2
"""Height and width of the output. At 4x4 oneDNN is the faster one: 56 against 62 ms."""


def speed_up_small_maps(network: nn.Module) -> None:
    """Training in bf16 on a CPU takes the short way; every other call is as it was.

    Names, weights, copies, evaluation and export of the network stay what they are.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and _is_plain_3x3(layer):
            # A bound method, since a copy of the network then has one of the copy.
            layer.forward = MethodType(forward, layer)  # type: ignore[method-assign]


def _is_plain_3x3(layer: nn.Conv2d) -> bool:
    return (
        layer.kernel_size == (3, 3)
        and layer.stride in ((1, 1), (2, 2))
        and layer.padding == (1, 1)
        and layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.bias is None
        and layer.padding_mode == "zeros"
    )


def forward(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    """A layer's `forward`, under that name: unpickled, the layer has its class's."""
    if not layer.training or not _in_bf16_on_cpu(inputs) or inputs.ndim != 4:
        return nn.Conv2d.forward(layer, inputs)
    if max(inputs.shape[2:]) > LARGEST_MAP * layer.stride[0]:
        return nn.Conv2d.forward(layer, inputs)
    return _product(inputs, layer.weight, stride=layer.stride[0])


def _in_bf16_on_cpu(inputs: Tensor) -> bool:
    return (
        inputs.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )


def _product(inputs: Tensor, weight: Tensor, *, stride: int) -> Tensor:
    """[N, I, H, W] with [O, I, 3, 3] -> bf16 [N, O, H / stride, W / stride]."""
    count, _, height, width = inputs.shape
    pixels = inputs.to(torch.bfloat16).permute(0, 2, 3, 1)  # [N, H, W, I]
    taps = weight.to(torch.bfloat16, memory_format=torch.channels_last)
    taps = taps.permute(0, 2, 3, 1)  # [O, 3, 3, I]
    rows, columns = _windows(height, stride), _windows(width, stride)
    outputs = [
        pixels[:, y, x].flatten(1) @ taps[:, tap_y, tap_x].flatten(1).t()
        for y, tap_y in rows
        for x, tap_x in columns
    ]
    shape = (count, len(rows), len(columns), len(weight))
    return torch.stack(outputs, dim=1).view(shape).permute(0, 3, 1, 2)


def _windows(length: int, stride: int) -> list[tuple[slice, slice]]:
    """For each place of the output along one axis: inputs seen, and taps they meet."""
    windows = []
    for first in range(-1, length - 1, stride):
        start, end = max(first, 0), min(first + 3, length)
        windows.append((slice(start, end), slice(start - first, end - first)))
    return windows
