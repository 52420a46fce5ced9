"""3x3 convolutions onto maps of at most 2x2, computed as matrix products in bf16.

oneDNN pads such maps and multiplies with the padding, and its bf16 gradients are slow
(numbers: docs/decisions.md). Here each output pixel is one matrix product of the input
pixels that it sees and the weights that they meet.
"""

import torch
from torch import Tensor, nn

LARGEST_MAP = 2
"""Height and width of the output. At 4x4 oneDNN is faster: 56 against 62 ms."""


class Conv2d(nn.Conv2d):
    """Takes the place of an nn.Conv2d and shares its weight.

    It differs in training in bf16 on a CPU with small maps alone. It has torch's class
    name, so that the layer table and a printed network stay the same.
    """

    @classmethod
    def sharing(cls, layer: nn.Conv2d) -> "Conv2d":
        # `meta`: no weights are drawn, so torch's random state stays.
        copy = cls(
            layer.in_channels,
            layer.out_channels,
            kernel_size=3,
            stride=layer.stride[0],
            padding=1,
            bias=False,
            device="meta",
        )
        copy.weight = layer.weight
        return copy.train(layer.training)

    def forward(self, inputs: Tensor) -> Tensor:
        is_small = max(inputs.shape[2:]) <= LARGEST_MAP * self.stride[0]
        if self.training and is_small and inputs.ndim == 4 and _in_bf16_on_cpu(inputs):
            return _product(inputs, self.weight, stride=self.stride[0])
        return super().forward(inputs)


def speed_up_small_maps(network: nn.Module) -> None:
    """Replaces the layers of `network` that can be a Conv2d of this module.

    The names and the parameters of the network stay the same objects.
    """
    for parent in network.modules():
        for name, layer in parent.named_children():
            if type(layer) is nn.Conv2d and _is_plain_3x3(layer):
                setattr(parent, name, Conv2d.sharing(layer))


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
    """For each output place along one axis: the inputs it sees and the taps they meet.

    The padding is left out.
    """
    windows = []
    for first in range(-1, length - 1, stride):
        start, end = max(first, 0), min(first + 3, length)
        windows.append((slice(start, end), slice(start - first, end - first)))
    return windows
