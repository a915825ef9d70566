"""Perceptual losses that several networks learn from: they compare features of a loss network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from impasto import images, losses
from impasto.moments import Moments
from impasto.networks.layers import adaptive_pool

StyleLoss = Literal["gram", "moments"]

_STYLE_LOSSES = {"gram": losses.gram_loss, "moments": losses.moments_loss}
RANGE_WEIGHT = 10.0
"""Weight of `losses.out_of_range`."""
SIMILARITY_LAYERS = ("relu3_1", "relu4_1", "relu5_1")
"""Layers of the loss network at which `similarity_loss` compares positions."""
DISTRIBUTION_LAYERS = ("relu3_1", "relu4_1")
"""Layers of the loss network at which `distribution_loss` compares distributions."""
_MAX_POSITIONS = 16
"""Largest height and width of the features whose positions are compared with each other."""
_DIRECTIONS = 64
"""Number of random directions that distributions are projected on; other ones in every step."""
_SMOOTH = 1e-3
"""Distances below this count as none, because the square root has no slope at 0."""


def half_size(image: Tensor) -> Tensor:
    """Pictures (N, 3, H, W) at half of their size, at which the losses see large strokes."""
    return images.resize(image, image.shape[-2] // 2, image.shape[-1] // 2)


def similarity_loss(features: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
    """Mean of `losses.similarity_loss` over `SIMILARITY_LAYERS`, on a grid of at most 16 x 16.

    Args:
        features: features (N, C, h, w) of the paintings, by layer.
        target: features of the photos, of the same shapes.
    """
    values = [
        losses.similarity_loss(_pooled(features[layer]), _pooled(target[layer]))
        for layer in SIMILARITY_LAYERS
    ]
    return torch.stack(values).mean()


def _pooled(features: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, h, w), with h and w at most `_MAX_POSITIONS`."""
    height, width = features.shape[-2:]
    return adaptive_pool(
        features.float(), (min(height, _MAX_POSITIONS), min(width, _MAX_POSITIONS))
    )


def style_loss(kind: StyleLoss, features: Tensor, target: Moments) -> Tensor:
    """Mean log distance of the statistics of paintings from those of their styles.

    Args:
        kind: which statistics are compared.
        features: of the paintings, (k N, C, H, W); painting n has the style n modulo N.
        target: moments of the N styles.
    """
    grouped = features.view(-1, len(target.weight), *features.shape[1:])  # (k, N, C, H, W)
    return mean_log_distance(_STYLE_LOSSES[kind](Moments.of(grouped), target))


def mean_log_distance(squares: Tensor) -> Tensor:
    """Mean of log(1 + distance), from squared relative distances of any shape.

    With the logarithm each style of a batch has its share: relative distances from faint styles may
    be of any size, and would drown the others. And what is nearly right still counts, as it would
    not by its square.
    """
    return torch.log1p((squares + _SMOOTH**2).sqrt() - _SMOOTH).mean()


def distribution_loss(features: Tensor, target: Tensor, step: int) -> Tensor:
    """`losses.sliced_wasserstein_loss` of features (Heitz et al. 2021, arXiv:2006.07229).

    Args:
        features: of the paintings, (N, C, h, w).
        target: of their styles, of the same shape.
        step: number of the step, which seeds the random directions.
    """
    generator = torch.Generator().manual_seed(step)
    directions = torch.randn(features.shape[1], _DIRECTIONS, generator=generator)  # (C, D)
    directions = F.normalize(directions, dim=0).to(features.device)
    return losses.sliced_wasserstein_loss(features.float(), target.float(), directions)
