"""Losses of style transfer, shared by the optimiser and by training.

Content and style losses are *relative*: divided by the size of their target. So 1 means "as far off
as nothing at all", layers of different depth and encoders of different scale weigh the same, and
one set of weights suits them all. (The papers' losses are absolute; their weights carry the scale.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from impasto.moments import Moments, square_roots

_TINY = 1e-12
_FAINT = 1e-2


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of features (Gatys et al. 2016, eq. 1), relative to the target's.

    Args:
        features: (N, C, H, W).
        target: the content picture's features, the same shape.
    """
    return (features - target).square().mean() / target.square().mean().clamp_min(_TINY)


def structure_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of features, each channel of each picture standardised first (as the
    normalised perceptual loss of Deng et al. 2022): palette and contrast belong to the style, what
    remains is the content.

    Args:
        features: (N, C, H, W).
        target: the content picture's features, the same shape.
    """
    return (_standardised(features) - _standardised(target)).square().mean()


def similarity_loss(features: Tensor, target: Tensor) -> Tensor:
    """How differently places resemble each other: mean squared difference of the matrices of cosine
    similarity of all places (Tumanyan et al. 2022, eq. 4 and 5; after the content loss of Kolkin
    et al. 2019); 0..4. Colours and strokes may be any, as long as what was alike stays alike.

    The features' mean is taken off first: where it is large all places look alike.

    Args:
        features: (N, C, H, W); takes memory with the square of H x W.
        target: the content picture's features, the same shape.
    """
    one, other = (_similarity(x.flatten(2)) for x in (features, target))
    return (one - other).square().mean()


def _similarity(places: Tensor) -> Tensor:
    """(N, C, P) -> (N, P, P)"""
    unit = F.normalize(places - places.mean(-1, keepdim=True), dim=1)
    return unit.mT @ unit


def _standardised(features: Tensor) -> Tensor:
    spread, mean = torch.var_mean(features, (-2, -1), keepdim=True, correction=0)
    # Channels that hardly ever fire would be all noise.
    floor = _FAINT * spread.mean(1, keepdim=True)
    return (features - mean) / (spread + floor).clamp_min(_TINY).sqrt()


def gram_loss(moments: Moments, target: Moments) -> Tensor:
    """Squared distance of Gram matrices (Gatys et al. 2016, eq. 4), relative to the target's;
    of the moments' leading dimensions.
    """
    return gram_distance(moments.gram, target.gram)


def gram_distance(gram: Tensor, wanted: Tensor) -> Tensor:
    """The same of Gram matrices (..., C, C) themselves."""
    difference = (gram - wanted).square().sum((-2, -1))
    return difference / wanted.square().sum((-2, -1)).clamp_min(_TINY)


def moments_loss(moments: Moments, target: Moments) -> Tensor:
    """Squared distance of means and standard deviations (Huang & Belongie 2017, eq. 13), relative
    to the target's; of the moments' leading dimensions.
    """
    means = (moments.mean - target.mean).square() + (moments.std - target.std).square()
    wanted = target.mean.square() + target.std.square()
    return means.sum(-1) / wanted.sum(-1).clamp_min(_TINY)


def wasserstein_loss(moments: Moments, target: Moments) -> Tensor:
    """Squared Wasserstein-2 distance of the Gaussians with these moments, relative to the
    target's mean square.

    |m - m*|^2 + tr(C + C* - 2 (C*^1/2 C C*^1/2)^1/2) (Dowson & Landau 1982). Unlike Gram
    matrices it is not ruled by the strongest correlations, so that palette and fine texture come
    out truer.
    """
    ridge = target.ridge
    cov, root = moments.cov + ridge, target.cov_root
    between = (moments.mean - target.mean).square().sum()
    spread = cov.trace() + (target.cov + ridge).trace() - 2 * trace_sqrt_product(cov, root)
    return (between + spread) / target.gram.trace().clamp_min(_TINY)


def sliced_wasserstein_loss(features: Tensor, target: Tensor, directions: Tensor) -> Tensor:
    """Squared Wasserstein-2 distance of the distributions of feature vectors, seen along some
    directions, relative to the target's variance (Heitz et al. 2021). Unlike Gram matrices it sees
    all of a distribution: how often, say, a stroke has which colour, not only the mean.

    Args:
        features: (N, C, H, W).
        target: the style's features, (N, C, H, W).
        directions: (C, D), of length 1.
    """
    one, other = ((x.flatten(2).mT @ directions).sort(1).values for x in (features, target))
    distance = (one - other).square().mean((1, 2))
    return (distance / other.var((1, 2), correction=0).clamp_min(_TINY)).mean()


def total_variation(image: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels, across plus down.

    Args:
        image: (N, 3, H, W).
    """
    across = image[..., :, 1:] - image[..., :, :-1]
    down = image[..., 1:, :] - image[..., :-1, :]
    return across.square().mean() + down.square().mean()


def out_of_range(image: Tensor) -> Tensor:
    """Mean squared distance of pixels from [0, 1]; clipping them would stop their gradient."""
    return (image - image.clamp(0, 1)).square().mean()


class _TraceSqrtProduct(torch.autograd.Function):
    """tr((R C R)^1/2) of a symmetric R. Its derivative by C, R (R C R)^-1/2 R / 2, needs no more
    than the inverse root that the iteration gives anyway.
    """

    @staticmethod
    def forward(ctx: Any, cov: Tensor, root: Tensor) -> Tensor:
        sqrt, inverse = square_roots(root @ cov @ root)
        ctx.save_for_backward(root @ inverse @ root / 2)
        return sqrt.trace()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (derivative,) = ctx.saved_tensors
        return grads[0] * derivative, None


def trace_sqrt_product(cov: Tensor, root: Tensor) -> Tensor:
    """tr((root cov root)^1/2), differentiable by ``cov``; both (C, C), symmetric."""
    product: Tensor = _TraceSqrtProduct.apply(cov, root)  # type: ignore[no-untyped-call]
    return product
