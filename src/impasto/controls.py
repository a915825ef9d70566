"""Style and Controls: what the user asks for, whatever the method."""

from __future__ import annotations

import math
from dataclasses import dataclass
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
"""Controls and settings that make no sense for a texture."""

LOOK_SUFFIX = ".look"
"""Ends the names of files that `impasto.Look.save` writes."""

MIN_TILE = 64
"""Smallest side of tiles: below that the halo is all of the work."""


@dataclass(frozen=True)
class Style:
    """What to take the look from, how much of it, and where."""

    source: ImageLike
    """A picture: path, PIL image, array or tensor; or the name of a trained style."""
    weight: float = 1.0
    """Share among the styles, non-negative; only the ratio to the others matters."""
    mask: ImageLike | None = None
    """Where on the photo: white = here, black = not; of the photo's size. None = everywhere."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ControlError(f"style weight is {self.weight}: use a number of 0 or more")


@dataclass(frozen=True)
class Controls:
    """The user's knobs, the same for every method."""

    strength: float = setting(
        1.0, "How much style: 0 is the photo itself, 1 the full style.", min=0, max=1
    )
    stroke_size: float = setting(
        1.0,
        "Size of the largest brush strokes, relative to the picture, for networks: 2 is twice the "
        "usual, 0.5 half; 0 paints in a single pass, with strokes of a few pixels.",
        min=0,
        max=4,
    )
    detail: float = setting(
        0.75,
        "How much of the photo's detail there is between the strokes, for networks: 0 is the "
        "boldest painting, 1 the most faithful.",
        min=0,
        max=1,
    )
    preserve_color: ColorMode = setting(
        "off",
        "Keep the photo's colours: paint its lightness only (luminance), or recolour the style "
        "with the photo's palette first, or what a trained style painted (coral, histogram).",
        get_args(ColorMode),
    )
    size: int | None = setting(
        None,
        "Longer side of the result in pixels; without it, the photo's own size.",
        min=MIN_SIDE,
    )
    style_size: int | None = setting(
        None,
        "Longer side, in pixels, that the style picture is scaled to before it is measured: the "
        "optimiser's strokes grow with it. Without it, as large an area as the result.",
        min=MIN_SIDE,
    )
    tile: str | int = setting(
        "auto",
        "Paint large pictures in tiles of so many pixels a side, with the same result; auto: when "
        "memory asks for it.",
    )
    seed: int = setting(0, "Seed of all randomness: same seed, same picture.", min=0, max=2**63 - 1)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.tile != "auto" and not (str(self.tile).isdecimal() and int(self.tile) >= MIN_TILE):
            raise ControlError(f"tile is {self.tile}: use auto, or at least {MIN_TILE} pixels")
