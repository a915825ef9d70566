"""Pictures on disk, whose parts are read and written in any order."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from impasto.errors import OutputError
from impasto.huge.resampling import Part, Size
from impasto.resuming import damaged

_WHITE = 65_535
STRIP_PIXELS = 2**21
"""About so many pixels are handled at once where a picture is gone through row by row."""


def strips(size: Size) -> Iterator[Part]:
    """Divides a picture into strips of rows, from top to bottom."""
    height, width = size
    rows = max(STRIP_PIXELS // width, 1)
    for top in range(0, height, rows):
        yield Part((top, min(top + rows, height)), (0, width))


class DamagedWorkError(OutputError):
    """Unfinished work cannot be gone on with."""


@dataclass(frozen=True)
class Store:
    """A picture in a file of its own: rows of pixels of 16 bits a channel, and nothing else.

    It is read and written by the system's calls rather than mapped into memory, where it would
    count as memory in use.
    """

    path: Path
    size: Size
    bands: int = 3

    def create(self) -> None:
        """Makes the file, as long as it is going to be."""
        with self.path.open("wb") as file:
            file.truncate(self.length)

    def check(self) -> None:
        """Raises `DamagedWorkError` if the file is not there, or not whole."""
        if not self.path.is_file() or self.path.stat().st_size != self.length:
            raise damaged(self.path.parent, DamagedWorkError)

    @property
    def length(self) -> int:
        """Bytes of the file."""
        return self.size[0] * self._row

    @property
    def _row(self) -> int:
        return self.size[1] * self.bands * 2

    def read(self, part: Part) -> Tensor:
        """Returns a part of the picture, (1, C, h, w) in [0, 1]."""
        self.check()
        (top, bottom), (left, right) = part.rows, part.columns
        values = np.empty((bottom - top, right - left, self.bands), "<u2")
        with self.path.open("rb", buffering=0) as file:
            for number, (place, count) in self._runs(part):
                file.seek(place)
                run = values.reshape(-1)[number * count // 2 : (number + 1) * count // 2]
                _read_all(file, run.view(np.uint8).data)
        floats = np.divide(values, _WHITE, dtype=np.float32)
        return torch.from_numpy(floats).permute(2, 0, 1)[None].contiguous()

    def sample(self, step: int) -> Tensor:
        """Returns every n-th row and column, (1, C, h, w) in [0, 1]."""
        height, width = self.size
        rows = [self.read(Part((top, top + 1), (0, width))) for top in range(0, height, step)]
        return torch.cat([row[..., ::step] for row in rows], -2)

    def write(self, part: Part, pixels: Tensor) -> None:
        """Writes a part of the picture, (1, C, h, w) in [0, 1]."""
        self.check()
        values = (pixels[0].cpu().clamp(0, 1) * _WHITE).round().permute(1, 2, 0).contiguous()
        numbers = values.numpy().astype("<u2")
        with self.path.open("r+b", buffering=0) as file:
            for number, (place, count) in self._runs(part):
                file.seek(place)
                run = numbers.reshape(-1)[number * count // 2 : (number + 1) * count // 2]
                _write_all(file, run.view(np.uint8).data)

    def _runs(self, part: Part) -> Iterator[tuple[int, tuple[int, int]]]:
        """The places and lengths, in bytes, of what lies together in the file."""
        (top, bottom), (left, right) = part.rows, part.columns
        pixel = self.bands * 2
        if (left, right) == (0, self.size[1]):
            yield 0, (top * self._row, (bottom - top) * self._row)
            return
        for number, row in enumerate(range(top, bottom)):
            yield number, (row * self._row + left * pixel, (right - left) * pixel)


def _read_all(file: Any, target: memoryview) -> None:
    """Fills the target; a single call of the system reads 2 GiB at most."""
    while target:
        count = file.readinto(target)
        if not count:
            raise OSError(errno.EIO, "is shorter than it should be", file.name)
        target = target[count:]


def _write_all(file: Any, source: memoryview) -> None:
    """Writes all of the source; a single call of the system may write less, on a full disk."""
    while source:
        source = source[file.write(source) :]
