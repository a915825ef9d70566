"""Colour against the published formulas in NumPy, known colours, and what "kept" means."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impasto import color
from impasto.moments import Moments
from tests.helpers.pictures import as_tensor, painting_array, photo_array


def numpy_lab(rgb):
    """sRGB (..., 3) -> Lab, from IEC 61966-2-1 and CIE 15, in float64."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = linear @ matrix.T / matrix.sum(1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), -1)


def test_lab_is_the_published_formula():
    rgb = torch.rand(1, 3, 8, 9, dtype=torch.float64)
    expected = numpy_lab(rgb[0].permute(1, 2, 0).numpy())
    np.testing.assert_allclose(color.srgb_to_lab(rgb)[0].permute(1, 2, 0), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
    ],
)
def test_lab_of_known_colours(rgb, lab):
    got = color.srgb_to_lab(torch.tensor(rgb, dtype=torch.float64).view(1, 3, 1, 1)).flatten()
    np.testing.assert_allclose(got, lab, atol=0.01)


@given(st.integers(0, 10_000))
def test_lab_and_linear_go_there_and_back(seed):
    rgb = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(color.lab_to_srgb(color.srgb_to_lab(rgb)), rgb, atol=1e-4, rtol=0)
    linear = color.linear_to_srgb(color.srgb_to_linear(rgb))
    torch.testing.assert_close(linear, rgb, atol=1e-5, rtol=0)


def test_coral_gives_the_style_the_photos_palette():
    photo, painting = as_tensor(photo_array()), as_tensor(painting_array())
    recoloured = Moments.of(color.prepare_style(painting, photo, "coral")[0])
    wanted = Moments.of(photo[0])
    torch.testing.assert_close(recoloured.mean, wanted.mean, atol=0.05, rtol=0)
    before = (Moments.of(painting[0]).cov - wanted.cov).norm()
    assert (recoloured.cov - wanted.cov).norm() < 0.3 * before


def test_histogram_gives_the_style_the_photos_histogram():
    photo, painting = torch.rand(1, 3, 40, 40) ** 2, torch.rand(1, 3, 50, 30)
    recoloured = color.prepare_style(painting, photo, "histogram")
    levels = np.linspace(0.05, 0.95, 10)
    got = np.quantile(recoloured[0].flatten(1).numpy(), levels, axis=1)
    wanted = np.quantile(photo[0].flatten(1).numpy(), levels, axis=1)
    np.testing.assert_allclose(got, wanted, atol=0.03)


def test_luminance_paints_grey_and_keeps_the_chroma():
    photo, painting = as_tensor(photo_array()), as_tensor(painting_array())
    style = color.prepare_style(painting, photo, "luminance")
    assert color.srgb_to_lab(style)[:, 1:].abs().max() < 0.1
    light = color.srgb_to_lab(style)[:, 0].mean() - color.srgb_to_lab(photo)[:, 0].mean()
    assert abs(light) < 3
    painted = color.to_grey(photo) * 0.5 + 0.25
    finished = color.srgb_to_lab(color.finish(painted, photo, "luminance"))
    inside = (finished[:, 0] > 20) & (finished[:, 0] < 80)
    chroma = (finished - color.srgb_to_lab(photo))[:, 1:].abs().amax(1)
    assert chroma[inside].median() < 2


@pytest.mark.parametrize("mode", ["off", "coral", "histogram"])
def test_other_modes_leave_photo_and_result_alone(mode):
    photo = as_tensor(photo_array())
    assert color.prepare_content(photo, mode) is photo
    assert color.finish(photo, photo * 0.5, mode) is photo


@pytest.mark.parametrize("mode", ["luminance", "coral", "histogram"])
def test_flat_pictures_give_no_nan(mode):
    flat, photo = torch.full((1, 3, 16, 16), 0.5), as_tensor(photo_array())
    assert color.prepare_style(flat, photo, mode).isfinite().all()
    assert color.prepare_style(photo, flat, mode).isfinite().all()
