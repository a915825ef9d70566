"""Losses of style transfer, shared by the optimiser and by training.

Content and style losses are *relative*: divided by the size of their target. So 1 is the loss of
features that are all zero, layers of different depth and encoders of different scale weigh the
same, and one set of weights suits them all. (The papers' losses are absolute; their weights carry
the scale.)
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
    """Mean squared difference of features (Gatys et al. 2016, CVPR, eq. 1), relative to the mean
    square of the target; 0 or more.

    Args:
        features: (N, C, H, W).
        target: the content picture's features, the same shape.
    """
    return (features - target).square().mean() / target.square().mean().clamp_min(_TINY)


def structure_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of features, each channel of each picture standardised first.

    Palette and contrast belong to the style; what remains is the content. It is the normalised
    perceptual loss of Deng et al. 2022, arXiv:2105.14576.

    Args:
        features: (N, C, H, W).
        target: the content picture's features, the same shape.
    """
    return (_standardised(features) - _standardised(target)).square().mean()


def similarity_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of two pictures' self-similarity: of the cosine similarities of all
    pairs of pixels (Tumanyan et al. 2022, arXiv:2201.00424, eq. 4 and 5; after Kolkin et al. 2019,
    arXiv:1904.12785); 0..4.

    Colours and strokes may be any, as long as what was alike stays alike. The features' mean is
    subtracted first: where it is large, all pixels look alike.

    Args:
        features: (N, C, H, W); takes memory with the square of H x W.
        target: the content picture's features, the same shape.
    """
    one, other = (_similarity(x.flatten(2)) for x in (features, target))
    return (one - other).square().mean()


def _similarity(vectors: Tensor) -> Tensor:
    """(N, C, P) -> (N, P, P)"""
    unit = F.normalize(vectors - vectors.mean(-1, keepdim=True), dim=1)
    return unit.mT @ unit


def _standardised(features: Tensor) -> Tensor:
    spread, mean = torch.var_mean(features, (-2, -1), keepdim=True, correction=0)
    # Channels that hardly ever fire would be all noise.
    floor = _FAINT * spread.mean(1, keepdim=True)
    return (features - mean) / (spread + floor).clamp_min(_TINY).sqrt()


def gram_loss(moments: Moments, target: Moments) -> Tensor:
    """Squared Frobenius distance of Gram matrices (Gatys et al. 2016, CVPR, eq. 4), relative to the
    target's squared norm.

    Args:
        moments: moments of the picture's features, (..., C).
        target: moments of the style's features, (..., C).

    Returns:
        (...), 0 or more.
    """
    return gram_distance(moments.gram, target.gram)


def gram_distance(gram: Tensor, target: Tensor) -> Tensor:
    """Squared Frobenius distance of two Gram matrices (..., C, C), relative to the target's squared
    norm; returns (...), 0 or more.
    """
    difference = (gram - target).square().sum((-2, -1))
    return difference / target.square().sum((-2, -1)).clamp_min(_TINY)


def moments_loss(moments: Moments, target: Moments) -> Tensor:
    """Squared distance of means and standard deviations (Huang & Belongie 2017, arXiv:1703.06868,
    eq. 13), relative to the target's squared norm.

    Args:
        moments: moments of the picture's features, (..., C).
        target: moments of the style's features, (..., C).

    Returns:
        (...), 0 or more.
    """
    distance = (moments.mean - target.mean).square() + (moments.std - target.std).square()
    norm = target.mean.square() + target.std.square()
    return distance.sum(-1) / norm.sum(-1).clamp_min(_TINY)


def wasserstein_loss(moments: Moments, target: Moments) -> Tensor:
    """Squared Wasserstein-2 distance of the Gaussians with these moments, relative to the target's
    mean square.

    It is |m - m*|^2 + tr(C + C* - 2 (C*^1/2 C C*^1/2)^1/2) (Dowson & Landau 1982). Unlike the Gram
    loss it is not dominated by the strongest correlations, so that palette and fine texture come
    closer to the style's.

    Args:
        moments: moments of the picture's features, (C,).
        target: moments of the style's features, (C,).

    Returns:
        A scalar tensor.
    """
    ridge = target.ridge
    cov, root = moments.cov + ridge, target.cov_root
    between = (moments.mean - target.mean).square().sum()
    spread = cov.trace() + (target.cov + ridge).trace() - 2 * trace_sqrt_product(cov, root)
    return (between + spread) / target.gram.trace().clamp_min(_TINY)


def sliced_wasserstein_loss(features: Tensor, target: Tensor, directions: Tensor) -> Tensor:
    """Squared Wasserstein-2 distance of the distributions of feature vectors along some directions,
    relative to the target's variance (Heitz et al. 2021, arXiv:2006.07229).

    Unlike the Gram loss it sees all of a distribution: for instance how often a stroke has which
    colour, not only the mean.

    Args:
        features: (N, C, H, W).
        target: the style's features, the same shape.
        directions: D directions as columns of length 1, (C, D).

    Returns:
        A scalar tensor, 0 or more: the mean over pictures and directions.
    """
    one, other = ((x.flatten(2).mT @ directions).sort(1).values for x in (features, target))
    distance = (one - other).square().mean((1, 2))
    return (distance / other.var((1, 2), correction=0).clamp_min(_TINY)).mean()


def total_variation(image: Tensor) -> Tensor:
    """Total variation: the mean squared difference of horizontal neighbours, plus that of vertical
    ones.

    Args:
        image: (N, 3, H, W).
    """
    across = image[..., :, 1:] - image[..., :, :-1]
    down = image[..., 1:, :] - image[..., :-1, :]
    return across.square().mean() + down.square().mean()


def out_of_range(image: Tensor) -> Tensor:
    """Mean squared distance of pixels (N, 3, H, W) from [0, 1]; clipping would stop gradients."""
    return (image - image.clamp(0, 1)).square().mean()


class _TraceSqrtProduct(torch.autograd.Function):
    """tr((R C R)^1/2) for symmetric C and R, (C, C) each. Its derivative by C, which is
    R (R C R)^-1/2 R / 2, only needs the inverse root, which comes with the root.
    """

    @staticmethod
    def forward(ctx: Any, cov: Tensor, root: Tensor) -> Tensor:
        sqrt, inverse = square_roots(root @ cov @ root)
        ctx.save_for_backward(root @ inverse @ root / 2)  # d tr / d cov, (C, C)
        return sqrt.trace()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (derivative,) = ctx.saved_tensors
        return grads[0] * derivative, None


def trace_sqrt_product(cov: Tensor, root: Tensor) -> Tensor:
    """Computes tr((root cov root)^1/2), which is differentiable by ``cov``.

    Args:
        cov: symmetric positive definite, (C, C).
        root: symmetric positive definite, (C, C); a constant to autograd.
    """
    product: Tensor = _TraceSqrtProduct.apply(cov, root)  # type: ignore[no-untyped-call]
    return product
