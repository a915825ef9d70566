"""The beginning of a file of a picture: all that it holds beside the pixels.

Pillow writes what a painting's file says of it, as it does for any painting, into the file of a
picture of one pixel; here it is put before the pixels that libvips writes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from impasto.tiff import Tiff

_PNG_HEAD = 8 + 25
"""Bytes of a PNG's signature and first chunk."""
_JPEG_SEGMENTS = {*range(0xE0, 0xF0), 0xFE}
"""Markers of JPEG before what describes the pixels: of applications, and comments."""
_RESOLUTION = {282, 283, 296}
"""Tags of TIFF that libvips always writes."""


def png_parts(data: bytes) -> tuple[int, int] | None:
    """Returns where the head of a PNG ends that says what the pixels are, and where these begin;
    None if so few bytes do not say it.
    """
    place = _PNG_HEAD
    while len(data) >= place + 8:
        if data[place + 4 : place + 8] == b"IDAT":
            return _PNG_HEAD, place
        place += 12 + int.from_bytes(data[place : place + 4])
    return None


def jpeg_parts(data: bytes) -> tuple[int, int] | None:
    """Returns the same of a JPEG, in which what describes the pixels counts among them."""
    place = 2
    while len(data) >= place + 4:
        if data[place + 1] not in _JPEG_SEGMENTS:
            return 2, place
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return None


class WithHead:
    """Writes a file as it comes in, with the head of another file.

    Args:
        file: what is written.
        head: the other file.
        parts: `png_parts` or `jpeg_parts`.
    """

    def __init__(
        self, file: BinaryIO, head: bytes, parts: Callable[[bytes], tuple[int, int] | None]
    ) -> None:
        self.file, self.head, self.parts = file, head, parts
        self.error: OSError | None = None
        """What went wrong with the file."""
        self._begun: bytes | None = b""

    def write(self, data: bytes) -> int:
        """Takes what comes next. Returns how many bytes that was, -1 if they cannot be written: it
        is called by what is not written in Python.
        """
        try:
            if self._begun is None:
                self.file.write(data)
            else:
                self._begin(self._begun + bytes(data))
        except OSError as error:
            self.error = error
            return -1
        return len(data)

    def _begin(self, begun: bytes) -> None:
        own, other = self.parts(begun), self.parts(self.head)
        assert other is not None
        if own is None:
            self._begun = begun
        else:
            self.file.write(begun[: own[0]] + self.head[slice(*other)] + begun[own[1] :])
            self._begun = None


def add_tags(path: Path, head: bytes) -> None:
    """Adds to a TIFF what another one says beside its pixels.

    Args:
        path: the file, which is changed.
        head: the other one, of the same order of bytes.
    """
    with path.open("r+b") as file:
        tiff = Tiff.of(file)
        place = tiff.number(tiff.first, tiff.offset)
        entries = {t: e for t, e in tiff.entries(place).items() if t not in _RESOLUTION}
        following = struct.unpack(tiff.offset, tiff.file.read(tiff.width))[0]
        tiff.finish(entries, head, following)
