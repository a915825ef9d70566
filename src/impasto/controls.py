"""`Style` and `Controls`: what the user asks for, whatever the method."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Literal, get_args

from impasto.errors import ControlError
from impasto.settings import check_settings, setting

if TYPE_CHECKING:
    from impasto.images import ImageLike

ColorMode = Literal["off", "luminance", "coral", "histogram"]

MIN_SIDE = 16
"""Shortest side, in pixels, of a picture that can be painted: deeper features need this much."""

OF_PHOTOS = (
    *("strength", "stroke_size", "detail", "preserve_color"),
    *("content_weight", "content_layers"),
)
"""Names of controls and settings that are about a photo, which a texture has not."""

LOOK_SUFFIX = ".look"
"""Extension of the files that `impasto.Look.save` writes."""

MIN_TILE = 64
"""Smallest side of tiles in pixels; smaller ones would mostly be halo."""


@dataclass(frozen=True)
class Style:
    """A style with its weight among several, and with a mask that says where on the photo it goes.

    Raises:
        ControlError: the weight is not a number of 0 or more.
    """

    source: ImageLike
    """The style picture as path, PIL image, array or tensor; or the name of a bundled style."""
    weight: float = 1.0
    """Weight among the styles, 0 or more; only the ratio to the other weights matters."""
    mask: ImageLike | None = None
    """Picture of the photo's size, white where the style goes and black where it does not; None for
    everywhere."""

    def __post_init__(self) -> None:
        number = isinstance(self.weight, Real) and math.isfinite(self.weight)
        if not (number and self.weight >= 0):
            raise ControlError(f"style weight is {self.weight!r}: use a number of 0 or more")


@dataclass(frozen=True)
class Controls:
    """What a painting is to be like, whatever the method.

    Raises:
        ControlError: a value is not allowed.
    """

    strength: float = setting(
        1.0,
        "How much of the style there is: 0 is the photo itself, 1 the full style.",
        min=0,
        max=1,
    )
    stroke_size: float = setting(
        1.0,
        "Size of the largest brush strokes of the networks, relative to the usual size: 2 is twice "
        "as large, 0.5 half as large; 0 paints in a single pass, with strokes of a few pixels.",
        min=0,
        max=4,
    )
    detail: float = setting(
        0.75,
        "How much of the photo's fine detail the networks keep between the strokes: 0 gives the "
        "boldest painting, 1 the most faithful.",
        min=0,
        max=1,
    )
    preserve_color: ColorMode = setting(
        "off",
        "How to keep the photo's colours: luminance paints light and dark only; coral and "
        "histogram first recolour the style with the photo's palette; off takes the style's "
        "colours.",
        get_args(ColorMode),
    )
    size: int | None = setting(
        None,
        "Longer side of the result in pixels (default: the photo's own size).",
        min=MIN_SIDE,
    )
    style_size: int | None = setting(
        None,
        "Longer side in pixels that the style picture is scaled to before it is measured; the "
        "optimiser's strokes grow with it (default: the area of the result; for networks, at most "
        "that of 512 x 512).",
        min=MIN_SIDE,
    )
    tile: str | int = setting(
        "auto",
        "Side in pixels of the tiles in which networks paint large pictures, without changing the "
        "result; auto uses tiles only if memory is short.",
    )
    seed: int = setting(
        0, "Seed of the random numbers; the same seed gives the same picture.", min=0, max=2**63 - 1
    )
    stop_after: int | None = setting(
        None,
        "End after this many steps, with the picture so far, whatever the limit in seconds; this "
        "paints a picture again that was stopped there (default: do all steps).",
        min=1,
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.tile != "auto" and not (str(self.tile).isdecimal() and int(self.tile) >= MIN_TILE):
            raise ControlError(f"tile is {self.tile}: use auto, or at least {MIN_TILE} pixels")
