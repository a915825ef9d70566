"""Colour: sRGB, linear light, CIE Lab, and the ways to keep a photo's colours.

All pictures are (N, 3, H, W), sRGB in [0, 1]. Lab is relative to D65: L in 0..100, a and b roughly
-100..100.
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
    """Undoes the sRGB transfer curve."""
    return torch.where(
        image <= 0.04045, image / 12.92, ((image.clamp_min(0) + 0.055) / 1.055) ** 2.4
    )


def linear_to_srgb(image: Tensor) -> Tensor:
    """Applies the sRGB transfer curve."""
    return torch.where(
        image <= 0.0031308, image * 12.92, 1.055 * image.clamp_min(1e-12) ** (1 / 2.4) - 0.055
    )


def srgb_to_lab(image: Tensor) -> Tensor:
    """(N, 3, H, W) sRGB -> (N, 3, H, W) L, a, b."""
    to_xyz, white = _xyz(image)
    xyz = torch.einsum("ij,njhw->nihw", to_xyz, srgb_to_linear(image)) / white
    f = torch.where(xyz > _EPSILON, xyz.clamp_min(1e-12) ** (1 / 3), (_KAPPA * xyz + 16) / 116)
    x, y, z = f.unbind(1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), 1)


def lab_to_srgb(lab: Tensor) -> Tensor:
    """Inverse of `srgb_to_lab`; colours outside of sRGB are clipped."""
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
    """The picture without its chroma."""
    lab = srgb_to_lab(image)
    return lab_to_srgb(torch.cat((lab[:, :1], torch.zeros_like(lab[:, 1:])), 1))


@dataclass(frozen=True)
class Recolour:
    """Gives a picture, or any part of it, another palette."""

    colours: Affine | Lookup

    def __call__(self, part: Tensor) -> Tensor:
        """(N, 3, H, W), sRGB in [0, 1], to the same."""
        return self.colours(part).clamp(0, 1)


@dataclass(frozen=True)
class Recolouring:
    """The palette of a photo: mean and covariance of its colours, or histograms of R, G and B."""

    palette: Moments | Quantiles

    def __call__(self, picture: Tensor) -> Recolour:
        """What gives a picture (1, 3, H, W) the photo's palette."""
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
    """The style as a method shall see it, so that the photo's colours survive.

    - ``luminance``: grey, its lightness brought to the photo's mean and spread (Gatys et al. 2017,
      eq. 10).
    - ``coral``: recoloured to mean and covariance of the photo's colours (ibid., eq. 8).
    - ``histogram``: recoloured to the photo's histogram in each of R, G, B.

    A trained look has no picture: what is painted in it will be recoloured.
    """
    recolour = recolouring(content, mode)
    if isinstance(style, TrainedLook):
        return replace(style, recolouring=recolour)
    if recolour is not None:
        return recolour(style)(style)
    if mode == "luminance":
        content = _sampled(content)
        light, wanted = srgb_to_lab(style)[:, :1], srgb_to_lab(content)[:, :1]
        light = (light - light.mean()) * (wanted.std() / light.std().clamp_min(0.1))
        light = (light + wanted.mean()).clamp(0, 100)
        return lab_to_srgb(torch.cat((light, light.new_zeros(1, 2, *light.shape[2:])), 1))
    return style


def recolouring(content: Tensor, mode: ColorMode) -> Recolouring | None:
    """What recolours for ``coral`` and ``histogram``; None for the other modes."""
    if mode not in ("coral", "histogram"):
        return None
    content = _sampled(content)
    return Recolouring(_moments(content) if mode == "coral" else Quantiles.of(content[0]))


def prepare_content(content: Tensor, mode: ColorMode) -> Tensor:
    """The photo as a method shall see it: grey for ``luminance``, else as it is."""
    return to_grey(content) if mode == "luminance" else content


def finish(painted: Tensor, content: Tensor, mode: ColorMode) -> Tensor:
    """The painted picture with the photo's chroma put back for ``luminance``, else as it is."""
    if mode != "luminance":
        return painted
    return lab_to_srgb(torch.cat((srgb_to_lab(painted)[:, :1], srgb_to_lab(content)[:, 1:]), 1))


def _sampled(image: Tensor) -> Tensor:
    """Every n-th row and column of a large picture: enough for the statistics of its colours."""
    step = math.ceil(math.sqrt(image[0, 0].numel() / _SAMPLE))
    return image[..., ::step, ::step]


def _moments(image: Tensor) -> Moments:
    return Moments.of(image[0])
