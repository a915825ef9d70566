"""Motion between two frames of a film: where each pixel was before, and how far that is certain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

_FINER = 4
"""Maps that repeat are refined so many times before they are looked up."""

_PATCHES, _GHOST = 30, 0.12
"""Mean colours of patches are compared, of which so many fit on a side of the picture, and their
difference at which a painting counts for a third."""


@dataclass(frozen=True)
class Motion:
    """How a picture of H x W pixels moved since the frame before."""

    flow: Tensor
    """From each pixel to where it was in the frame before, in pixels, x before y: (1, 2, H, W)."""
    trust: Tensor
    """How much of a painting to take over from there, 0..1: (1, 1, H, W)."""

    def to(self, device: torch.device) -> Motion:
        """Returns the motion on a device."""
        return Motion(self.flow.to(device), self.trust.to(device))

    def resized(self, height: int, width: int) -> Motion:
        """Returns the motion for the picture at another height and width."""
        if self.flow.shape[-2:] == (height, width):
            return self
        scale = self.flow.new_tensor(
            [width / self.flow.shape[-1], height / self.flow.shape[-2]]
        ).view(1, 2, 1, 1)
        resize = partial(F.interpolate, size=(height, width), mode="bilinear", antialias=True)
        return Motion(resize(self.flow) * scale, resize(self.trust))

    def moved(self, maps: Tensor, mode: str = "bicubic") -> Tensor:
        """Moves maps (1, C, H, W) of the frame before to where things are now; the border's values
        come in from beyond it.
        """
        return sampled(maps, self.flow, mode)

    def steadied(self, painted: Tensor, before: Tensor) -> Tensor:
        """Mixes what was painted before, moved, into a painting, as far as the motion is certain.

        Args:
            painted: the painting of this frame, (1, 3, H, W).
            before: the painting of the frame before, (1, 3, H, W).

        Returns:
            (1, 3, H, W), in [0, 1].
        """
        moved = self.moved(before).clamp(0, 1)
        gap = _patch_means(moved - painted)
        alike = torch.exp(-(gap.abs().mean(1, keepdim=True) / _GHOST).square())
        return torch.lerp(painted, moved, self.trust * alike)


def _patch_means(maps: Tensor) -> Tensor:
    """The mean of the patch around each pixel of maps (1, C, H, W), as far as it is inside."""
    half = round(math.sqrt(maps.shape[-2] * maps.shape[-1]) / _PATCHES / 2)
    side = 2 * half + 1
    columns = F.avg_pool2d(maps, (side, 1), 1, (half, 0), count_include_pad=False)
    return F.avg_pool2d(columns, (1, side), 1, (0, half), count_include_pad=False)


def sampled(maps: Tensor, offsets: Tensor, mode: str = "bicubic") -> Tensor:
    """Looks maps up at places beside each pixel, beyond the border at the border.

    Args:
        maps: (1, C, H, W).
        offsets: from each pixel to the place, in pixels, x before y: (1, 2, H, W).
        mode: ``bilinear`` or ``bicubic``.
    """
    height, width = offsets.shape[-2:]
    rows = torch.arange(height, dtype=torch.float32, device=offsets.device).view(-1, 1)
    columns = torch.arange(width, dtype=torch.float32, device=offsets.device)
    x = (columns + offsets[:, 0] + 0.5) * (2 / width) - 1
    y = (rows + offsets[:, 1] + 0.5) * (2 / height) - 1
    grid = torch.stack((x, y), -1)  # (1, H, W, 2)
    return F.grid_sample(maps, grid, mode=mode, padding_mode="border", align_corners=False)


def sampled_around(maps: Tensor, offsets: Tensor) -> Tensor:
    """Looks up maps that repeat in all directions at places beside each pixel.

    They are refined by their Fourier series, since interpolation would weaken what is as fine as
    noise, more at some places than at others.

    Args:
        maps: (1, C, H, W).
        offsets: from each pixel to the place, in pixels, x before y: (1, 2, H, W).

    Returns:
        (1, C, H, W)
    """
    height, width = maps.shape[-2:]
    spectrum = torch.fft.fftshift(torch.fft.fft2(maps), (-2, -1))
    margins: list[int] = []  # around the middle, where the constant is
    for side in (width, height):
        low = _FINER * side // 2 - side // 2
        margins += [low, (_FINER - 1) * side - low]
    spectrum = F.pad(spectrum, margins)
    finer = torch.fft.ifft2(torch.fft.ifftshift(spectrum, (-2, -1))).real * _FINER**2
    rows = torch.arange(height, device=maps.device).view(-1, 1)
    columns = torch.arange(width, device=maps.device)
    y = ((rows + offsets[0, 1]) * _FINER).round().long() % (height * _FINER)
    x = ((columns + offsets[0, 0]) * _FINER).round().long() % (width * _FINER)
    found: Tensor = finer[..., y, x]
    return found
