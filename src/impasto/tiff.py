"""Directories of TIFF and BigTIFF: what one file says about a picture, put into another file.

See Adobe's TIFF revision 6.0 (1992), section 2. BigTIFF has wider numbers.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Bytes of a value, by the number of its type."""
SHORT, LONG, LONG8 = 3, 4, 16
"""Types of whole numbers: of 2, 4 and 8 bytes."""
_DIRECTORIES = {34665, 34853, 40965}
"""Tags that say where another directory is: EXIF, GPS, interoperability."""
_STRIPS = {273, 278, 279}
"""Tags that say where pixels are."""


@dataclass(frozen=True)
class Tiff:
    """How a TIFF is laid out: BigTIFF has wider numbers."""

    file: BinaryIO
    big: bool
    order: str

    @classmethod
    def of(cls, file: BinaryIO) -> Tiff:
        """Reads how a file is laid out."""
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
        """The format of a place in the file, for `struct`."""
        return f"{self.order}{'Q' if self.big else 'I'}"

    @property
    def width(self) -> int:
        """Bytes of an offset."""
        return 8 if self.big else 4

    def number(self, place: int, form: str) -> int:
        """Reads a number whose format is given as for `struct`."""
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

    def copied(self, tag: int, entry: bytes, other: Tiff) -> bytes:
        """Makes an entry like one of another file, with the directory that it points to."""
        kind, count, data = other.value(entry)
        if tag not in _DIRECTORIES:
            return self.entry(tag, kind, count, data)
        inner = other.entries(int.from_bytes(data, "little" if self.order == "<" else "big"))
        place = self.directory({t: self.copied(t, e, other) for t, e in inner.items()})
        wide = LONG8 if self.big else LONG
        return self.entry(tag, wide, 1, struct.pack(self.offset, place))

    def finish(self, entries: Mapping[int, bytes], head: bytes, following: int = 0) -> None:
        """Makes entries the first directory, with all others of another file that are not about
        where pixels are.

        Args:
            entries: by tag, as `entry` made them.
            head: the other file, of the same order of bytes.
            following: where the next directory is, 0 for nowhere.
        """
        other = Tiff.of(io.BytesIO(head))
        told = other.entries(other.number(other.first, other.offset))
        added = {
            tag: self.copied(tag, entry, other)
            for tag, entry in told.items()
            if tag not in entries and tag not in _STRIPS
        }
        place = self.directory({**entries, **added}, following)
        self.file.seek(self.first)
        self.file.write(struct.pack(self.offset, place))
