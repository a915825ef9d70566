"""Losses against NumPy and SciPy in float64, and their gradients against finite differences."""

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import torch

from impasto import losses
from impasto.moments import Moments
from tests.helpers.pictures import features

ONE, OTHER = features(30), features(31) + 1


def test_content_loss_is_relative_mean_square():
    x, t = ONE.numpy(), OTHER.numpy()
    expected = ((x - t) ** 2).mean() / (t**2).mean()
    assert losses.content_loss(ONE[None], OTHER[None]).item() == pytest.approx(expected)


def test_gram_loss_is_eq_4_relative_to_the_target():
    grams = [f.flatten(1).numpy() @ f.flatten(1).numpy().T / 42 for f in (ONE, OTHER)]
    expected = ((grams[0] - grams[1]) ** 2).sum() / (grams[1] ** 2).sum()
    loss = losses.gram_loss(Moments.of(ONE), Moments.of(OTHER))
    assert loss.item() == pytest.approx(expected)


def test_wasserstein_loss_is_scipys():
    a, b = ONE.flatten(1).numpy(), OTHER.flatten(1).numpy()
    ca, cb = np.cov(a, bias=True), np.cov(b, bias=True)
    ridge = 1e-4 * np.diag(cb).mean() * np.eye(5)
    ca, cb = ca + ridge, cb + ridge
    root = scipy.linalg.sqrtm(cb)
    cross = np.trace(scipy.linalg.sqrtm(root @ ca @ root)).real
    between = ((a.mean(1) - b.mean(1)) ** 2).sum()
    expected = (between + np.trace(ca) + np.trace(cb) - 2 * cross) / (b**2).sum(0).mean()
    loss = losses.wasserstein_loss(Moments.of(ONE), Moments.of(OTHER))
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_structure_loss_is_of_standardised_channels():
    x, t = (torch.stack([features(seed), features(seed + 1)]) for seed in (40, 42))
    t[:, 2] *= 1e-3  # a channel that hardly ever fires counts for little

    def standardised(array):
        spread = array.var((2, 3), keepdims=True)
        floor = 0.01 * spread.mean(1, keepdims=True)
        return (array - array.mean((2, 3), keepdims=True)) / np.sqrt(spread + floor)

    expected = ((standardised(x.numpy()) - standardised(t.numpy())) ** 2).mean()
    assert losses.structure_loss(x, t).item() == pytest.approx(expected)


def test_structure_loss_does_not_see_palette_and_contrast():
    scale = torch.tensor([0.5, 2.0]).view(2, 1, 1, 1)
    x = torch.stack([features(40), features(41)])
    assert losses.structure_loss(scale * x + 7, x).item() == pytest.approx(0, abs=1e-12)
    assert losses.structure_loss(x.flip(-1), x).item() > 1


def test_similarity_loss_sees_only_what_is_alike():
    x, t = (torch.stack([features(seed), features(seed + 1)]) for seed in (40, 42))
    turn = torch.linalg.qr(torch.randn(5, 5, dtype=x.dtype)).Q
    turned = torch.einsum("dc,nchw->ndhw", turn, 3 * x) + torch.randn(2, 5, 1, 1)
    assert losses.similarity_loss(turned, x).item() == pytest.approx(0, abs=1e-12)
    matrices = []
    for array in (x.flatten(2).numpy(), t.flatten(2).numpy()):
        centred = array - array.mean(2, keepdims=True)
        lengths = np.sqrt((centred**2).sum(1))
        products = np.einsum("ncp,ncq->npq", centred, centred)
        matrices.append(products / lengths[:, :, None] / lengths[:, None, :])
    expected = ((matrices[0] - matrices[1]) ** 2).mean()
    assert losses.similarity_loss(x, t).item() == pytest.approx(expected)


def test_moments_loss_is_eq_13_relative_to_the_target():
    x, t = ONE.flatten(1).numpy(), OTHER.flatten(1).numpy()
    distance = ((x.mean(1) - t.mean(1)) ** 2).sum() + ((x.std(1) - t.std(1)) ** 2).sum()
    expected = distance / ((t.mean(1) ** 2).sum() + (t.std(1) ** 2).sum())
    loss = losses.moments_loss(Moments.of(ONE), Moments.of(OTHER))
    assert loss.item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [losses.gram_loss, losses.moments_loss])
def test_losses_of_a_batch_are_those_of_its_pictures(loss):
    """Each relative to its own target: the second is a hundred times as strong."""
    x, t = torch.stack([ONE, 100 * OTHER]), torch.stack([OTHER, 100 * ONE])
    found = loss(Moments.of(x), Moments.of(t))
    expected = [loss(Moments.of(a), Moments.of(b)) for a, b in zip(x, t, strict=True)]
    assert found.shape == (2,)
    torch.testing.assert_close(found, torch.stack(expected))
    grams = [np.einsum("nihw,njhw->nij", f.numpy(), f.numpy()) / 42 for f in (x, t)]
    by_hand = ((grams[0] - grams[1]) ** 2).sum((1, 2)) / (grams[1] ** 2).sum((1, 2))
    if loss is losses.gram_loss:
        np.testing.assert_allclose(found, by_hand)


def test_total_variation_is_numpys():
    x = torch.rand(2, 3, 5, 6, dtype=torch.float64)
    array = x.numpy()
    expected = (np.diff(array, axis=3) ** 2).mean() + (np.diff(array, axis=2) ** 2).mean()
    assert losses.total_variation(x).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [losses.gram_loss, losses.moments_loss, losses.wasserstein_loss])
def test_style_losses_vanish_at_the_target_only(loss):
    target = Moments.of(OTHER)
    assert loss(target, target).item() == pytest.approx(0, abs=1e-9)
    assert loss(Moments.of(ONE), target).item() > 1e-3


@pytest.mark.parametrize("loss", [losses.gram_loss, losses.moments_loss, losses.wasserstein_loss])
def test_style_loss_gradients(loss):
    target = Moments.of(OTHER)
    x = ONE.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda f: loss(Moments.of(f), target), (x,))
    weights = torch.rand(6, 7, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda f: loss(Moments.of(f, weights), target), (x,))


def test_sliced_wasserstein_loss_is_scipys_along_each_direction():
    directions = torch.nn.functional.normalize(torch.randn(5, 3, dtype=torch.float64), dim=0)
    one, other = (x.flatten(1).numpy().T @ directions.numpy() for x in (ONE, OTHER))
    # Sorted samples of equal number are each other's optimal partners, of any convex cost.
    costs = (one[:, None, :] - other[None, :, :]) ** 2
    pairs = [scipy.optimize.linear_sum_assignment(costs[..., d]) for d in range(3)]
    expected = np.mean([costs[(*pair, d)].mean() for d, pair in enumerate(pairs)]) / other.var()
    loss = losses.sliced_wasserstein_loss(ONE[None], OTHER[None], directions)
    assert loss.item() == pytest.approx(expected)
    moved = ONE.flatten(1)[:, torch.randperm(42)].view(1, *ONE.shape)
    assert losses.sliced_wasserstein_loss(ONE[None], moved, directions).item() == pytest.approx(0)


def test_other_gradients():
    x = ONE[None].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda f: losses.content_loss(f, OTHER[None]), (x,))
    assert torch.autograd.gradcheck(lambda f: losses.structure_loss(f, OTHER[None]), (x,))
    assert torch.autograd.gradcheck(losses.total_variation, (x,))


@pytest.mark.parametrize("loss", [losses.gram_loss, losses.moments_loss])
def test_gradients_of_a_batch(loss):
    target = Moments.of(torch.stack([OTHER, ONE]))
    x = torch.stack([ONE, OTHER]).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: loss(Moments.of(f), target), (x,))
    x = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    weights = torch.rand(2, 6, 7, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda f: loss(Moments.of(f, weights), target), (x,))


def test_wasserstein_survives_fewer_pixels_than_channels():
    x = torch.rand(32, 2, 3, requires_grad=True)
    loss = losses.wasserstein_loss(Moments.of(x), Moments.of(torch.rand(32, 2, 2)))
    loss.backward()
    assert loss.isfinite()
    assert x.grad.isfinite().all()
