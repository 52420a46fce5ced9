"""Convolutions onto small maps, computed as fewer products than oneDNN takes.

oneDNN pads such maps and multiplies with the padding, and its gradients of them are
slow (numbers: docs/decisions.md). In fp32 a convolution becomes matrix products of sums
of pixels and sums of weights (Winograd's minimal filtering, as in Lavin and Gray 2016,
arXiv 1509.09308): 36 for 4x4 outputs where the definition has 144, and 9 instead of 36
for a 2x2 map. In bf16, whose sums would lose digits, and with stride 2, each output
pixel is one matrix product of the input pixels that it sees. A 1x1 convolution in fp32
is one matrix product.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

LARGEST_MAP = 2
"""Height and width of the output, for a product a pixel: at 4x4 oneDNN is faster, with
56 against 62 ms. Also for measuring a network, which larger maps would change by more
than oneDNN's own rounding: by 1e-5 of the largest output."""

LEAST_CHANNELS = 64
"""Least channels of inputs and of outputs: fewer have too few products for the cost
of the sums."""

CHANNELS_A_PIXEL = 8
"""Least channels for each pixel of a map's longer side, as each sum is over a side."""

LEAST_PIXELS = 64
"""Fewest in a batch that are worth the sums of weights."""

MOST_PIXELS = 2048
"""Most in a batch for a 1x1 convolution; with 4,096 oneDNN is as fast."""


class Conv2d(nn.Conv2d):
    """Takes the place of an nn.Conv2d and shares its weight.

    It differs on a CPU in training, and for the smallest maps in inference mode: never
    in the export. It has torch's class name, so that the layer table and a printed
    network stay the same.
    """

    @classmethod
    def sharing(cls, layer: nn.Conv2d) -> "Conv2d":
        # `meta`: no weights are drawn, so torch's random state stays.
        copy = cls(
            layer.in_channels,
            layer.out_channels,
            kernel_size=layer.kernel_size[0],
            stride=layer.stride[0],
            padding=int(layer.padding[0]),
            bias=layer.bias is not None,
            device="meta",
        )
        copy.weight, copy.bias = layer.weight, layer.bias
        return copy.train(layer.training)

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.ndim != 4 or inputs.device.type != "cpu":
            return super().forward(inputs)
        number_type = _number_type(inputs)
        is_smallest = max(inputs.shape[2:]) <= LARGEST_MAP * self.stride[0]
        if self.training or (is_smallest and torch.is_inference_mode_enabled()):
            if number_type == torch.float32:
                outputs = self._in_fp32(inputs, is_smallest=is_smallest)
                return super().forward(inputs) if outputs is None else outputs
            if number_type == torch.bfloat16 and is_smallest and self._is_3x3:
                taps = self.weight.to(torch.bfloat16)
                inputs = inputs.to(torch.bfloat16)
                return _product(inputs, taps, stride=self.stride[0])
        return super().forward(inputs)

    def _in_fp32(self, inputs: Tensor, *, is_smallest: bool) -> Tensor | None:
        """None where oneDNN is as fast."""
        if not self._is_3x3:
            pixels = inputs.numel() // inputs.shape[1]
            is_small = pixels <= MOST_PIXELS
            return _linear(inputs, self.weight, self.bias) if is_small else None
        if self.stride == (2, 2):
            return _product(inputs, self.weight, stride=2) if is_smallest else None
        is_worth_it = _is_worth_sums(inputs, self.weight)
        return _filtered(inputs, self.weight) if is_worth_it else None

    @property
    def _is_3x3(self) -> bool:
        return self.kernel_size == (3, 3)


def speed_up_small_maps(network: nn.Module) -> None:
    """Replaces the layers of `network` that can be a Conv2d of this module.

    The names and the parameters of the network stay the same objects.
    """
    for parent in network.modules():
        for name, layer in parent.named_children():
            if type(layer) is nn.Conv2d and (_is_3x3(layer) or _is_1x1(layer)):
                setattr(parent, name, Conv2d.sharing(layer))


def _is_1x1(layer: nn.Conv2d) -> bool:
    return (
        layer.kernel_size == layer.stride == (1, 1)
        and layer.padding == (0, 0)
        and layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
    )


def _is_3x3(layer: nn.Conv2d) -> bool:
    """Whether it has no bias and otherwise the settings of ResNets."""
    return (
        layer.kernel_size == (3, 3)
        and layer.stride in ((1, 1), (2, 2))
        and layer.padding == (1, 1)
        and layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.bias is None
        and layer.padding_mode == "zeros"
    )


def _number_type(inputs: Tensor) -> torch.dtype:
    """The type in which torch would compute a convolution."""
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu")
    return inputs.dtype


def _is_worth_sums(inputs: Tensor, weight: Tensor) -> bool:
    count, _, height, width = inputs.shape
    pixels = height * width
    longest, least_channels = max(height, width), min(weight.shape[:2])
    if (
        least_channels < max(LEAST_CHANNELS, CHANNELS_A_PIXEL * longest)
        or count * pixels < LEAST_PIXELS
    ):
        return False
    # A map of 5x5 fills 25 of the 64 pixels of its four tiles, and is slower.
    return _axis(height).products * _axis(width).products <= 3 * pixels


def _linear(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """[N, I, H, W] with [O, I, 1, 1] and [O] -> [N, O, H, W]."""
    pixels = inputs.permute(0, 2, 3, 1)  # [N, H, W, I]
    return linear(pixels, weight.flatten(1), bias).permute(0, 3, 1, 2)


def _product(inputs: Tensor, weight: Tensor, *, stride: int) -> Tensor:
    """[N, I, H, W] with [O, I, 3, 3] -> [N, O, H / stride, W / stride]."""
    count, _, height, width = inputs.shape
    pixels = inputs.permute(0, 2, 3, 1)  # [N, H, W, I]
    taps = weight.contiguous(memory_format=torch.channels_last)
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


@dataclass(frozen=True)
class _Form:
    """How a tile of m outputs along one axis follows from p products."""

    inputs: Tensor
    """[p, m + 2]: the pixels that are summed; the first and the last may be padding."""

    taps: Tensor
    """[p, 3]: the weights that are summed."""

    outputs: Tensor
    """[m, p]: the products that are summed."""


@dataclass(frozen=True)
class _Axis:
    """How an axis of n outputs follows from t tiles of p products each."""

    inputs: Tensor
    """[p * t, n]."""

    taps: Tensor
    """[p, 3]."""

    outputs: Tensor
    """[n, p * t]."""

    @property
    def products(self) -> int:
        return len(self.inputs)

    @property
    def tiles(self) -> int:
        return len(self.inputs) // len(self.taps)


def _form(length: int) -> _Form:
    """The first two are for a whole axis of 1 or 2 pixels between paddings."""
    if length == 1:
        return _Form(
            torch.tensor([[0.0, 1, 0]]),
            torch.tensor([[0.0, 1, 0]]),
            torch.tensor([[1.0]]),
        )
    if length == 2:
        return _Form(
            torch.tensor([[0.0, 1, 1, 0], [0, 0, 1, 0], [0, 1, 0, 0]]),
            torch.tensor([[0.0, 1, 0], [0, -1, 1], [1, -1, 0]]),
            torch.tensor([[1.0, 1, 0], [1, 0, 1]]),
        )
    return _Form(
        torch.tensor(
            [
                [4.0, 0, -5, 0, 1, 0],
                [0, -4, -4, 1, 1, 0],
                [0, 4, -4, -1, 1, 0],
                [0, -2, -1, 2, 1, 0],
                [0, 2, -1, -2, 1, 0],
                [0, 4, 0, -5, 0, 1],
            ]
        ),
        torch.tensor(
            [
                [6.0, 0, 0],
                [-4, -4, -4],
                [-4, 4, -4],
                [1, 2, 4],
                [1, -2, 4],
                [0, 0, 24],
            ]
        )
        / 24,
        torch.tensor(
            [
                [1.0, 1, 1, 1, 1, 0],
                [0, 1, -1, 2, -2, 0],
                [0, 1, 1, 4, 4, 0],
                [0, 1, -1, 8, -8, 1],
            ]
        ),
    )


@cache
def _axis(length: int) -> _Axis:
    # Tensors made in inference mode could not be used in training.
    with torch.inference_mode(False):
        form = _form(length)
        size, products = form.outputs.shape
        tiles = math.ceil(length / size)
        inputs = torch.zeros(products, tiles, tiles * size + 2)
        outputs = torch.zeros(tiles * size, products, tiles)
        for tile in range(tiles):
            start, end = tile * size, (tile + 1) * size
            inputs[:, tile, start : end + 2] = form.inputs
            outputs[start:end, :, tile] = form.outputs
        # Padding is zero, and outputs past the end are not wanted.
        inputs = inputs[:, :, 1 : length + 1]
        return _Axis(
            inputs.reshape(products * tiles, length),
            form.taps,
            outputs[:length].reshape(length, products * tiles),
        )


class _Products(torch.autograd.Function):
    """[B, R, I] with [B, O, I] -> [B, R, O].

    torch's own gradient of the second is [B, I, O], and is transposed afterwards.
    """

    @staticmethod
    def forward(ctx: Any, sums: Tensor, taps: Tensor) -> Tensor:
        ctx.save_for_backward(sums, taps)
        return sums @ taps.mT

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        sums, taps = ctx.saved_tensors
        return gradient @ taps, gradient.mT @ sums


def _filtered(inputs: Tensor, weight: Tensor) -> Tensor:
    """fp32 [N, I, H, W] with [O, I, 3, 3] -> [N, O, H, W]."""
    count, channels, height, width = inputs.shape
    rows, columns = _axis(height), _axis(width)
    pixels = inputs.permute(2, 3, 0, 1).reshape(height, -1)  # [H, W * N * I]
    sums = (rows.inputs @ pixels).view(rows.products, width, -1)
    sums = columns.inputs @ sums  # [rows' products, columns' products, N * I]
    # [9, O * I]: in this order the weight and its gradient are copied by whole rows.
    weights = weight.permute(2, 3, 0, 1).reshape(9, -1)
    taps = torch.kron(rows.taps, columns.taps) @ weights
    taps = taps.view(len(rows.taps), 1, len(columns.taps), -1)
    # A batch of products for each point and each tile of rows.
    products: Tensor = _Products.apply(
        sums.view(-1, columns.tiles * count, channels),
        taps.expand(-1, rows.tiles, -1, -1).reshape(-1, len(weight), channels),
    )
    outputs = columns.outputs @ products.view(rows.products, columns.products, -1)
    outputs = rows.outputs @ outputs.view(rows.products, -1)
    outputs = outputs.view(height, width, count, -1).permute(2, 3, 0, 1)
    return outputs.contiguous(memory_format=torch.channels_last)
