"""Levels, noise like a style's texture, and what is given from level to level."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impasto import coarse_to_fine
from impasto.coarse_to_fine import Texture, levels, revised
from impasto.controls import Style
from impasto.errors import Stop
from impasto.mixing import Mix
from impasto.stylizer import Stylizer
from tests.helpers.networks import tiny_adain
from tests.helpers.pictures import as_tensor, painting_array, photo_array


def sides(found):
    return [(level.height * level.width) ** 0.5 for level in found]


def test_levels_follow_the_picture():
    """The same forms settle at the same sizes, whatever the resolution."""
    small, large = levels(512, 512, 1, 0.6), levels(6000, 6000, 1, 0.6)
    assert [level.height for level in small] == [160, 226, 320, 512]
    assert large[:3] == small[:3]
    assert [level.height for level in large[3:]] == [640]
    assert [level.detail for level in large] == [1.0, 0.6, 0.6, 0.3]


def test_a_small_picture_begins_at_half_of_its_size():
    assert [level.height for level in levels(200, 200, 1, 0.6)] == [100, 141, 200]


def test_larger_strokes_begin_smaller():
    first = [sides(levels(1500, 2000, size, 0.6))[0] for size in (3, 2, 1, 0.5)]
    np.testing.assert_allclose(first, [53.3, 80, 160, 320], rtol=0.01)


@given(st.integers(16, 7000), st.integers(16, 7000), st.floats(0, 4, allow_subnormal=False))
def test_levels_of_any_picture(height, width, stroke_size):
    found = levels(height, width, stroke_size, 0.6)
    whole = (found[-1].height, found[-1].width) == (height, width)
    assert whole or sides(found)[-1] == pytest.approx(4 * sides(found)[0], rel=0.05)
    assert all(min(level.height, level.width) >= 16 for level in found)
    growth = [b / a for a, b in zip(sides(found), sides(found)[1:], strict=False)]
    assert all(0.97 < factor < 2.1 for factor in growth)
    assert len(found) == 1 or stroke_size > 0


def test_a_single_level_is_the_method_itself(photo, painting):
    method = tiny_adain()
    mix = Mix.of(48, 64, [1.0], [None])
    fitted, while_fitting = method.fit(photo, [method.encode_style(painting)], mix)
    painted = Stylizer(method, device="cpu").stylize(photo, painting, stroke_size=0, style_size=56)
    torch.testing.assert_close(painted, fitted(photo, mix))
    torch.testing.assert_close(painted, while_fitting)


def test_what_is_given_to_a_level():
    """m (enlarged painting + d (photo - enlarged photo)) + (1 - m) photo, m = 1 - d."""
    photo, where = torch.rand(1, 3, 8, 8) * 0.2 + 0.4, torch.zeros(2, 8, 8)
    where[0, :, 4:] = 1
    where[1] = 1 - where[0]
    painted, before = torch.full((1, 3, 4, 4), 0.5), torch.full((1, 3, 4, 4), 0.4)
    given = revised(photo, painted, before, 0.25, where[0]).numpy()
    wanted = 0.75 * (0.5 + 0.25 * (photo.mean(1, keepdim=True) - 0.4)) + 0.25 * photo
    np.testing.assert_allclose(given[..., :4], wanted.numpy()[..., :4], atol=1e-5)
    np.testing.assert_array_equal(given[..., 4:], photo.numpy()[..., 4:])


def stripes(period, across):
    """A painting of stripes."""
    places = torch.arange(96.0)
    wave = 0.5 + 0.3 * torch.sin(2 * torch.pi * places / period)
    rows = wave.expand(96, 96)
    return (rows if across else rows.T).expand(1, 3, 96, 96)


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("period", [4, 8])
def test_noise_takes_scale_and_direction_from_the_style(across, period):
    noise = Texture.of(stripes(period, across)).colour(torch.randn(1, 1, 128, 128))[0, 0].numpy()
    power = np.abs(np.fft.fft2(noise)) ** 2
    down, right = (np.abs(np.fft.fftfreq(128)) for _ in range(2))
    along, other = (right, down) if across else (down, right)
    axes = (1, 0) if across else (0, 1)
    frequency = (power.sum(axes[1]) * along).sum() / power.sum()
    crosswise = (power.sum(axes[0]) * other).sum() / power.sum()
    assert abs(frequency - 1 / period) < 0.05
    assert crosswise < 0.5 * frequency


def test_noise_is_as_strong_as_the_texture():
    white = torch.randn(1, 1, 64, 64)
    assert Texture.of(torch.full((1, 3, 40, 40), 0.3)).colour(white).abs().max() < 1e-6
    rough = torch.rand(1, 3, 40, 40)
    one, other = (Texture.of(style).colour(white) for style in (rough, 0.5 * rough))
    ratio = one.std() / other.std()
    assert float(ratio) == pytest.approx(2, abs=0.01)


def test_smooth_surfaces_get_strokes_where_the_style_has_some():
    photo, network = torch.full((1, 3, 96, 96), 0.5), Stylizer(tiny_adain(), device="cpu")
    rough, smooth = as_tensor(painting_array()), torch.full((1, 3, 56, 40), 0.4)
    assert network.stylize(photo, rough).std((2, 3)).max() > 0.02
    assert network.stylize(photo, smooth).std((2, 3)).max() < 1e-3


def test_the_seed_is_that_of_the_noise(painting):
    photo, network = torch.full((1, 3, 64, 64), 0.5), Stylizer(tiny_adain(), device="cpu")
    one, other = (network.stylize(photo, painting, seed=seed) for seed in (0, 1))
    assert (one - other).abs().mean() > 1e-3


def test_colours_come_close_to_the_palette_of_the_style(monkeypatch, painting):
    photo, network = as_tensor(photo_array(96, 96)), Stylizer(tiny_adain(), device="cpu")

    def distance():
        painted = network.stylize(photo, painting)
        one, other = (torch.cov(image[0].flatten(1)) for image in (painted, painting))
        return float((one - other).norm() / other.norm())

    near = distance()
    monkeypatch.setattr(coarse_to_fine, "PALETTE", 0.0)
    assert near < distance()


def test_strokes_have_the_same_size_on_a_picture_of_any_size(painting):
    network = Stylizer(tiny_adain(), device="cpu")

    def strokes(side, **controls):
        photo = as_tensor(photo_array(side, side))
        transfer: Any = network.fit(photo, painting, **controls).transfer
        return transfer.strokes_scale

    assert strokes(256) == 0  # as sharp as the network paints it
    small, large = strokes(600), strokes(1200)
    assert large + 0.4 == pytest.approx(2 * (small + 0.4))
    assert strokes(1200, stroke_size=2) > 2 * large
    assert strokes(600, stroke_size=0) == 0


@pytest.fixture
def enlarged(monkeypatch):
    """A photo that is larger than the last level, and abstracted in several tiles."""
    monkeypatch.setattr(coarse_to_fine, "_COARSEST_SIDE", 36)
    monkeypatch.setattr(coarse_to_fine, "_FINEST", -0.3)
    monkeypatch.setattr("impasto.abstraction._TILE", 64)
    return as_tensor(photo_array(180, 200))


def test_what_is_kept_of_the_photo_is_the_photo(enlarged, painting):
    network = Stylizer(tiny_adain(), device="cpu")
    mask = np.full((180, 200), 255, np.uint8)
    mask[:, :90] = 0
    painted = network.stylize(enlarged, Style(painting, mask=mask))
    assert torch.equal(painted[..., :90], enlarged[..., :90])
    assert (painted - enlarged)[..., 90:].abs().mean() > 0.05
    assert torch.equal(network.stylize(enlarged, painting, strength=0), enlarged)


@pytest.mark.parametrize("last", [1, 2])
def test_a_painting_that_is_stopped_at_its_end_shows_all_of_it(enlarged, painting, last):
    def stop(progress):
        if progress.step == progress.steps - last:
            raise Stop

    network = Stylizer(tiny_adain(), device="cpu")
    whole, stopped = (
        network.stylize(enlarged, painting, on_step=step) for step in (lambda _: None, stop)
    )
    assert not torch.equal(stopped, whole)
    torch.testing.assert_close(stopped, whole, atol=0.3, rtol=0)


def test_strokes_of_a_long_picture_are_no_larger_than_its_first_level_says(painting):
    photo, network = as_tensor(photo_array(40, 1200)), Stylizer(tiny_adain(), device="cpu")
    long: Any = network.fit(photo, painting, stroke_size=4, detail=0).transfer
    assert long.levels[0].height >= 32
    assert long.forms_scale < 3


def test_full_detail_is_the_photo_that_the_network_sees(photo, painting):
    """`--detail 1` asks for all of the photo: nothing is abstracted before it is painted."""
    transfer: Any = Stylizer(tiny_adain(), device="cpu").fit(photo, painting, detail=1).transfer
    assert transfer.forms_scale == 0
