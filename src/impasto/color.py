"""Colour: sRGB, linear light, CIE Lab, and the ways to keep a photo's colours.

All pictures are (N, 3, H, W), sRGB in [0, 1]. Lab is relative to D65: L is in 0..100, a and b are
roughly in -100..100.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import overload

import torch
from torch import Tensor

from impasto.controls import ColorMode
from impasto.gallery import TrainedLook
from impasto.matching import Affine, Lookup, coral, histogram
from impasto.moments import Moments, Quantiles

# IEC 61966-2-1: linear sRGB -> XYZ, D65.
_RGB_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
_SAMPLE = 2**22
_EPSILON, _KAPPA = 216 / 24389, 24389 / 27  # CIE 15:2004


def srgb_to_linear(image: Tensor) -> Tensor:
    """Converts sRGB in [0, 1] of any shape to linear light (IEC 61966-2-1)."""
    return torch.where(
        image <= 0.04045, image / 12.92, ((image.clamp_min(0) + 0.055) / 1.055) ** 2.4
    )


def linear_to_srgb(image: Tensor) -> Tensor:
    """Converts linear light in [0, 1] of any shape to sRGB (IEC 61966-2-1)."""
    return torch.where(
        image <= 0.0031308, image * 12.92, 1.055 * image.clamp_min(1e-12) ** (1 / 2.4) - 0.055
    )


def srgb_to_lab(image: Tensor) -> Tensor:
    """Converts pictures (N, 3, H, W), sRGB in [0, 1], to CIE Lab with white D65, (N, 3, H, W)."""
    to_xyz, white = _xyz(image)
    xyz = torch.einsum("ij,njhw->nihw", to_xyz, srgb_to_linear(image)) / white
    f = torch.where(xyz > _EPSILON, xyz.clamp_min(1e-12) ** (1 / 3), (_KAPPA * xyz + 16) / 116)
    x, y, z = f.unbind(1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), 1)


def lab_to_srgb(lab: Tensor) -> Tensor:
    """Converts CIE Lab with white D65, (N, 3, H, W), to sRGB, clipped to [0, 1]."""
    to_xyz, white = _xyz(lab)
    light, a, b = lab.unbind(1)
    y = (light + 16) / 116
    f = torch.stack((y + a / 500, y, y - b / 200), 1)
    xyz = torch.where(f**3 > _EPSILON, f**3, (116 * f - 16) / _KAPPA) * white
    linear = torch.einsum("ij,njhw->nihw", torch.linalg.inv(to_xyz), xyz)
    return linear_to_srgb(linear).clamp(0, 1)


def _xyz(like: Tensor) -> tuple[Tensor, Tensor]:
    to_xyz = torch.tensor(_RGB_TO_XYZ, dtype=like.dtype, device=like.device)
    return to_xyz, to_xyz.sum(1).view(1, 3, 1, 1)


def to_grey(image: Tensor) -> Tensor:
    """Returns pictures (N, 3, H, W), sRGB in [0, 1], with the same lightness but no chroma."""
    lab = srgb_to_lab(image)
    return lab_to_srgb(torch.cat((lab[:, :1], torch.zeros_like(lab[:, 1:])), 1))


@dataclass(frozen=True)
class Recolour:
    """Changes the palette of a picture, or of any part of it."""

    colours: Affine | Lookup
    """Map of the colours R, G, B."""

    def __call__(self, part: Tensor) -> Tensor:
        """Recolours (N, 3, H, W), sRGB in [0, 1]."""
        return self.colours(part).clamp(0, 1)


@dataclass(frozen=True)
class Recolouring:
    """Recolours pictures with the palette of a photo."""

    palette: Moments | Quantiles
    """Mean and covariance of the photo's colours, or the distributions of R, G and B."""

    def __call__(self, picture: Tensor) -> Recolour:
        """Fits the map that gives a picture (1, 3, H, W), sRGB in [0, 1], the photo's palette."""
        if isinstance(self.palette, Moments):
            return Recolour(coral(_moments(picture), self.palette))
        return Recolour(histogram(Quantiles.of(picture[0]), self.palette))


@overload
def prepare_style(style: Tensor, content: Tensor, mode: ColorMode) -> Tensor: ...
@overload
def prepare_style(style: TrainedLook, content: Tensor, mode: ColorMode) -> TrainedLook: ...
def prepare_style(
    style: Tensor | TrainedLook, content: Tensor, mode: ColorMode
) -> Tensor | TrainedLook:
    """Prepares a style so that the painting keeps the photo's colours.

    Args:
        style: the style picture (1, 3, h, w), sRGB in [0, 1], or a trained look.
        content: the photo (1, 3, H, W), sRGB in [0, 1], or what `sampled` made of it.
        mode: ``luminance`` makes the style grey, its lightness with the photo's mean and deviation
            (Gatys et al. 2017, arXiv:1611.07865, eq. 10); ``coral`` recolours it to the mean and
            covariance of the photo's colours (ibid., eq. 8); ``histogram`` to the photo's histogram
            in each of R, G, B; ``off`` leaves it.

    Returns:
        The picture (1, 3, h, w); or the trained look, which has no picture, with how the painting
        is to be recoloured.
    """
    recolour = recolouring(content, mode)
    if isinstance(style, TrainedLook):
        return replace(style, recolouring=recolour)
    if recolour is not None:
        return recolour(style)(style)
    if mode == "luminance":
        light, photo_light = srgb_to_lab(style)[:, :1], srgb_to_lab(content)[:, :1]
        light = (light - light.mean()) * (photo_light.std() / light.std().clamp_min(0.1))
        light = (light + photo_light.mean()).clamp(0, 100)
        return lab_to_srgb(torch.cat((light, light.new_zeros(1, 2, *light.shape[2:])), 1))
    return style


def recolouring(content: Tensor, mode: ColorMode) -> Recolouring | None:
    """Measures the palette of a photo (1, 3, H, W), sRGB in [0, 1], for recolouring with it; what
    `sampled` made of the photo is enough.

    Returns:
        What recolours, for the modes ``coral`` and ``histogram``; None for the others.
    """
    if mode not in ("coral", "histogram"):
        return None
    return Recolouring(_moments(content) if mode == "coral" else Quantiles.of(content[0]))


def prepare_content(content: Tensor, mode: ColorMode) -> Tensor:
    """Prepares a photo (N, 3, H, W), sRGB in [0, 1]: grey for ``luminance``, else as it is."""
    return to_grey(content) if mode == "luminance" else content


def finish(painted: Tensor, content: Tensor, mode: ColorMode) -> Tensor:
    """Puts the photo's chroma back into a painting for ``luminance``; else returns it as it is.

    Args:
        painted: (N, 3, H, W), sRGB in [0, 1].
        content: the photo, (N, 3, H, W), sRGB in [0, 1].
        mode: how the photo's colours are kept.
    """
    if mode != "luminance":
        return painted
    return lab_to_srgb(torch.cat((srgb_to_lab(painted)[:, :1], srgb_to_lab(content)[:, 1:]), 1))


def sampling(height: int, width: int) -> int:
    """Returns n, so that every n-th row and column of a picture of that size are enough for the
    statistics of its colours.
    """
    return math.ceil(math.sqrt(height * width / _SAMPLE))


def sampled(image: Tensor) -> Tensor:
    """Returns every n-th row and column of a large picture (1, 3, H, W); see `sampling`."""
    step = sampling(image.shape[-2], image.shape[-1])
    return image[..., ::step, ::step]


def _moments(image: Tensor) -> Moments:
    return Moments.of(image[0])
