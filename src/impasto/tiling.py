"""Pictures larger than memory, tile by tile, with nothing to be seen of the tiles.

A network that is local, its statistics measured beforehand, paints a tile exactly as it would paint
the whole picture if the tile brings along what its inner pixels see: a halo as wide as the
network's reach. Large styles are measured the same way, since `impasto.moments.Moments` add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from impasto.errors import Stop

_STRIP_PIXELS = 2**22
"""How many pixels `by_strips` hands on at once."""


@dataclass(frozen=True)
class Tiling:
    """What a local function needs so that its tiles equal the whole."""

    halo: int
    """Pixels that it sees beyond a pixel, to each side."""
    stride: int
    """Tiles begin at multiples of this: the stride of the deepest features."""

    def boxes(self, height: int, width: int, tile: int | None) -> Iterator[Box]:
        """Tiles of at most ``tile`` pixels a side, row by row; None for a single one."""
        step = max(tile or max(height, width), self.stride) // self.stride * self.stride
        if tile is None:
            step += self.stride
        margin = -(-self.halo // self.stride) * self.stride
        for top in range(0, height, step):
            for left in range(0, width, step):
                yield Box(
                    top,
                    left,
                    min(top + step, height),
                    min(left + step, width),
                    max(top - margin, 0),
                    max(left - margin, 0),
                    min(top + step + margin, height),
                    min(left + step + margin, width),
                )

    def padded(self, maps: Tensor) -> Tensor:
        """Maps (N, C, H, W), their last rows and columns repeated up to multiples of the stride."""
        height, width = maps.shape[-2:]
        margins = (0, -width % self.stride, 0, -height % self.stride)
        return F.pad(maps, margins, mode="replicate")


@dataclass(frozen=True)
class Box:
    """A tile: the pixels that it is for, and around them those that have to be looked at."""

    top: int
    left: int
    bottom: int
    right: int
    outer_top: int
    outer_left: int
    outer_bottom: int
    outer_right: int

    def outer(self, maps: Tensor) -> Tensor:
        """The part of (..., H, W) to look at."""
        return maps[..., self.outer_top : self.outer_bottom, self.outer_left : self.outer_right]

    def put(self, target: Tensor, painted: Tensor) -> None:
        """Copies the inner part of ``painted``, as large as the outer box, to its place."""
        target[..., self.top : self.bottom, self.left : self.right] = self.inner(painted, 1)

    def inner(self, maps: Tensor, stride: int) -> Tensor:
        """What belongs to the tile itself of maps (..., h, w) of the outer box at this stride."""
        top, left = self.top - self.outer_top, self.left - self.outer_left
        height, width = self.bottom - self.top, self.right - self.left
        return maps[
            ...,
            top // stride : -(-(top + height) // stride),
            left // stride : -(-(left + width) // stride),
        ]


def render(
    parts: Iterable[Tensor],
    content: Tensor,
    boxes: Sequence[Box],
    on_tile: Callable[[int, Tensor], None],
) -> Tensor:
    """Puts a picture together from tiles, one by one as they are painted.

    Args:
        parts: the tiles painted, each as large as its outer box.
        content: the photo (1, 3, H, W).
        boxes: of `Tiling.boxes`.
        on_tile: told how many tiles are done, and the picture so far; where it is not yet painted
            it shows the photo. May raise `Stop`, which ends with that picture.
    """
    result = content.clone()
    try:
        for done, (box, part) in enumerate(zip(boxes, parts, strict=True), 1):
            box.put(result, part)
            on_tile(done, result)
    except Stop:
        pass
    return result


def by_strips(function: Callable[..., Tensor], *images: Tensor) -> Tensor:
    """``function(*images)`` for a function of single pixels, without its temporaries being large.

    Args:
        function: takes pictures (..., H, W), returns one of the first one's shape.
        *images: of the same height and width.
    """
    rows = max(_STRIP_PIXELS // images[0].shape[-1], 1)
    if rows >= images[0].shape[-2]:
        return function(*images)
    result = torch.empty_like(images[0])
    for top in range(0, images[0].shape[-2], rows):
        strip = slice(top, top + rows)
        result[..., strip, :] = function(*(image[..., strip, :] for image in images))
    return result
