"""Scaling part by part is scaling the whole."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from impasto.controls import MIN_SIDE
from impasto.huge.resampling import Canvas, Part, Scaling, scaled_part
from impasto.images import resize

SIDES = st.integers(MIN_SIDE, 150)
CLOSE = 3e-6


@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.integers(1, 60))
@example((128, 99), (128, 50), 37)
@example((128, 99), (50, 99), 37)
@example((128, 99), (128, 99), 37)
def test_rows_that_come_in_are_scaled_as_the_whole_would_be(source, target, rows):
    picture, canvas = torch.rand(1, 2, *source), Canvas(target, 2)
    scaling = Scaling(source, target, canvas.write)
    for some in picture.split(rows, -2):
        scaling.add(some)
    torch.testing.assert_close(canvas.pixels, resize(picture, *target), atol=CLOSE, rtol=0)


@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.data())
def test_a_part_follows_from_the_part_that_it_names(source, target, data):
    picture = torch.rand(1, 3, *source)
    top, left = (data.draw(st.integers(0, side - 1)) for side in target)
    bottom, right = (
        data.draw(st.integers(start + 1, side))
        for start, side in zip((top, left), target, strict=True)
    )
    wanted = Part((top, bottom), (left, right))
    held = wanted.needed(source, target)
    pixels = picture[..., slice(*held.rows), slice(*held.columns)]
    whole = resize(picture, *target)[..., top:bottom, left:right]
    torch.testing.assert_close(
        scaled_part(pixels, source, target, wanted), whole, atol=CLOSE, rtol=0
    )


@pytest.mark.parametrize(("source", "target"), [(4000, 1237), (3000, 4243), (2999, 3000)])
def test_long_sides_are_scaled_by_the_same_rounded_numbers(source, target):
    picture, canvas = torch.rand(1, 1, 8, source), Canvas((8, target), 1)
    Scaling((8, source), (8, target), canvas.write).add(picture)
    torch.testing.assert_close(canvas.pixels, resize(picture, 8, target), atol=CLOSE, rtol=0)
    picture, canvas = picture.mT, Canvas((target, 8), 1)
    Scaling((source, 8), (target, 8), canvas.write).add(picture)
    torch.testing.assert_close(canvas.pixels, resize(picture, target, 8), atol=CLOSE, rtol=0)
