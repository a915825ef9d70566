"""Photos of any size, read by libvips row by row."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor

from impasto import profiles
from impasto.errors import ImageError, SetupError
from impasto.formats import opened_head
from impasto.huge.resampling import Canvas, Part, Scaling, Size, Write
from impasto.huge.store import strips
from impasto.images import Picture, channels_first, check_large_enough, only_first
from impasto.look import render_size
from impasto.metadata import Metadata

_WHITES = {"uchar": 255, "ushort": 65_535}
_OTHER_COLOURS = {"LAB", "YCbCr"}
"""Pillow's names of what libvips takes for red, green and blue."""


def libvips() -> Any:
    """The module pyvips, told to keep nothing in memory.

    Raises:
        SetupError: it is not installed.
    """
    try:
        import pyvips
    except (ImportError, OSError) as error:  # the latter where the library itself is missing
        raise SetupError(
            "pictures larger than memory need the package 'pyvips': pip install 'impasto[huge]'"
        ) from error
    logging.getLogger("pyvips").setLevel(logging.CRITICAL)  # what matters comes as an error
    pyvips.cache_set_max(0)  # what it keeps of a file may have changed since
    return pyvips


def reason_of(error: Any) -> str:
    """What libvips says, in one line."""
    return " ".join(str(error.detail or error).split())


@dataclass(frozen=True)
class Turn:
    """How a picture is turned so that it is upright: by swapping its sides, then by flipping."""

    swapped: bool = False
    upside_down: bool = False
    mirrored: bool = False

    @classmethod
    def by(cls, orientation: int) -> Turn:
        """Returns the turn that an orientation of EXIF asks for."""
        return cls(
            orientation in (5, 6, 7, 8), orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
        )

    def size(self, size: Size) -> Size:
        """Returns the size of a picture of that size when it is turned."""
        return size[::-1] if self.swapped else size

    def picture(self, pixels: Tensor) -> Tensor:
        """Returns a picture, or a part of one, (N, C, H, W), turned."""
        turned = pixels.mT if self.swapped else pixels
        sides = [dim for dim, flip in ((-2, self.upside_down), (-1, self.mirrored)) if flip]
        return turned.flip(sides) if sides else turned

    def part(self, part: Part, size: Size) -> Part:
        """Returns where a part of a picture of that size is when the picture is turned."""
        rows, columns = (part.columns, part.rows) if self.swapped else (part.rows, part.columns)
        height, width = self.size(size)
        if self.upside_down:
            rows = height - rows[1], height - rows[0]
        if self.mirrored:
            columns = width - columns[1], width - columns[0]
        return Part(rows, columns)


@dataclass(frozen=True)
class Source:
    """A photo of any size in a file that is open; see `open_source`."""

    path: Path
    head: Image.Image
    """The file as Pillow opened it, without pixels; it says which colours numbers mean."""
    raw_size: Size
    """Height and width as they are in the file."""
    turn: Turn
    """How it is turned upright."""
    bands: int
    """Channels, alpha included."""
    transparent: bool
    """Whether the last channel is alpha."""
    bits: int
    """Of each channel, 8 or 16."""

    @property
    def size(self) -> Size:
        """Height and width of the upright photo."""
        return self.turn.size(self.raw_size)

    @cached_property
    def metadata(self) -> Metadata | None:
        """What is kept of its metadata."""
        metadata = Metadata.of(self.head)
        return None if metadata == Metadata() else metadata

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about how the file is read."""
        black = np.zeros((1, 1, self.bands - self.transparent), np.float32)
        note = profiles.to_srgb(black, self.head, self.bits)[1]
        notes = (f"{self.path}: {note}",) if note else ()
        return (*notes, *only_first(self.head, str(self.path)))

    def read(
        self,
        size: Size,
        write: Write,
        write_alpha: Write,
        on_strip: Callable[[float], None] = lambda _: None,
    ) -> bool:
        """Reads the upright photo, scaled while it is read.

        Args:
            size: height and width that it is scaled to.
            write: is given its parts, sRGB; where fully transparent the mean of the visible
                colours.
            write_alpha: is given those of its alpha channel, if it has one.
            on_strip: called now and then with how much is done, 0..1.

        Returns:
            Whether any of it is not opaque.
        """
        passes = 1 + self.transparent

        def read(number: int) -> Iterator[tuple[Tensor, Tensor]]:
            for part, pixels, alpha in self._strips():
                yield pixels, alpha
                on_strip((number + part.rows[1] / self.raw_size[0]) / passes)

        mean = self._visible_mean(read(0)) if self.transparent else None
        raw = self.turn.size(size)
        scaling = Scaling(self.raw_size, raw, self._turned(write, raw))
        alphas = Scaling(self.raw_size, raw, self._turned(write_alpha, raw))
        for pixels, alpha in read(passes - 1):
            if mean is None:
                scaling.add(pixels)
            else:
                scaling.add(torch.where(alpha > 0, pixels, mean))
                alphas.add(alpha)
        return mean is not None

    def picture(self, size: Size) -> Picture:
        """Reads the upright photo into memory, scaled to some height and width."""
        pixels, alpha = Canvas(size), Canvas(size, 1)
        transparent = self.read(size, pixels.write, alpha.write)
        return Picture(
            pixels.pixels,
            alpha.pixels if transparent else None,
            self.notes,
            self.metadata,
            self.bits,
        )

    def _visible_mean(self, read: Iterator[tuple[Tensor, Tensor]]) -> Tensor | None:
        """The mean of the visible colours, (1, 3, 1, 1); None if all are fully visible."""
        sums, weight, opaque = torch.zeros(1, 3, 1, 1, dtype=torch.float64), 0.0, True
        for pixels, alpha in read:
            sums += (pixels * alpha).sum((2, 3), keepdim=True, dtype=torch.float64)
            weight += float(alpha.sum(dtype=torch.float64))
            opaque = opaque and bool((alpha == 1).all())
        return None if opaque else (sums / max(weight, 1e-6)).float()

    def _turned(self, write: Write, size: Size) -> Write:
        """What turns parts of a picture of that size upright before it hands them on."""
        return lambda part, pixels: write(self.turn.part(part, size), self.turn.picture(pixels))

    def _strips(self) -> Iterator[tuple[Part, Tensor, Tensor]]:
        """The photo as in the file: pixels (1, 3, h, W), sRGB, and alpha (1, 0 or 1, h, W)."""
        kind, white = (np.uint16, 65_535) if self.bits > 8 else (np.uint8, 255)
        with _reading(self.path):
            region = libvips().Region.new(_opened(self.path))
            for part in strips(self.raw_size):
                (top, bottom), (_, width) = part.rows, part.columns
                data = region.fetch(0, top, width, bottom - top)
                numbers = np.frombuffer(data, kind).reshape(bottom - top, width, self.bands)
                values = profiles.scaled(numbers, white)
                colours, alpha = np.split(values, [self.bands - self.transparent], -1)
                pixels = channels_first(profiles.to_srgb(colours, self.head, self.bits)[0])
                yield part, pixels.expand(1, 3, -1, -1), channels_first(alpha)


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Opens a photo of any size.

    Raises:
        ImageError: it cannot be read, or is too small.
        SetupError: pyvips is not installed.
    """
    libvips()
    with opened_head(path) as head:
        if head.mode in _OTHER_COLOURS:
            raise _other_colours(path)
        image = _opened(path)
        transparent = bool(image.hasalpha())
        if image.format not in _WHITES or image.bands - transparent not in (1, 3, 4):
            raise _other_colours(path)
        orientation = head.getexif().get(ExifTags.Base.Orientation, 1)
        source = Source(
            path,
            head,
            (image.height, image.width),
            Turn.by(orientation),
            image.bands,
            transparent,
            16 if image.format == "ushort" else 8,
        )
        check_large_enough(source.size, str(path))
        yield source


def _other_colours(path: Path) -> ImageError:
    return ImageError(
        f"{path}: colours of this kind are not read from so large a file; save it as RGB with 8 or "
        "16 bits a channel"
    )


def read_scaled(path: Path, longer_side: int) -> Picture:
    """Reads a photo of any size, scaled while it is read.

    Args:
        path: its file.
        longer_side: what its longer side becomes, in pixels.

    Raises:
        ControlError: the shorter side would become too small.
        ImageError, SetupError: as `open_source`.
    """
    with open_source(path) as source:
        return source.picture(render_size(source.size, longer_side))


def _opened(path: Path) -> Any:
    """A picture as libvips opened it, to be read from top to bottom."""
    vips = libvips()
    # Not by its name, in which libvips would take brackets for options.
    file = vips.Source.new_from_file(str(path))
    try:
        return vips.Image.new_from_source(file, "", access="sequential", fail_on="error")
    except vips.Error as error:
        raise ImageError(
            f"{path}: is not read from so large a file ({reason_of(error)}); save it as TIFF, PNG "
            "or JPEG with 8 or 16 bits a channel"
        ) from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns what libvips stumbles over into one line."""
    try:
        yield
    except libvips().Error as error:
        raise ImageError(
            f"{path}: cannot be read, perhaps damaged or cut off ({reason_of(error)})"
        ) from error
