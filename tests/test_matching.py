"""Matching maps against SciPy, and the statistics they are meant to give."""

import numpy as np
import pytest
import scipy.linalg
import torch

from impasto.matching import adain, coral, histogram, wct
from impasto.moments import Moments, Quantiles
from tests.helpers.pictures import features

CONTENT, STYLE = features(20), features(21) @ torch.diag(torch.linspace(0.5, 2, 7).double()) + 3


def mapped(fit):
    return fit(Moments.of(CONTENT), Moments.of(STYLE))(CONTENT)


def test_adain_is_the_papers_formula():
    x, y = CONTENT.flatten(1).numpy(), STYLE.flatten(1).numpy()
    expected = y.std(1)[:, None] * (x - x.mean(1)[:, None]) / x.std(1)[:, None] + y.mean(1)[:, None]
    np.testing.assert_allclose(mapped(adain).flatten(1), expected)


def test_wct_is_scipys_roots():
    x, y = CONTENT.flatten(1).numpy(), STYLE.flatten(1).numpy()
    whiten = np.linalg.inv(scipy.linalg.sqrtm(np.cov(x, bias=True)))
    colour = scipy.linalg.sqrtm(np.cov(y, bias=True))
    expected = colour @ whiten @ (x - x.mean(1)[:, None]) + y.mean(1)[:, None]
    np.testing.assert_allclose(mapped(wct).flatten(1), expected, atol=1e-9)


def test_coral_is_sun_et_al_on_standardised_features():
    x, y = CONTENT.flatten(1).numpy(), STYLE.flatten(1).numpy()
    ridge = 1e-3 * np.eye(5)
    source = scipy.linalg.sqrtm(np.corrcoef(x) + ridge)
    target = scipy.linalg.sqrtm(np.corrcoef(y) + ridge)
    standard = (x - x.mean(1)[:, None]) / x.std(1)[:, None]
    expected = np.diag(y.std(1)) @ target @ np.linalg.inv(source) @ standard + y.mean(1)[:, None]
    np.testing.assert_allclose(mapped(coral).flatten(1), expected, atol=1e-9)


@pytest.mark.parametrize(("fit", "tolerance"), [(wct, 1e-9), (coral, 1e-2)])
def test_the_whole_covariance_is_matched(fit, tolerance):
    wanted, got = Moments.of(STYLE), Moments.of(mapped(fit))
    torch.testing.assert_close(got.mean, wanted.mean)
    assert (got.cov - wanted.cov).norm() < tolerance * wanted.cov.norm()


def test_histogram_maps_ranks_to_ranks():
    curve = histogram(Quantiles.of(CONTENT, count=42), Quantiles.of(STYLE, count=42))
    ranks = CONTENT.flatten(1).argsort(1).argsort(1)
    expected = STYLE.flatten(1).sort(1).values.gather(1, ranks)
    torch.testing.assert_close(curve(CONTENT).flatten(1), expected)


@pytest.mark.parametrize("fit", [adain, wct, coral])
def test_matching_a_picture_to_itself_changes_nothing(fit):
    moments = Moments.of(CONTENT)
    torch.testing.assert_close(fit(moments, moments)(CONTENT), CONTENT)


@pytest.mark.parametrize("fit", [adain, wct, coral])
def test_a_flat_content_gives_no_noise(fit):
    flat = torch.full((3, 8, 8), 0.5) + 1e-9 * torch.rand(3, 8, 8)
    style = Moments.of(torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)))
    got = fit(Moments.of(flat), style)(flat)
    assert got.isfinite().all()
    assert (got - style.mean[:, None, None]).abs().max() < 1.5 * style.std.max() * 3


def test_maps_take_batches():
    fitted = wct(Moments.of(CONTENT), Moments.of(STYLE))
    curve = histogram(Quantiles.of(CONTENT), Quantiles.of(STYLE))
    batch = torch.stack([CONTENT, STYLE])
    for apply in (fitted, curve):
        torch.testing.assert_close(apply(batch)[1], apply(STYLE))


def test_a_flat_photo_takes_the_mean_of_the_style():
    """Deviations that are only rounding must not be amplified."""
    flat = torch.tensor([0.5, 0.35, 0.3])[:, None, None].expand(3, 40, 50)
    style = torch.rand(3, 30, 30)
    for match in (adain, wct, coral):
        painted = match(Moments.of(flat), Moments.of(style))(flat)
        wanted = style.mean((1, 2))[:, None, None].expand_as(painted)
        torch.testing.assert_close(painted, wanted, atol=0.01, rtol=0)


def test_a_plateau_takes_the_middle_of_its_quantiles():
    """Four fifths white paper become the middle of the upper four fifths of a ramp."""
    ink = torch.ones(1, 10, 10)
    ink[:, :2] = 0
    ramp = torch.linspace(0, 1, 10_000).view(1, 100, 100)
    painted = histogram(Quantiles.of(ink), Quantiles.of(ramp))(ink)
    assert painted[0, 5, 5] == pytest.approx(0.6, abs=0.01)
    assert painted[0, 0, 0] == pytest.approx(0.1, abs=0.01)


def test_one_pixel_has_quantiles():
    quantiles = Quantiles.of(torch.rand(3, 1, 1))
    assert quantiles.values.shape == (3, 256)
    assert (quantiles.values == quantiles.values[:, :1]).all()
