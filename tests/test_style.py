"""Controls, and the one tensor that they compile to."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impasto.errors import ControlError
from impasto.style import (
    Controls,
    Style,
    check_settings,
    replace_known,
    setting,
    undiluted,
    weight_maps,
)


@given(
    st.lists(st.floats(0.01, 100), min_size=1, max_size=4),
    st.floats(0, 1),
    st.integers(0, 1000),
    st.booleans(),
)
def test_weights_are_shares_of_every_pixel(shares, strength, seed, masked):
    generator = torch.Generator().manual_seed(seed)
    masks = [torch.rand(5, 6, generator=generator) if masked else None for _ in shares]
    weights = weight_maps(5, 6, shares, masks, strength)
    assert weights.shape == (1 + len(shares), 5, 6)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(0), torch.ones(5, 6))
    assert (weights[0] >= 1 - strength - 1e-6).all()


def test_without_masks_they_are_the_shares():
    weights = weight_maps(2, 2, [3.0, 1.0], [None, None], 0.8)
    torch.testing.assert_close(weights[:, 0, 0], torch.tensor([0.2, 0.6, 0.2]))


def test_only_the_ratio_of_shares_matters():
    tiny = weight_maps(2, 2, [1e-300, 3e-300], [None, None])
    torch.testing.assert_close(tiny, weight_maps(2, 2, [1, 3], [None, None]))


def test_a_mask_of_ones_is_no_mask():
    ones = torch.ones(4, 4)
    torch.testing.assert_close(weight_maps(4, 4, [1], [ones]), weight_maps(4, 4, [1], [None]))


def test_soft_masks_fade_into_the_photo_and_into_each_other():
    ramp = torch.linspace(0, 1, 6).expand(2, 6)
    alone = weight_maps(2, 6, [5.0], [ramp])
    torch.testing.assert_close(alone[1], ramp)
    pair = weight_maps(2, 6, [1, 1], [ramp, 1 - ramp])
    torch.testing.assert_close(pair, torch.stack((torch.zeros(2, 6), ramp, 1 - ramp)))


def test_unmasked_places_stay_the_photo():
    left = torch.zeros(3, 4)
    left[:, :2] = 1
    weights = weight_maps(3, 4, [1], [left], 0.5)
    assert (weights[0, :, 2:] == 1).all()
    assert (weights[0, :, :2] == 0.5).all()


def test_nothing_to_paint_is_an_error():
    with pytest.raises(ControlError, match="sum to zero"):
        weight_maps(2, 2, [0.0], [None])
    with pytest.raises(ControlError, match="mask of style 2 is all black"):
        weight_maps(2, 2, [1, 1], [None, torch.zeros(2, 2)])


@pytest.mark.parametrize("weight", [-1, math.nan, math.inf])
def test_style_weights_are_checked(weight):
    with pytest.raises(ControlError, match="style weight"):
        Style("painting.jpg", weight)


@pytest.mark.parametrize(
    "values",
    [
        {"strength": 1.1},
        {"strength": -0.1},
        {"strength": math.nan},
        {"preserve_color": "hue"},
        {"size": 3},
        {"style_size": 0},
        {"seed": -1},
    ],
)
def test_controls_are_checked(values):
    with pytest.raises(ControlError, match=next(iter(values))):
        Controls(**values)


@dataclass(frozen=True)
class Knobs:
    share: float = setting(0.5, "", least=0, most=1)
    count: int | None = setting(None, "", least=3)


def test_bounds_are_inside_and_named():
    for within in ({"share": 0}, {"share": 1.0}, {"count": 3}, {"count": None}):
        check_settings(Knobs(**within))
    with pytest.raises(ControlError, match=r"^share is 1\.01: use 0 to 1$"):
        check_settings(Knobs(share=1.01))
    with pytest.raises(ControlError, match=r"^count is 2: use at least 3$"):
        check_settings(Knobs(count=2))


def test_unknown_settings_are_refused_with_the_known_ones():
    with pytest.raises(ControlError, match=r"'strenght': known are strength, stroke_size, detail"):
        replace_known(Controls, {"strenght": 1})


def test_a_style_of_weight_0_does_not_harden_masks():
    mask = torch.full((20, 20), 0.1)
    with_it = weight_maps(20, 20, [1.0, 0.0], [mask, None])
    torch.testing.assert_close(with_it[:2], weight_maps(20, 20, [1.0], [mask]))
    weight_maps(20, 20, [1.0, 0.0], [mask, torch.zeros(20, 20)])  # whose mask does not matter


def test_undiluted_weights_keep_only_the_proportions():
    mask = torch.zeros(20, 20)
    mask[:, 5:10], mask[:, 10:] = 0.5, 1
    undone = undiluted(weight_maps(20, 20, [2.0, 1.0], [mask, mask], 0.6), 0.25)
    torch.testing.assert_close(undone.sum(0), torch.ones(20, 20))
    assert (undone[0, :, :5] == 1).all()
    torch.testing.assert_close(undone[0, :, 5:], torch.full((20, 15), 0.25))
    torch.testing.assert_close(undone[1, :, 5:], torch.full((20, 15), 0.5))
