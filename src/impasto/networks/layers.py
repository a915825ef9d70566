"""Layers that several networks share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def full_precision(features: Tensor) -> torch.autocast:
    """Returns a context in which autocast is off, on the device of a tensor."""
    return torch.autocast(features.device.type, enabled=False)


def calculated_in(precision: torch.dtype, image: Tensor) -> torch.autocast:
    """Returns a context in which the networks calculate in a precision, by autocast.

    Args:
        precision: ``torch.bfloat16``, or ``torch.float32`` to leave autocast off.
        image: any tensor on the device.
    """
    return torch.autocast(image.device.type, torch.bfloat16, enabled=precision == torch.bfloat16)


def channels_last(network: nn.Module) -> None:
    """Stores a network's weights in the channels-last layout, which is faster on processors."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def adaptive_pool(maps: Tensor, grid: Sequence[int]) -> Tensor:
    """Averages maps down to a grid, as `torch.nn.functional.adaptive_avg_pool2d` does, but also on
    Apple's GPUs, where that needs sides that divide.

    Args:
        maps: (..., H, W).
        grid: height and width of the result.

    Returns:
        (..., *grid)
    """
    down, across = (
        _averages(side, cells).to(maps) for side, cells in zip(maps.shape[-2:], grid, strict=True)
    )
    return down @ maps @ across.mT


def _averages(side: int, cells: int) -> Tensor:
    """(cells, side): the mean over each cell's pixels; cells overlap where sides do not divide."""
    cell, pixel = torch.arange(cells)[:, None], torch.arange(side)
    inside = (pixel >= cell * side // cells) & (pixel < -(-(cell + 1) * side // cells))
    return inside / inside.sum(1, keepdim=True)


class Conv(nn.Conv2d):
    """A convolution that pads by continuing the picture, so that its output has the input's size.

    Zeros beyond the border, torch's default, would be painted as a dark frame.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: side of the kernel, odd.
        stride: input pixels per output pixel, along each side.
        padding_mode: ``replicate`` or ``reflect``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        *,
        padding_mode: str,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride=stride)
        # Not `self.padding_mode`: torch would pad as well.
        self.border, self.margins = padding_mode, [kernel_size // 2] * 4

    def forward(self, x: Tensor) -> Tensor:
        """Convolves (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        device = x.device.type
        if torch.is_autocast_enabled(device):  # it would pad in float32, and convert back and forth
            x = x.to(torch.get_autocast_dtype(device))
        with full_precision(x):
            x = F.pad(x, self.margins, mode=self.border)
        return super().forward(x)
