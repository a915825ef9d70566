"""Maps are moved as the flow says, and noise keeps its strength wherever it is looked up."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given
from hypothesis import strategies as st

from impasto.motion import Motion, sampled, sampled_around


def constant_flow(x, y, height, width):
    return torch.tensor([x, y], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, height, width)


def maps(height=20, width=31, channels=3):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, channels, height, width, generator=generator)


@given(x=st.integers(-9, 9), y=st.integers(-9, 9))
def test_whole_pixels_are_copied_and_the_border_repeated(x, y):
    image = maps()
    moved = sampled(image, constant_flow(x, y, 20, 31))
    rows = (np.arange(20) + y).clip(0, 19)
    columns = (np.arange(31) + x).clip(0, 30)
    assert torch.allclose(moved, image[..., rows, :][..., columns], atol=1e-5)


def test_bilinear_is_that_of_scipy():
    image, flow = maps(), 6 * maps(channels=2) - 3
    rows, columns = np.mgrid[:20, :31]
    places = [rows + flow[0, 1].numpy(), columns + flow[0, 0].numpy()]
    moved = sampled(image, flow, "bilinear")
    for channel, plane in enumerate(image[0].double().numpy()):
        expected = scipy.ndimage.map_coordinates(plane, places, order=1, mode="nearest")
        assert np.allclose(moved[0, channel], expected, atol=1e-5)


def test_a_smaller_motion_is_the_same_on_the_picture():
    motion = Motion(constant_flow(6.0, -3.0, 40, 60), torch.full((1, 1, 40, 60), 0.7))
    small = motion.resized(20, 20)
    assert torch.allclose(small.flow, constant_flow(2.0, -1.5, 20, 20))
    assert torch.allclose(small.trust, torch.tensor(0.7))


def test_all_of_a_motion_goes_to_a_device():
    motion = Motion(constant_flow(1.0, 0.0, 4, 5), torch.ones(1, 1, 4, 5)).to(torch.device("meta"))
    assert motion.flow.is_meta
    assert motion.trust.is_meta


@pytest.mark.parametrize("trust", [0.0, 0.25, 1.0])
def test_what_is_trusted_comes_from_before(trust):
    """Strokes are others, colours are the same."""
    painted = 0.4 + 0.2 * (maps(160, 160) > 0.5)
    before = painted.flip(-1)
    motion = Motion(constant_flow(2.0, 0.0, 160, 160), torch.full((1, 1, 160, 160), trust))
    result = motion.steadied(painted, before)
    expected = trust * sampled(before, motion.flow) + (1 - trust) * painted
    assert (result - expected).abs().mean() < 0.1 * max(trust, 0.01) * 0.1
    assert (result - painted).abs().mean() >= 0.9 * trust * (before - painted).abs().mean()


def test_other_colours_do_not_come_from_before():
    painted, before = torch.full((1, 3, 40, 60), 0.7), torch.full((1, 3, 40, 60), 0.4)
    still = Motion(constant_flow(0.0, 0.0, 40, 60), torch.ones(1, 1, 40, 60))
    assert torch.allclose(still.steadied(painted, before), painted, atol=1e-3)
    assert torch.allclose(still.steadied(painted, painted - 0.01), painted - 0.01, atol=1e-3)


@given(x=st.integers(-50, 50), y=st.integers(-50, 50), height=st.integers(3, 9))
def test_maps_that_repeat_are_rolled(x, y, height):
    image = maps(height, 8)
    found = sampled_around(image, constant_flow(x, y, height, 8))
    assert torch.allclose(found, image.roll((-y, -x), (-2, -1)), atol=1e-5)


@pytest.mark.parametrize("part", [0.25, 0.5, 0.75])
def test_noise_keeps_its_strength_between_pixels(part):
    noise = torch.randn(1, 1, 64, 96, generator=torch.Generator().manual_seed(0))
    found = sampled_around(noise, constant_flow(part, part, 64, 96))
    assert found.std() == pytest.approx(float(noise.std()), rel=0.03)
    assert sampled(noise, constant_flow(part, part, 64, 96)).std() < 0.95 * noise.std()
