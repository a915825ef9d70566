"""How much of which style goes where, as one value."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impasto.errors import ControlError
from impasto.mixing import Mix


@given(
    st.lists(st.floats(0.01, 100), min_size=1, max_size=4),
    st.floats(0, 1),
    st.integers(0, 1000),
    st.booleans(),
)
def test_weights_are_shares_of_every_pixel(shares, strength, seed, masked):
    generator = torch.Generator().manual_seed(seed)
    masks = [torch.rand(5, 6, generator=generator) if masked else None for _ in shares]
    mix = Mix.of(5, 6, shares, masks, strength)
    weights = mix.weights
    assert mix.masked == masked
    assert weights.shape == ((1 + len(shares), 5, 6) if masked else (1 + len(shares), 1, 1))
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(0), torch.ones_like(weights[0]))
    assert (mix.photo >= 1 - strength - 1e-6).all()
    assert mix.strength == pytest.approx(float(mix.styles.sum(0).max()), abs=1e-6)


def test_without_masks_they_are_the_shares():
    weights = Mix.of(2, 2, [3.0, 1.0], [None, None], 0.8).weights
    torch.testing.assert_close(weights[:, 0, 0], torch.tensor([0.2, 0.6, 0.2]))


def test_only_the_ratio_of_shares_matters():
    tiny = Mix.of(2, 2, [1e-300, 3e-300], [None, None]).weights
    torch.testing.assert_close(tiny, Mix.of(2, 2, [1, 3], [None, None]).weights)


@pytest.mark.parametrize("masks", [[torch.ones(4, 4)] * 2, [None, torch.ones(4, 4)]])
def test_a_mask_of_ones_is_no_mask(masks):
    mix = Mix.of(4, 4, [1, 2], masks, 0.7)
    assert not mix.masked
    assert torch.equal(mix.weights, Mix.of(4, 4, [1, 2], [None, None], 0.7).weights)


def test_soft_masks_fade_into_the_photo_and_into_each_other():
    ramp = torch.linspace(0, 1, 6).expand(2, 6)
    alone = Mix.of(2, 6, [5.0], [ramp]).weights
    torch.testing.assert_close(alone[1], ramp)
    pair = Mix.of(2, 6, [1, 1], [ramp, 1 - ramp]).weights
    torch.testing.assert_close(pair, torch.stack((torch.zeros(2, 6), ramp, 1 - ramp)))


def test_unmasked_places_stay_the_photo():
    left = torch.zeros(3, 4)
    left[:, :2] = 1
    weights = Mix.of(3, 4, [1], [left], 0.5).weights
    assert (weights[0, :, 2:] == 1).all()
    assert (weights[0, :, :2] == 0.5).all()


def test_nothing_to_paint_is_an_error():
    with pytest.raises(ControlError, match="sum to zero"):
        Mix.of(2, 2, [0.0], [None])
    with pytest.raises(ControlError, match="mask of style 2 is all black"):
        Mix.of(2, 2, [1, 1], [None, torch.zeros(2, 2)])


def test_a_style_of_weight_0_does_not_harden_masks():
    mask = torch.full((20, 20), 0.1)
    with_it = Mix.of(20, 20, [1.0, 0.0], [mask, None]).weights
    torch.testing.assert_close(with_it[:2], Mix.of(20, 20, [1.0], [mask]).weights)
    Mix.of(20, 20, [1.0, 0.0], [mask, torch.zeros(20, 20)])  # whose mask does not matter


def test_undiluted_weights_keep_only_the_proportions():
    mask = torch.zeros(20, 20)
    mask[:, 5:10], mask[:, 10:] = 0.5, 1
    undone = Mix.of(20, 20, [2.0, 1.0], [mask, mask], 0.75).undiluted().weights
    torch.testing.assert_close(undone.sum(0), torch.ones(20, 20))
    assert (undone[0, :, :5] == 1).all()
    torch.testing.assert_close(undone[0, :, 5:], torch.full((20, 15), 0.25))
    torch.testing.assert_close(undone[1, :, 5:], torch.full((20, 15), 0.5))


def halves():
    """A mix of three styles: left, right, and everywhere, a bit."""
    left = torch.zeros(6, 8)
    left[:, :4] = 1
    return Mix.of(6, 8, [1.0, 1.0, 1.0], [left, 1 - left, left * 0.5 + 0.25], 0.8)


def test_parts_add_up_to_all_that_is_painted():
    mix = halves()
    parts = [mix.part([0, 2]), mix.part([1])]
    torch.testing.assert_close(sum(parts), torch.ones(6, 8))
    torch.testing.assert_close(parts[1], mix.styles[1] / mix.styles.sum(0))


def test_some_of_the_styles_take_over_the_share_of_the_others():
    mix = halves()
    some = mix.only([0, 2])
    torch.testing.assert_close(some.weights.sum(0), torch.ones(6, 8))
    torch.testing.assert_close(some.photo, mix.photo)
    torch.testing.assert_close(some.styles[0] * mix.styles[2], some.styles[1] * mix.styles[0])
    right = mix.only([1])
    assert (right.photo[:, :4] == 1).all()
    torch.testing.assert_close(right.photo[:, 4:], mix.photo[:, 4:])


def test_at_another_size_weights_still_sum_to_1():
    small = halves().resized(3, 5)
    assert small.weights.shape == (4, 3, 5)
    torch.testing.assert_close(small.weights.sum(0), torch.ones(3, 5))
    everywhere = Mix.of(6, 8, [1.0], [None])
    assert everywhere.resized(3, 5) is everywhere


def test_styles_of_one_mask_are_one_region():
    left = torch.zeros(6, 8)
    left[:, :2] = 1
    mix = Mix.of(6, 8, [3.0, 1.0, 2.0], [left, left, 1 - left], 0.5)
    first, second = mix.regions()
    assert first.shares == pytest.approx({0: 0.75, 1: 0.25})
    assert second.shares == {2: 1.0}
    assert (first.area, second.area) == pytest.approx((0.25, 0.75))
    torch.testing.assert_close(first.mask[0, 0], left)
    (whole,) = Mix.of(6, 8, [3.0, 1.0], [None, None], 0.5).regions()
    assert whole.mask is None
    assert whole.area == pytest.approx(1)
