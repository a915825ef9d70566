"""Tiling: pictures larger than memory, painted tile by tile, without visible seams.

A network that is local, its statistics measured beforehand, paints a tile exactly as it would paint
the whole picture if the tile comes with all that its pixels see: a halo as wide as the network's
reach. Large styles are measured tile by tile as well, since `impasto.moments.Moments` add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.errors import Stop

_STRIP_PIXELS = 2**22
"""Number of pixels that `by_strips` handles at once."""


@dataclass(frozen=True)
class Tiling:
    """How a network's picture can be divided into tiles so that they equal the whole."""

    halo: int
    """Number of pixels that the network sees beyond each pixel, to each side."""
    stride: int
    """Tiles begin at multiples of this number of pixels: the stride of the deepest features."""

    def boxes(self, height: int, width: int, tile: int | None) -> Iterator[Box]:
        """Divides a picture into tiles, row by row.

        Args:
            height: height of the picture in pixels.
            width: width of the picture in pixels.
            tile: longest side of a tile in pixels, without its halo; None for a single tile.
        """
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

    def padded(self, maps: Tensor, margin: int = 0) -> Tensor:
        """Continues maps (N, C, H, W) beyond their edges by mirroring them.

        Args:
            maps: the maps.
            margin: how far to each side, in pixels; below and on the right it is as much more as
                makes the sides multiples of the stride.
        """
        rows, columns = (self._mirrored(side, margin).to(maps.device) for side in maps.shape[-2:])
        return maps.index_select(-2, rows).index_select(-1, columns)

    def _mirrored(self, side: int, margin: int) -> Tensor:
        """The numbers of the rows or columns that follow each other when ``side`` are mirrored."""
        end = side + margin + -(side + 2 * margin) % self.stride
        numbers = torch.arange(-margin, end) % (2 * side)
        return torch.minimum(numbers, 2 * side - 1 - numbers)


@dataclass(frozen=True)
class Box:
    """A tile of a picture, and the outer box around it, which includes its halo.

    Edges are in pixels of the picture, from its top left corner; bottom and right are exclusive.
    """

    top: int
    left: int
    bottom: int
    right: int
    outer_top: int
    outer_left: int
    outer_bottom: int
    outer_right: int

    @property
    def area(self) -> int:
        """Number of pixels of the tile with its halo."""
        return (self.outer_bottom - self.outer_top) * (self.outer_right - self.outer_left)

    def outer(self, maps: Tensor) -> Tensor:
        """Returns the part of a picture's maps (..., H, W) that is the tile with its halo."""
        return maps[..., self.outer_top : self.outer_bottom, self.outer_left : self.outer_right]

    def put(self, target: Tensor, painted: Tensor) -> None:
        """Copies a painted tile into the picture.

        Args:
            target: the picture (..., H, W), which is changed.
            painted: the tile painted with its halo, (..., h, w).
        """
        target[..., self.top : self.bottom, self.left : self.right] = self.inner(painted, 1)

    def inner(self, maps: Tensor, stride: int) -> Tensor:
        """Returns the part of a tile's maps that belongs to the tile itself, without its halo.

        Args:
            maps: maps of the tile with its halo, (..., h, w).
            stride: pixels per element of the maps, along each side.
        """
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
        parts: the tiles painted with their halos, (1, 3, h, w) each.
        content: the photo (1, 3, H, W), which shows where nothing is painted yet.
        boxes: the tiles, from `Tiling.boxes`.
        on_tile: called after each tile with the number of tiles that are done and the picture so
            far; it may raise `impasto.Stop` to end with that picture.

    Returns:
        The picture (1, 3, H, W).
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
    """Calls a function of single pixels strip by strip, so that it needs little memory.

    Args:
        function: takes pictures (..., H, W), and returns one of the first one's shape.
        *images: the pictures, all of the same height and width.

    Returns:
        ``function(*images)``
    """
    rows = max(_STRIP_PIXELS // images[0].shape[-1], 1)
    if rows >= images[0].shape[-2]:
        return function(*images)
    result = torch.empty_like(images[0])
    for top in range(0, images[0].shape[-2], rows):
        strip = slice(top, top + rows)
        result[..., strip, :] = function(*(image[..., strip, :] for image in images))
    return result
