"""Abstraction: strokes follow the forms, edges stay, tiles change nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from impasto import abstraction
from impasto.abstraction import abstracted, blurred
from impasto.tiling import render


@settings(max_examples=20, deadline=None)
@given(st.integers(16, 50), st.integers(16, 50), st.floats(0.05, 4))
def test_the_result_is_a_picture_of_the_same_size(height, width, scale):
    image = torch.rand(2, 3, height, width)
    result = abstracted(image, scale)
    assert result.shape == image.shape
    assert 0 <= float(result.min()) <= float(result.max()) <= 1


def test_a_plain_surface_stays():
    image = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(1, 3, 40, 40)
    torch.testing.assert_close(abstracted(image, 1.5), image)


def test_a_gaussian_blur_is_scipy_s():
    image = torch.rand(1, 3, 30, 41)
    expected = [ndimage.gaussian_filter(c, 2, mode="nearest", truncate=3) for c in image[0].numpy()]
    np.testing.assert_allclose(blurred(image, 2)[0], np.stack(expected), atol=1e-5)


@pytest.mark.parametrize("degrees", [0, 30, 45, 90, 120])
def test_noise_goes_and_an_edge_stays_whatever_its_direction(degrees):
    angle = np.radians(degrees)
    down, right = np.mgrid[-48:48, -48:48]
    across = right * np.cos(angle) + down * np.sin(angle)
    clean = np.where(across > 0, 0.8, 0.2)
    noisy = clean + np.random.default_rng(0).normal(0, 0.03, clean.shape)
    image = torch.from_numpy(noisy).float().clamp(0, 1).expand(1, 3, -1, -1)
    result = abstracted(image, 1.0)[0, 0, 16:-16, 16:-16].numpy()
    clean, across = clean[16:-16, 16:-16], across[16:-16, 16:-16]
    surface = np.abs(across) > 4
    assert np.abs(result - clean)[surface].std() < 0.02 < noisy[16:-16, 16:-16][surface].std()
    assert np.abs(result - clean)[np.abs(across) > 1].max() < 0.15


def test_lines_are_smoothed_along_not_across():
    """A line that noise breaks up is whole again, and as thin as before."""
    rows = torch.full((60, 60), 0.2)
    rows[28:32] = 0.8
    dotted = rows.clone()
    dotted[28:32, ::4] = 0.6
    result = abstracted(dotted.expand(1, 3, -1, -1), 1.0)[0, 0]
    assert float(result[30, 10:50].std()) < 0.3 * float(dotted[30, 10:50].std())
    assert float(result[30, 10:50].mean()) > 0.7
    assert float(result[24, 10:50].max()) < 0.25


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.5])
def test_tiles_equal_the_whole(monkeypatch, scale):
    image = blurred(torch.rand(1, 3, 150, 190), 1.5)
    monkeypatch.setattr(abstraction, "_TILE", 48)
    boxes = abstraction.boxes(150, 190, scale)
    assert len(boxes) > 4
    parts = (abstracted(box.outer(image), scale) for box in boxes)
    tiled = render(parts, image, boxes, lambda *_: None)
    torch.testing.assert_close(tiled, abstracted(image, scale), atol=2e-4, rtol=0)
