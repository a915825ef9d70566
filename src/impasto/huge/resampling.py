"""Scaling part by part: what `impasto.images.resize` makes of a picture that is never in memory.

Bicubic scaling, antialiased when it shrinks, works along one side and then the other, and each
pixel of the result depends on a few pixels of the source. So any part of the result follows from
a part of the source, and rows can be scaled as they come in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from impasto.tiling import Box

Size: TypeAlias = tuple[int, int]
"""Height and width in pixels."""
Span: TypeAlias = tuple[int, int]
"""The first pixel along a side, and the one after the last."""

_REACH, _SHARPNESS = 2.0, -0.5
"""Of the cubic kernel: pixels to each side, and the parameter that Keys 1981 calls a."""
_BLOCK = 64
"""So many pixels of the result are reckoned at once, fewer if each depends on many."""
_ROWS = 32
"""So many rows of the source are added at once."""


@lru_cache(maxsize=64)
def _extents(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each pixel along a side of the result, the first pixel of the source that it depends on,
    and the one after the last. In single precision, as PyTorch does it.
    """
    scale = np.float32(source) / np.float32(target)
    support = np.float32(_REACH) * max(scale, np.float32(1))
    centres = scale * (np.arange(target, dtype=np.float32) + np.float32(0.5))
    first = np.trunc(centres - support + np.float32(0.5)).astype(np.int64).clip(0)
    last = np.trunc(centres + support + np.float32(0.5)).astype(np.int64).clip(max=source)
    return first, last


def _weights(
    source: int, target: int, places: NDArray[np.int64], outputs: NDArray[np.int64]
) -> Tensor:
    """The weights of pixels along a side of the source for pixels of the result; the arrays of
    both are broadcast.
    """
    firsts, lasts = (extent[outputs] for extent in _extents(source, target))
    scale = np.float32(source) / np.float32(target)
    centres = scale * (outputs.astype(np.float32) + np.float32(0.5))
    # Relative to the first pixel, as PyTorch reckons: large numbers would lose digits.
    offsets = (places - firsts).astype(np.float32) + (firsts - centres).astype(np.float32)
    distance = np.abs((offsets + np.float32(0.5)) / max(scale, np.float32(1)))
    weights = np.where((places >= firsts) & (places < lasts), _cubic(distance), np.float32(0))
    return torch.from_numpy(weights / weights.sum(-1, keepdims=True, dtype=np.float32))


def _blocks(source: int, target: int, wanted: Span) -> tuple[Tensor, Tensor]:
    """How pixels along a side of the result follow from those of the source, in blocks of B pixels:
    all at once, since many small products would take longer.

    Returns:
        Which n pixels of the source each block depends on, (blocks, n); and their weights,
        (blocks, n, B).
    """
    size = max(int(_BLOCK / max(source / target, 1)), 4)
    count = -(-(wanted[1] - wanted[0]) // size)
    outputs = (wanted[0] + np.arange(count * size)).clip(max=wanted[1] - 1).reshape(count, size)
    firsts, lasts = _extents(source, target)
    begins = firsts[outputs[:, :1]]
    longest = int((lasts[outputs[:, -1:]] - begins).max())
    places = begins + np.arange(longest)  # (blocks, n)
    weights = _weights(source, target, places[:, None], outputs[..., None])
    end = _needed(source, target, wanted)[1]
    return torch.from_numpy(places.clip(max=end - 1)), weights.mT


@lru_cache(maxsize=64)
def _blocks_of_whole(source: int, target: int) -> tuple[Tensor, Tensor]:
    """The same for a whole side, kept for the next rows. Those of parts are not: so many small
    tensors that stay would keep the memory between them from being used again.
    """
    return _blocks(source, target, (0, target))


def _cubic(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cubic convolution kernel at distances in pixels."""
    a = np.float32(_SHARPNESS)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, np.float32(0)))


@dataclass(frozen=True)
class Part:
    """A part of a picture, or of one of its sizes."""

    rows: Span
    columns: Span

    @classmethod
    def of(cls, box: Box) -> Part:
        """Returns the part that is a tile with its halo."""
        return cls((box.outer_top, box.outer_bottom), (box.outer_left, box.outer_right))

    def needed(self, source: Size, target: Size) -> Part:
        """Returns the part of the source that this part of a scaled picture depends on."""
        return Part(
            _needed(source[0], target[0], self.rows), _needed(source[1], target[1], self.columns)
        )


Write: TypeAlias = Callable[[Part, Tensor], None]
"""Is given a part of a picture and its pixels, (1, C, h, w)."""


def _needed(source: int, target: int, wanted: Span) -> Span:
    if source == target:
        return wanted
    firsts, lasts = _extents(source, target)
    return int(firsts[wanted[0]]), int(lasts[wanted[1] - 1])


def _along_rows(pixels: Tensor, start: int, source: int, target: int, wanted: Span) -> Tensor:
    """Scales a part of a picture, (1, C, h, n), from side to side, without clipping.

    Args:
        pixels: the part, which holds all that is needed.
        start: where in the source's rows it begins.
        source: length of the source's rows in pixels.
        target: length of the result's rows in pixels.
        wanted: which pixels of the result's rows are returned.
    """
    if source == target:
        return pixels[..., wanted[0] - start : wanted[1] - start]
    whole = wanted == (0, target)
    places, weights = _blocks_of_whole(source, target) if whole else _blocks(source, target, wanted)
    rows = pixels.reshape(-1, pixels.shape[-1])
    held = rows[:, (places - start).reshape(-1)].view(len(rows), *places.shape)
    scaled = torch.bmm(held.transpose(0, 1), weights).transpose(0, 1)  # (rows, blocks, B)
    return scaled.reshape(*pixels.shape[:-1], -1)[..., : wanted[1] - wanted[0]]


def scaled_part(pixels: Tensor, source: Size, target: Size, wanted: Part) -> Tensor:
    """Returns a part of what `impasto.images.resize` would make of a picture.

    Args:
        pixels: of ``wanted.needed(source, target)``, (1, C, h, w).
        source: size of the picture.
        target: size that it is scaled to.
        wanted: the part of the result.
    """
    if source == target:
        return pixels
    held = wanted.needed(source, target)
    top, left = held.rows[0], held.columns[0]
    wide = _along_rows(pixels, left, source[1], target[1], wanted.columns).mT
    both = _along_rows(wide, top, source[0], target[0], wanted.rows).mT
    return both.clamp(0, 1).contiguous()


class Scaling:
    """Scales a picture row by row, as `impasto.images.resize` would scale the whole.

    Args:
        source: size of the picture.
        target: size that it is scaled to.
        write: is given the rows of the result from top to bottom, as soon as they are known.
    """

    def __init__(self, source: Size, target: Size, write: Write) -> None:
        self.source, self.target, self.write = source, target, write
        self._read = self._done = 0
        self._sums: Tensor | None = None  # rows of the result that are not complete

    def add(self, rows: Tensor) -> None:
        """Takes the next rows of the picture, (1, C, h, W)."""
        if self.source[0] == self.target[0]:
            self._emit(rows)
            return
        for some in torch.split(rows, _ROWS, -2):
            self._accumulate(some)

    def _accumulate(self, rows: Tensor) -> None:
        """Adds rows of the picture to those rows of the result that they take part in."""
        top, bottom = self._read, self._read + rows.shape[-2]
        self._read = bottom
        sides = self.source[0], self.target[0]
        firsts, lasts = _extents(*sides)
        stop = int(np.searchsorted(firsts, bottom))
        if stop == self._done:
            return
        sums = rows.new_zeros(*rows.shape[:-2], stop - self._done, rows.shape[-1])
        if self._sums is not None:
            sums[..., : self._sums.shape[-2], :] = self._sums
        outputs = np.arange(self._done, stop)[:, None]
        begin, end = int(firsts[self._done]), int(lasts[stop - 1])
        weights = _weights(*sides, np.arange(begin, end)[None], outputs)
        begin_here, end_here = max(top, begin), min(bottom, end)
        if end_here > begin_here:
            own = weights[:, begin_here - begin : end_here - begin]
            sums += own @ rows[..., begin_here - top : end_here - top, :]
        complete = int(np.searchsorted(lasts, bottom, side="right"))
        if bottom == self.source[0]:
            complete = self.target[0]
        ready = sums[..., : complete - self._done, :]
        self._sums = sums[..., complete - self._done :, :]
        if ready.numel():
            self._emit(ready)

    def _emit(self, rows: Tensor) -> None:
        """Scales rows from side to side, and writes them."""
        if self.source != self.target:
            whole = (0, self.target[1])
            rows = _along_rows(rows, 0, self.source[1], self.target[1], whole).clamp(0, 1)
        part = Part((self._done, self._done + rows.shape[-2]), (0, self.target[1]))
        self._done = part.rows[1]
        self.write(part, rows)


class Canvas:
    """A picture in memory, of which parts come in one after the other."""

    def __init__(self, size: Size, bands: int = 3) -> None:
        self.size = size
        self.pixels = torch.zeros(1, bands, *size)

    def write(self, part: Part, pixels: Tensor) -> None:
        """Takes a part, (1, C, h, w)."""
        self.pixels[..., slice(*part.rows), slice(*part.columns)] = pixels
