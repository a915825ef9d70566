"""Layers that several networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name


def full_precision(features: Tensor) -> torch.autocast:
    """Switches autocast off within."""
    return torch.autocast(features.device.type, enabled=False)


class Conv(nn.Conv2d):
    """A convolution. Zeros beyond the border would be painted: the picture goes on there.

    Args:
        inputs, outputs: channels.
        side: of the kernel, odd.
        stride: of the convolution.
        beyond: ``replicate`` or ``reflect``.
    """

    def __init__(
        self, inputs: int, outputs: int, side: int, stride: int = 1, *, beyond: str
    ) -> None:
        super().__init__(inputs, outputs, side, stride=stride)
        self.beyond, self.margins = beyond, [side // 2] * 4

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        device = x.device.type
        if torch.is_autocast_enabled(device):  # it would pad in float32, and convert back and forth
            x = x.to(torch.get_autocast_dtype(device))
        with full_precision(x):
            x = F.pad(x, self.margins, mode=self.beyond)
        return super().forward(x)
