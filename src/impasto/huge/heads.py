"""The beginning of a file of a picture: all that it holds beside the pixels.

Pillow writes what a painting's file says of it, as it does for any painting, into the file of a
picture of one pixel; here it is put before the pixels that libvips writes.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from impasto.formats import Format
from impasto.huge.resampling import Size
from impasto.metadata import Metadata
from impasto.profiles import srgb_profile

_PNG_HEAD = 8 + 25
"""Bytes of a PNG's signature and first chunk."""
_JPEG_SEGMENTS = {*range(0xE0, 0xF0), 0xFE}
"""Markers of JPEG before what describes the pixels: of applications, and comments."""
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Of TIFF, by the number of the type."""
_LONG, _LONG8 = 4, 16
_DIRECTORIES = {34665, 34853, 40965}
"""Tags of TIFF that say where another directory is: EXIF, GPS, interoperability."""
_STRIPS = {273, 278, 279}
"""Tags of TIFF that say where pixels are."""
_RESOLUTION = {282, 283, 296}
"""Tags of TIFF that libvips always writes."""


def head_of(
    kind: Format, size: Size, bands: int, metadata: Metadata, recipe: Mapping[str, Any]
) -> bytes:
    """Returns the file of a picture of one pixel that says all that a painting's file does.

    Args:
        kind: format of the file.
        size: height and width of the painting.
        bands: its channels, alpha included.
        metadata: what is kept of the photo's.
        recipe: what made it.
    """
    options = {**kind.options, "icc_profile": srgb_profile()}
    options |= metadata.fitting(kind.kind).save_options(kind.kind, size, recipe)
    encoded = io.BytesIO()
    mode = "RGBA" if bands == 4 and kind.alpha else "RGB"
    Image.new(mode, (1, 1)).save(encoded, kind.kind, **options)
    return encoded.getvalue()


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


@dataclass(frozen=True)
class _Tiff:
    """How a TIFF is laid out: BigTIFF has wider numbers."""

    file: BinaryIO
    big: bool
    order: str

    @classmethod
    def of(cls, file: BinaryIO) -> _Tiff:
        file.seek(0)
        start = file.read(4)
        order = "<" if start[:2] == b"II" else ">"
        return cls(file, struct.unpack(f"{order}H", start[2:])[0] == 43, order)

    @property
    def first(self) -> int:
        """Where the file says where the first directory is."""
        return 8 if self.big else 4

    @property
    def offset(self) -> str:
        return f"{self.order}{'Q' if self.big else 'I'}"

    @property
    def width(self) -> int:
        """Bytes of an offset."""
        return 8 if self.big else 4

    def number(self, place: int, form: str) -> int:
        self.file.seek(place)
        (number,) = struct.unpack(form, self.file.read(struct.calcsize(form)))
        return int(number)

    def entries(self, place: int) -> dict[int, bytes]:
        """The entries of a directory by tag, as they are."""
        count_form = f"{self.order}{'Q' if self.big else 'H'}"
        count = self.number(place, count_form)
        size = 4 + 2 * self.width
        read = [self.file.read(size) for _ in range(count)]
        return {struct.unpack(f"{self.order}H", entry[:2])[0]: entry for entry in read}

    def value(self, entry: bytes) -> tuple[int, int, bytes]:
        """Type, count and bytes of an entry."""
        kind, count = struct.unpack(f"{self.order}H{self.offset[1:]}", entry[2 : 4 + self.width])
        length = _TYPE_BYTES.get(kind, 8) * count
        inside = entry[4 + self.width :]
        if length <= self.width:
            return kind, count, inside[:length]
        self.file.seek(struct.unpack(self.offset, inside)[0])
        return kind, count, self.file.read(length)

    def append(self, data: bytes) -> int:
        """Writes at the end of the file; returns where."""
        place = self.file.seek(0, io.SEEK_END)
        place += self.file.write(bytes(place % 2))
        self.file.write(data)
        return place

    def entry(self, tag: int, kind: int, count: int, data: bytes) -> bytes:
        """Makes an entry; a long value goes to the end of the file."""
        if len(data) > self.width:
            data = struct.pack(self.offset, self.append(data))
        return struct.pack(f"{self.order}HH{self.offset[1:]}", tag, kind, count) + data.ljust(
            self.width, b"\0"
        )

    def directory(self, entries: Mapping[int, bytes], following: int = 0) -> int:
        """Writes a directory at the end of the file; returns where."""
        count = struct.pack(f"{self.order}{'Q' if self.big else 'H'}", len(entries))
        listed = b"".join(entry for _, entry in sorted(entries.items()))
        return self.append(count + listed + struct.pack(self.offset, following))

    def copied(self, tag: int, entry: bytes, other: _Tiff) -> bytes:
        """Makes an entry like one of another file, with the directory that it points to."""
        kind, count, data = other.value(entry)
        if tag not in _DIRECTORIES:
            return self.entry(tag, kind, count, data)
        inner = other.entries(int.from_bytes(data, "little" if self.order == "<" else "big"))
        place = self.directory({t: self.copied(t, e, other) for t, e in inner.items()})
        wide = _LONG8 if self.big else _LONG
        return self.entry(tag, wide, 1, struct.pack(self.offset, place))


def add_tags(path: Path, head: bytes) -> None:
    """Adds to a TIFF what another one says beside its pixels.

    Args:
        path: the file, which is changed.
        head: the other one, of the same order of bytes.
    """
    other = _Tiff.of(io.BytesIO(head))
    with path.open("r+b") as file:
        tiff = _Tiff.of(file)
        place = tiff.number(tiff.first, tiff.offset)
        entries = {t: e for t, e in tiff.entries(place).items() if t not in _RESOLUTION}
        following = struct.unpack(tiff.offset, tiff.file.read(tiff.width))[0]
        told = other.entries(other.number(other.first, other.offset))
        for tag, entry in told.items():
            if tag not in entries and tag not in _STRIPS:
                entries[tag] = tiff.copied(tag, entry, other)
        new = tiff.directory(entries, following)
        file.seek(tiff.first)
        file.write(struct.pack(tiff.offset, new))
