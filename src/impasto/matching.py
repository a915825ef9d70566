"""Matching: maps that give content features the statistics of style features.

Each function takes what was measured of content and style and returns the map, which is local:
once fitted it can be applied to any tile or frame.

==============  =========================================================  =====================
`adain`         mean and standard deviation of each channel                Huang & Belongie 2017
`wct`           mean and covariance, by whitening and colouring            Li et al. 2017
`coral`         the same, standardised first, so that strong channels      Sun, Feng & Saenko 2016
                do not drown weak ones
`histogram`     the whole distribution of each channel                     Risser et al. 2017
==============  =========================================================  =====================
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.moments import Moments, Quantiles, interpolate, square_roots

# Directions that hold less than this share of the strongest one's variance are dropped (WCT),
# channels count as this much (AdaIN): dividing by nothing amplifies noise.
_FLOOR = 1e-5
# Deviations below this are rounding noise, in pixels as in features.
_FLAT = 1e-3
# Sun et al. add 1 to the diagonal. For colours, which are strongly correlated, that would leave
# half of the difference in place.
_CORAL_RIDGE = 1e-3


@dataclass(frozen=True)
class Affine:
    """x -> matrix @ x + shift, at every pixel; leading dimensions (...) are independent maps."""

    matrix: Tensor
    """(..., C, C), or (..., C) for a diagonal one."""
    shift: Tensor
    """(..., C)"""

    def __call__(self, features: Tensor) -> Tensor:
        """Maps features (..., C, H, W)."""
        if self.matrix.ndim == self.shift.ndim:
            return features * self.matrix[..., None, None] + self.shift[..., None, None]
        # (..., H, W, C): free of copies, here and in what follows, for channels-last features.
        vectors = features.movedim(-3, -1)
        mapped = vectors.flatten(-3, -2) @ self.matrix.mT
        mapped += self.shift.unsqueeze(-2)
        return mapped.view(vectors.shape).movedim(-1, -3)


@dataclass(frozen=True)
class Lookup:
    """A monotone piecewise linear curve for each channel."""

    inputs: Tensor
    """(C, Q), ascending along Q."""
    outputs: Tensor
    """(C, Q), ascending along Q."""

    def __call__(self, features: Tensor) -> Tensor:
        """Maps features (..., C, H, W)."""
        channels_first = features.movedim(-3, 0)
        flat = channels_first.flatten(1)
        # White paper is one value for many quantiles: it becomes the middle of theirs.
        first, last = (
            interpolate(flat, self.inputs, self.outputs, right=right) for right in (False, True)
        )
        mapped = (first + last) / 2
        return mapped.view(channels_first.shape).movedim(0, -3)


def adain(content: Moments, style: Moments) -> Affine:
    """Adaptive instance normalisation (Huang & Belongie 2017, eq. 8).

    Args:
        content: moments of (C,) vectors; this and the others go by leading dimensions.
        style: the same of the style.
    """
    standard = standardise(content)
    return Affine(style.std * standard.matrix, style.mean + style.std * standard.shift)


def standardise(moments: Moments) -> Affine:
    """Instance normalisation (Ulyanov et al. 2016): to mean 0 and deviation 1.

    Args:
        moments: of (C,) vectors; goes by leading dimensions.
    """
    floor = _FLOOR**0.5 * moments.std.amax(-1, keepdim=True)
    scale = 1 / moments.std.maximum(floor).clamp_min(_FLAT)
    return Affine(scale, -scale * moments.mean)


def wct(content: Moments, style: Moments) -> Affine:
    """Whitening and colouring transform (Li et al. 2017, sec. 3.2): Cs^1/2 Cc^-1/2.

    As in the paper's code, directions without variance in the content are dropped.
    """
    matrix = _root(style.cov, 0.5) @ _root(content.cov, -0.5)
    return _through_means(matrix, content, style)


def coral(content: Moments, style: Moments, ridge: float = _CORAL_RIDGE) -> Affine:
    """Correlation alignment (Sun et al. 2016, alg. 1) of standardised features. Differentiable.

    Args:
        content: moments of (C,) vectors.
        style: the same of the style.
        ridge: added to the variances, which are 1. Directions with less are matched in part.
    """
    content_std = content.std.clamp_min(_FLAT)
    style_std = style.std.clamp_min(_FLAT)
    channels = style_std.shape[-1]  # of variance 1 + ridge: no norm is larger than their sum
    least = ridge / (channels * (1 + ridge))
    root, _ = square_roots(_correlation(style.cov, style_std, ridge), least)
    _, inverse = square_roots(_correlation(content.cov, content_std, ridge), least)
    matrix = style_std[..., None] * root @ inverse / content_std[..., None, :]
    return _through_means(matrix, content, style)


def histogram(content: Quantiles, style: Quantiles) -> Lookup:
    """Histogram matching of each channel: the content's quantiles become the style's."""
    return Lookup(content.values, style.values)


def _through_means(matrix: Tensor, content: Moments, style: Moments) -> Affine:
    return Affine(matrix, style.mean - (matrix @ content.mean[..., None])[..., 0])


def _correlation(cov: Tensor, std: Tensor, ridge: float) -> Tensor:
    scale = std[..., None] * std[..., None, :]
    return cov / scale + ridge * torch.eye(std.shape[-1]).to(cov)


def _root(matrix: Tensor, power: float) -> Tensor:
    """A power of a symmetric positive semi-definite matrix, in float64, without its null space."""
    values, vectors = torch.linalg.eigh(matrix.cpu().double())
    kept = values > (_FLOOR * values[..., -1:]).clamp_min(_FLAT**2)
    powers = torch.where(kept, values.clamp_min(1e-300) ** power, 0.0)
    result: Tensor = (vectors * powers[..., None, :]) @ vectors.mT
    return result.to(matrix)
