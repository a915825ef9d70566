"""Styles, controls, and the settings that everything is made from."""

import math
from dataclasses import dataclass

import pytest

from impasto.controls import Controls, Style
from impasto.errors import ControlError
from impasto.settings import check_settings, make_settings, setting


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
    share: float = setting(0.5, "", min=0, max=1)
    count: int | None = setting(None, "", min=3)


def test_bounds_are_inside_and_named():
    for within in ({"share": 0}, {"share": 1.0}, {"count": 3}, {"count": None}):
        check_settings(Knobs(**within))
    with pytest.raises(ControlError, match=r"^share is 1\.01: use 0 to 1$"):
        check_settings(Knobs(share=1.01))
    with pytest.raises(ControlError, match=r"^count is 2: use at least 3$"):
        check_settings(Knobs(count=2))


def test_unknown_settings_are_refused_with_the_known_ones():
    with pytest.raises(ControlError, match=r"'strenght': known are strength, stroke_size, detail"):
        make_settings(Controls, {"strenght": 1})
