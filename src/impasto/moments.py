"""Moments: weight, mean and covariance of feature vectors, the statistics that style is made of.

Moments add up: those of two tiles, frames or masked regions give those of both together.
Covariances are kept around the mean and merged pairwise (Chan, Golub & LeVeque 1983), which loses
no digits where sums of squares would.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor

_TINY = 1e-12
_RIDGE = 1e-4
_MIN_EIGENVALUE = 1e-6
"""Smallest eigenvalue that matrix roots get right, as a share of the Frobenius norm."""


@dataclass(frozen=True)
class Moments:
    """Weight, mean and covariance of a set of (C,) vectors.

    Leading dimensions (...) are independent sets.
    """

    weight: Tensor
    """Number of vectors, or the sum of their weights, (...)."""
    mean: Tensor
    """Mean of the vectors, (..., C)."""
    cov: Tensor
    """Covariance of the vectors, (..., C, C); divided by the weight, not by weight - 1."""

    @classmethod
    def of(cls, features: Tensor, weights: Tensor | None = None) -> Moments:
        """Measures the moments of feature maps over their pixels.

        Args:
            features: (..., C, H, W).
            weights: how much each pixel counts, non-negative, broadcastable to (..., H, W);
                None counts each as 1.
        """
        # (..., H*W, C): free of copies for channels-last features.
        vectors = features.movedim(-3, -1).flatten(-3, -2)
        if weights is None:
            weight = vectors.new_full(vectors.shape[:-2], vectors.shape[-2])
            share = vectors.new_full((1, 1), 1 / vectors.shape[-2])
        else:
            per_pixel = weights.expand(*features.shape[:-3], *features.shape[-2:]).flatten(-2)
            weight = per_pixel.sum(-1)
            share = (per_pixel / weight.clamp_min(_TINY).unsqueeze(-1)).unsqueeze(-1)
        with torch.autocast(features.device.type, enabled=False):  # sums need all their digits
            mean, cov = _MeanAndCov.apply(vectors, share)  # type: ignore[no-untyped-call]
        return cls(weight, mean, cov)

    def __add__(self, other: Moments) -> Moments:
        """Returns the moments of both sets of vectors together."""
        weight = self.weight + other.weight
        share = (other.weight / weight.clamp_min(_TINY)).unsqueeze(-1)  # (..., 1)
        step = other.mean - self.mean
        between = share * (1 - share) * step
        share_cov = share.unsqueeze(-1)
        return Moments(
            weight,
            self.mean + share * step,
            (1 - share_cov) * self.cov
            + share_cov * other.cov
            + between.unsqueeze(-1) * step.unsqueeze(-2),
        )

    def __mul__(self, factor: float | Tensor) -> Moments:
        """Returns the moments with ``factor`` times the weight, for mixing with others."""
        return Moments(self.weight * factor, self.mean, self.cov)

    def __getitem__(self, number: int) -> Moments:
        """Returns the moments of one of several independent sets."""
        return Moments(self.weight[number], self.mean[number], self.cov[number])

    def normalised(self) -> Moments:
        """Returns the moments with weight 1."""
        return Moments(torch.ones_like(self.weight), self.mean, self.cov)

    @property
    def gram(self) -> Tensor:
        """The Gram matrix F F^T / weight, (..., C, C) (Gatys et al. 2016, CVPR, eq. 3).

        The paper does not divide; dividing makes it independent of the picture's size.
        """
        return self.cov + self.mean.unsqueeze(-1) * self.mean.unsqueeze(-2)

    @cached_property
    def ridge(self) -> Tensor:
        """A small multiple of the identity, (C, C).

        Added to a covariance it keeps the square root defined where a feature map has fewer pixels
        than channels.
        """
        return _RIDGE * self.cov.diagonal().mean() * torch.eye(len(self.mean)).to(self.cov)

    @cached_property
    def cov_root(self) -> Tensor:
        """The square root of the covariance plus `ridge`, (C, C); a constant to autograd."""
        with torch.no_grad():
            return square_roots(self.cov + self.ridge)[0]

    @property
    def std(self) -> Tensor:
        """The standard deviation of each channel, (..., C)."""
        return self.cov.diagonal(dim1=-2, dim2=-1).clamp_min(_TINY).sqrt()


class _MeanAndCov(torch.autograd.Function):
    """Weighted mean and covariance of vectors (..., P, C) with shares (..., P, 1) that sum to 1.

    Autograd would multiply by the centred vectors twice, once for either side of the product.
    """

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        if share.numel() == 1:
            mean = vectors.mean(-2)
            centred = vectors - mean.unsqueeze(-2)
            cov = centred.mT @ centred * share
        else:
            mean = (vectors * share).sum(-2)
            centred = vectors - mean.unsqueeze(-2)
            cov = (centred * share).mT @ centred
        ctx.save_for_backward(centred, share)
        return mean, cov

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        centred, share = ctx.saved_tensors
        by_mean, by_cov = grads
        matrix, shift = by_cov + by_cov.mT, by_mean.unsqueeze(-2)
        if share.numel() > 1:
            return (centred @ matrix + shift) * share, None
        # As below, with the share multiplied into the small factors: one pass over the pixels.
        if centred.ndim == 2:
            return torch.addmm(shift * share, centred, matrix * share), None
        return centred @ (matrix * share) + shift * share, None


def square_roots(matrix: Tensor, min_eigenvalue: float = _MIN_EIGENVALUE) -> tuple[Tensor, Tensor]:
    """Computes square roots of symmetric positive definite matrices, and the roots' inverses.

    On processors it takes eigenvectors, in a third of the time; elsewhere `newton_schulz`. It is
    differentiable, also where eigenvalues coincide.

    Args:
        matrix: (..., C, C).
        min_eigenvalue: the smallest eigenvalue to get right, as a share of the matrix's Frobenius
            norm.

    Returns:
        The roots and their inverses, (..., C, C) each.
    """
    if matrix.device.type == "cpu":
        roots: tuple[Tensor, Tensor] = _SquareRoots.apply(matrix)  # type: ignore[no-untyped-call]
        return roots
    return newton_schulz(matrix, min_eigenvalue)


class _SquareRoots(torch.autograd.Function):
    """Square roots by eigenvectors. The derivative is that of Daleckii & Krein (Higham 2008, th.
    3.11), whose divided differences of the root and its inverse need no division by differences.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(matrix)
        roots = values.clamp_min(_TINY).sqrt()
        ctx.save_for_backward(roots, vectors)
        down = roots.unsqueeze(-2)
        return vectors * down @ vectors.mT, vectors / down @ vectors.mT

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        roots, vectors = ctx.saved_tensors
        by_root, by_inverse = (vectors.mT @ grad @ vectors for grad in grads)
        down, across = roots.unsqueeze(-1), roots.unsqueeze(-2)
        inner = (by_root - by_inverse / (down * across)) / (down + across)
        derivative: Tensor = vectors @ inner @ vectors.mT
        return derivative


def newton_schulz(matrix: Tensor, min_eigenvalue: float = _MIN_EIGENVALUE) -> tuple[Tensor, Tensor]:
    """Computes square roots of symmetric positive definite matrices, and the roots' inverses, by
    the coupled Newton-Schulz iteration (Higham 2008, eq. 6.35).

    It takes matrix products only, is fast anywhere, and smooth where eigenvectors are not. The
    coefficients of each step are those that bring all eigenvalues closest to 1, instead of the 3/2
    and 1/2 that are best near the end (Grishina, Smirnov & Rakhuba 2025): 8 steps instead of 20 for
    eigenvalues that differ 20 000-fold.

    Args:
        matrix: (..., C, C).
        min_eigenvalue: the smallest eigenvalue to get right, as a share of the matrix's Frobenius
            norm.

    Returns:
        The roots and their inverses, (..., C, C) each.
    """
    norm = matrix.norm(dim=(-2, -1), keepdim=True).clamp_min(_TINY)
    identity = torch.eye(matrix.shape[-1]).to(matrix)
    root = matrix / norm
    inverse: Tensor | None = None
    for linear, cubic in _coefficients(min_eigenvalue, 100 * torch.finfo(matrix.dtype).eps):
        step = linear * identity - cubic * (root if inverse is None else inverse @ root)
        root = root @ step
        inverse = step if inverse is None else step @ inverse
    assert inverse is not None
    return root * norm.sqrt(), inverse / norm.sqrt()


@cache
def _coefficients(min_eigenvalue: float, tolerance: float) -> list[tuple[float, float]]:
    """Coefficients (a, b) of the polynomials a x - b x^3, step by step, until all x from the square
    root of ``min_eigenvalue`` to 1 are mapped to 1, up to ``tolerance``.

    Each polynomial is the one that is closest to 1 between ``low`` and ``high``: it is as far below
    1 at both ends as it is above at its maximum, which is at ``top``.
    """
    low, high = min_eigenvalue**0.5, 1.0
    coefficients = []
    error = 1.0
    while error > tolerance:
        top = ((low * low + low * high + high * high) / 3) ** 0.5
        cubic = 2 / (2 * top**3 + low * high * (low + high))
        coefficients.append((3 * top * top * cubic, cubic))
        error = 2 * cubic * top**3 - 1
        low, high = 1 - error, 1 + error
    return coefficients


@dataclass(frozen=True)
class Quantiles:
    """The distribution of each channel by itself, as values at Q evenly spaced probabilities."""

    values: Tensor
    """Values at probabilities 0, 1 / (Q - 1), ..., 1, ascending: (C, Q)."""
    weight: Tensor
    """Number of pixels, or the sum of their weights, a scalar tensor."""

    @classmethod
    def of(cls, features: Tensor, weights: Tensor | None = None, count: int = 256) -> Quantiles:
        """Measures the quantiles of a feature map over its pixels.

        Args:
            features: (C, H, W).
            weights: how much each pixel counts, (H, W); None counts each as 1.
            count: number Q of quantiles, at least 2.
        """
        if weights is None:
            weights = torch.ones_like(features[0])
        counted = weights.flatten() > 0
        if not counted.any():
            return cls(features.new_zeros(len(features), count), weights.sum())
        return cls._of_sorted(
            *features.flatten(-2)[:, counted].sort(dim=-1), weights.flatten()[counted], count
        )

    def __add__(self, other: Quantiles) -> Quantiles:
        """Returns the quantiles of both sets of pixels together, up to the resolution of each."""
        if not (self.weight > 0 and other.weight > 0):
            return self if self.weight > 0 else other
        count = self.values.shape[-1]
        values, order = torch.cat((self.values, other.values), -1).sort(dim=-1)
        shares = torch.stack((self.weight, other.weight)).repeat_interleave(count) / count
        return self._of_sorted(values, order, shares, count)

    @classmethod
    def _of_sorted(cls, vectors: Tensor, order: Tensor, weights: Tensor, count: int) -> Quantiles:
        """Quantiles of ascending values (C, P); ``order`` (C, P) says where in ``weights`` (P,) the
        weight of each is.
        """
        if vectors.shape[-1] == 1:
            return cls(vectors.expand(-1, count), weights.sum())
        per_pixel = weights[order]
        # Mid-point rule: a pixel sits in the middle of the probability that it covers.
        position = per_pixel.cumsum(-1) - per_pixel / 2
        low, high = position[:, :1], position[:, -1:]
        position = (position - low) / (high - low).clamp_min(_TINY)
        probabilities = torch.linspace(0, 1, count, dtype=vectors.dtype, device=vectors.device)
        values = interpolate(probabilities.expand(len(vectors), -1), position.to(vectors), vectors)
        return cls(values, weights.sum())


def interpolate(x: Tensor, xp: Tensor, fp: Tensor, *, right: bool = False) -> Tensor:
    """Interpolates linearly in each row, as `numpy.interp` does.

    Args:
        x: where to evaluate, (C, M).
        xp: positions, ascending along P, (C, P).
        fp: values at the positions, (C, P).
        right: at a position that occurs several times, take the last value, not the first.

    Returns:
        Values at ``x``, (C, M); beyond the positions the first or last value.
    """
    after = torch.searchsorted(xp.contiguous(), x.contiguous(), right=right)
    after = after.clamp(1, xp.shape[-1] - 1)
    before = after - 1
    x0, x1 = xp.gather(-1, before), xp.gather(-1, after)
    f0, f1 = fp.gather(-1, before), fp.gather(-1, after)
    share = ((x - x0) / (x1 - x0).clamp_min(_TINY)).clamp(0, 1)
    return f0 + share * (f1 - f0)


def one_above_the_other(maps: Tensor) -> Tensor:
    """Joins the maps of N pictures, so that they are measured as one: (N, C, H, W) ->
    (1, C, N H, W).
    """
    return maps if len(maps) == 1 else torch.cat(tuple(maps), -2)[None]
