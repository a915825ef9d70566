"""Perceptual losses that several networks learn from: of features that a judge, VGG-16, sees."""

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
"""Of `losses.out_of_range`."""
SIMILARITY_LAYERS = ("relu3_1", "relu4_1", "relu5_1")
"""By whose features places are compared."""
DISTRIBUTION_LAYERS = ("relu3_1", "relu4_1")
"""Whose distributions are compared."""
_PLACES = 16
"""Across, and down, at most."""
_DIRECTIONS = 64
"""Along which distributions are compared, others in every step."""
_SMOOTH = 1e-3
"""Distances below this are as good as none; the root has no slope at 0."""


def halved(image: Tensor) -> Tensor:
    """Pictures (N, 3, H, W) at half of their size, where large strokes are seen."""
    return images.resize(image, image.shape[-2] // 2, image.shape[-1] // 2)


def similarity_loss(features: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
    """Mean of `losses.similarity_loss` at `SIMILARITY_LAYERS`, of not too many places."""
    pairs = ((_coarse(features[tap]), _coarse(wanted[tap])) for tap in SIMILARITY_LAYERS)
    return torch.stack([losses.similarity_loss(*pair) for pair in pairs]).mean()


def _coarse(features: Tensor) -> Tensor:
    """(N, C, H, W), with no more places than are compared."""
    height, width = features.shape[-2:]
    return adaptive_pool(features.float(), (min(height, _PLACES), min(width, _PLACES)))


def style_loss(kind: StyleLoss, features: Tensor, target: Moments) -> Tensor:
    """Distance of the statistics of a batch's features (k N, C, H, W) from those of N styles."""
    grouped = features.view(-1, len(target.weight), *features.shape[1:])
    return tempered(_STYLE_LOSSES[kind](Moments.of(grouped), target))


def tempered(distances: Tensor) -> Tensor:
    """Mean of log(1 + distance), from squared relative distances. So each style has its share:
    faint ones make for distances of any size, and would drown the others. And what is nearly right
    still counts, as it would not by its square.
    """
    return torch.log1p((distances + _SMOOTH**2).sqrt() - _SMOOTH).mean()


def distribution_loss(features: Tensor, target: Tensor, step: int) -> Tensor:
    """`losses.sliced_wasserstein_loss` of features, along other directions in every step.

    Args:
        features: (N, C, h, w).
        target: the styles', of the same shape.
        step: of the training.
    """
    generator = torch.Generator().manual_seed(step)
    directions = torch.randn(features.shape[1], _DIRECTIONS, generator=generator)
    directions = F.normalize(directions, dim=0).to(features.device)
    return losses.sliced_wasserstein_loss(features.float(), target.float(), directions)
