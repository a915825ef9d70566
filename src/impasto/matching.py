"""Matching: maps that give content features the statistics of style features.

Each function takes what was measured of content and style and returns the map, which is local:
once fitted it can be applied to any tile or frame. They match:

- `adain`: mean and standard deviation of each channel (Huang & Belongie 2017, arXiv:1703.06868);
- `wct`: mean and covariance, by whitening and colouring (Li et al. 2017, arXiv:1705.08086);
- `coral`: mean and covariance, channels being standardised first, so that strong ones do not drown
  weak ones (Sun et al. 2016, arXiv:1511.05547);
- `histogram`: the whole distribution of each channel (Risser et al. 2017, arXiv:1701.08893).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.moments import Moments, Quantiles, interpolate, square_roots

# Directions with less than this share of the strongest one's variance are dropped (WCT), and
# channels with less are divided by that much (AdaIN): dividing by nothing amplifies noise.
_FLOOR = 1e-5
# Deviations below this are rounding noise, in pixels as in features.
_FLAT = 1e-3
# Sun et al. add 1 to the diagonal. For colours, which are strongly correlated, that would leave
# half of the difference in place.
_CORAL_RIDGE = 1e-3


@dataclass(frozen=True)
class Affine:
    """An affine map of the vector at every pixel: x -> matrix @ x + shift.

    Leading dimensions (...) are independent maps.
    """

    matrix: Tensor
    """The matrices (..., C, C), or the diagonals (..., C) of diagonal ones."""
    shift: Tensor
    """What is added, (..., C)."""

    def __call__(self, features: Tensor) -> Tensor:
        """Maps features (..., C, H, W) to the same shape."""
        if self.matrix.ndim == self.shift.ndim:
            return features * self.matrix[..., None, None] + self.shift[..., None, None]
        # (..., H, W, C): free of copies, here and in what follows, for channels-last features.
        vectors = features.movedim(-3, -1)
        mapped = vectors.flatten(-3, -2) @ self.matrix.mT
        mapped += self.shift.unsqueeze(-2)
        return mapped.view(vectors.shape).movedim(-1, -3)


@dataclass(frozen=True)
class Lookup:
    """A monotone piecewise linear curve for each channel, through Q points."""

    inputs: Tensor
    """Values that are mapped, (C, Q), ascending along Q."""
    outputs: Tensor
    """Values that they are mapped to, (C, Q), ascending along Q."""

    def __call__(self, features: Tensor) -> Tensor:
        """Maps features (..., C, H, W) to the same shape."""
        channels_first = features.movedim(-3, 0)
        flat = channels_first.flatten(1)
        # White paper is one value for many quantiles: it becomes the middle of theirs.
        first, last = (
            interpolate(flat, self.inputs, self.outputs, right=right) for right in (False, True)
        )
        mapped = (first + last) / 2
        return mapped.view(channels_first.shape).movedim(0, -3)


def adain(content: Moments, style: Moments) -> Affine:
    """Fits adaptive instance normalisation: mean and deviation of each channel become the style's
    (Huang & Belongie 2017, arXiv:1703.06868, eq. 8).

    Args:
        content: moments of the content's features, (..., C).
        style: moments of the style's features, (..., C).
    """
    standard = standardise(content)
    return Affine(style.std * standard.matrix, style.mean + style.std * standard.shift)


def standardise(moments: Moments) -> Affine:
    """Fits instance normalisation: each channel gets mean 0 and deviation 1 (Ulyanov et al. 2016,
    arXiv:1607.08022).

    Args:
        moments: moments of the features, (..., C).
    """
    floor = _FLOOR**0.5 * moments.std.amax(-1, keepdim=True)
    scale = 1 / moments.std.maximum(floor).clamp_min(_FLAT)
    return Affine(scale, -scale * moments.mean)


def wct(content: Moments, style: Moments) -> Affine:
    """Fits the whitening and colouring transform Cs^1/2 Cc^-1/2, after which features have the
    style's mean and covariance (Li et al. 2017, arXiv:1705.08086, sec. 3.2).

    As in the paper's code, directions without variance in the content are dropped.

    Args:
        content: moments of the content's features, (..., C).
        style: moments of the style's features, (..., C).
    """
    matrix = _root(style.cov, 0.5) @ _root(content.cov, -0.5)
    return _through_means(matrix, content, style)


def coral(content: Moments, style: Moments, ridge: float = _CORAL_RIDGE) -> Affine:
    """Fits correlation alignment of standardised features, after which they have the style's mean
    and nearly its covariance (Sun et al. 2016, arXiv:1511.05547, alg. 1). It is differentiable.

    Args:
        content: moments of the content's features, (..., C).
        style: moments of the style's features, (..., C).
        ridge: what is added to the standardised channels' variances, which are 1; directions with
            less variance are matched in part only.
    """
    content_std = content.std.clamp_min(_FLAT)
    style_std = style.std.clamp_min(_FLAT)
    channels = style_std.shape[-1]  # of variance 1 + ridge: no norm is larger than their sum
    smallest = ridge / (channels * (1 + ridge))
    root, _ = square_roots(_correlation(style.cov, style_std, ridge), smallest)
    _, inverse = square_roots(_correlation(content.cov, content_std, ridge), smallest)
    matrix = style_std[..., None] * root @ inverse / content_std[..., None, :]
    return _through_means(matrix, content, style)


def histogram(content: Quantiles, style: Quantiles) -> Lookup:
    """Fits histogram matching: the quantiles of each channel become the style's (Risser et al.
    2017, arXiv:1701.08893).

    Args:
        content: quantiles of the content's features, (C, Q).
        style: quantiles of the style's features, (C, Q).
    """
    return Lookup(content.values, style.values)


def _through_means(matrix: Tensor, content: Moments, style: Moments) -> Affine:
    return Affine(matrix, style.mean - (matrix @ content.mean[..., None])[..., 0])


def _correlation(cov: Tensor, std: Tensor, ridge: float) -> Tensor:
    scale = std[..., None] * std[..., None, :]
    return cov / scale + ridge * torch.eye(std.shape[-1]).to(cov)


def _root(matrix: Tensor, power: float) -> Tensor:
    """A power of a symmetric positive semi-definite matrix, in float64, without its null space."""
    values, vectors = torch.linalg.eigh(matrix.cpu().double())
    keep = values > (_FLOOR * values[..., -1:]).clamp_min(_FLAT**2)
    powers = torch.where(keep, values.clamp_min(1e-300) ** power, 0.0)
    result: Tensor = (vectors * powers[..., None, :]) @ vectors.mT
    return result.to(matrix)
