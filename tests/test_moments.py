"""Moments and quantiles against NumPy in float64, and the laws they obey."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

from impasto.moments import Moments, Quantiles, interpolate, newton_schulz, square_roots
from tests.helpers.pictures import features


def close(one, other, tolerance=1e-10):
    for name in ("weight", "mean", "cov"):
        torch.testing.assert_close(
            getattr(one, name), getattr(other, name), rtol=tolerance, atol=tolerance
        )


def test_of_is_numpy():
    x = features(0)
    vectors = x.flatten(1).numpy()
    moments = Moments.of(x)
    assert moments.weight == 42
    np.testing.assert_allclose(moments.mean, vectors.mean(1))
    np.testing.assert_allclose(moments.cov, np.cov(vectors, bias=True))
    np.testing.assert_allclose(moments.std, vectors.std(1))


def test_gram_is_the_papers_divided_by_pixels():
    x = features(1)
    f = x.flatten(1).numpy()
    np.testing.assert_allclose(Moments.of(x).gram, np.einsum("ik,jk->ij", f, f) / f.shape[1])


def test_weighted_of_is_numpy():
    x, weights = features(2), torch.rand(6, 7, dtype=torch.float64)
    moments = Moments.of(x, weights)
    vectors, w = x.flatten(1).numpy(), weights.flatten().numpy()
    assert moments.weight.item() == pytest.approx(w.sum())
    np.testing.assert_allclose(moments.mean, np.average(vectors, axis=1, weights=w))
    np.testing.assert_allclose(moments.cov, np.cov(vectors, aweights=w, ddof=0))


def test_weights_of_zero_leave_pixels_out():
    x, weights = features(3), torch.zeros(6, 7, dtype=torch.float64)
    weights[:, :3] = 1
    close(Moments.of(x, weights), Moments.of(x[..., :3]))


def test_leading_dimensions_are_independent_sets():
    x = torch.stack([features(4), features(5)])
    both = Moments.of(x)
    for number in range(2):
        one = Moments(both.weight[number], both.mean[number], both.cov[number])
        close(one, Moments.of(x[number]))


@given(st.integers(1, 6), st.integers(0, 10_000))
def test_parts_add_up_to_the_whole(cut, seed):
    x = features(seed)
    close(Moments.of(x[..., :cut]) + Moments.of(x[..., cut:]), Moments.of(x))


@given(st.floats(0.01, 0.99))
def test_a_mixture_has_the_mixed_gram(share):
    one, other = Moments.of(features(6)).normalised(), Moments.of(features(7)).normalised()
    mixed = one * (1 - share) + other * share
    torch.testing.assert_close(mixed.gram, (1 - share) * one.gram + share * other.gram)


def test_merging_keeps_digits_far_from_zero():
    x = features(8, dtype=torch.float32) * 1e-2 + 1000
    pooled = Moments.of(x[..., :3]) + Moments.of(x[..., 3:])
    exact = Moments.of(x.double())
    torch.testing.assert_close(pooled.cov.double(), exact.cov, rtol=1e-2, atol=1e-6)


def test_channels_last_is_the_same():
    x = features(9)[None]
    close(Moments.of(x.contiguous(memory_format=torch.channels_last)), Moments.of(x))


@pytest.mark.parametrize("roots", [square_roots, newton_schulz])
def test_square_roots_are_scipys(roots):
    matrix = Moments.of(features(12)).cov
    root, inverse = roots(matrix)
    np.testing.assert_allclose(root, scipy.linalg.sqrtm(matrix.numpy()), atol=1e-9)
    np.testing.assert_allclose(inverse @ root, np.eye(5), atol=1e-9)


@pytest.mark.parametrize("roots", [square_roots, newton_schulz])
def test_square_roots_have_a_gradient_where_eigenvalues_coincide(roots):
    symmetric = torch.diag(torch.tensor([1.0, 1.0, 2.0, 5.0], dtype=torch.float64))

    def both(x):
        return roots(symmetric + x + x.mT)

    x = torch.zeros(4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(both, (x,))


@pytest.mark.parametrize("least", [1e-2, 1e-4])
def test_newton_schulz_gets_eigenvalues_right_down_to_the_least(least):
    """Of norm 1, so that the smallest one is ``least`` of it; in float32, in batches."""
    values = torch.cat((torch.logspace(math.log10(least), -1, 8), torch.tensor([0.9])))
    values[-1] = (1 - values[:-1].square().sum()).sqrt()
    basis = torch.linalg.qr(features(13)[0, :6].new_tensor(np.eye(9)) + 0.3)[0].float()
    matrix = (basis * values @ basis.mT).expand(2, 9, 9)
    root, inverse = newton_schulz(matrix, least)
    torch.testing.assert_close(root[0], basis * values.sqrt() @ basis.mT, rtol=0, atol=1e-5)
    wanted = basis / values.sqrt() @ basis.mT
    torch.testing.assert_close(
        inverse[1] / wanted.norm(), wanted / wanted.norm(), rtol=0, atol=1e-3
    )


def test_quantiles_are_numpys():
    x = features(10)
    levels = np.linspace(0, 1, 11)
    expected = np.quantile(x.flatten(1).numpy(), levels, axis=1).T
    np.testing.assert_allclose(Quantiles.of(x, count=11).values, expected)


def test_quantiles_ignore_pixels_of_weight_zero():
    x, weights = features(11), torch.zeros(6, 7)
    weights[:4] = 1
    torch.testing.assert_close(
        Quantiles.of(x, weights).values, Quantiles.of(x[:, :4]).values, rtol=1e-5, atol=1e-5
    )


@given(st.integers(1, 29), st.integers(0, 10_000))
def test_quantiles_add_up_to_those_of_the_whole(cut, seed):
    """Parts of any size and place: away from the outermost tails, within the steps of both."""
    x = features(seed, height=30, width=30)
    x[..., cut:] += 5
    added = Quantiles.of(x[..., :cut]) + Quantiles.of(x[..., cut:])
    assert added.weight.item() == 900
    levels = np.linspace(0, 1, 256)
    vectors = x.flatten(1).numpy()
    assert (added.values.diff(dim=-1) >= 0).all()
    np.testing.assert_allclose(added.values[:, [0, -1]], np.quantile(vectors, [0, 1], axis=1).T)
    for row, channel in zip(added.values.numpy(), vectors, strict=True):
        # Compared as probabilities: where values are sparse, their quantiles are arbitrary.
        reached = np.interp(row, np.sort(channel), np.linspace(0, 1, 900))
        assert np.abs(reached - levels).max() < 0.01


def test_added_quantiles_count_by_weight():
    """Three quarters of the pixels are 0, a quarter 1."""
    zeros, ones = torch.zeros(1, 6, 5), torch.ones(1, 5, 2)
    added = Quantiles.of(zeros) + Quantiles.of(ones)
    assert added.weight == 40
    assert float(added.values.mean()) == pytest.approx(0.25, abs=0.01)
    weighted = Quantiles.of(zeros, torch.full((6, 5), 1 / 9)) + Quantiles.of(ones)
    assert float(weighted.values.mean()) == pytest.approx(0.75, abs=0.01)


@given(st.integers(0, 10_000))
def test_interpolate_is_numpys(seed):
    random = np.random.default_rng(seed)
    x, xp, fp = random.normal(size=(3, 9)), np.sort(random.normal(size=(3, 5))), None
    fp = random.normal(size=(3, 5))
    expected = np.stack([np.interp(*row) for row in zip(x, xp, fp, strict=True)])
    actual = interpolate(*(torch.from_numpy(a) for a in (x, xp, fp)))
    np.testing.assert_allclose(actual, expected, atol=1e-9)
