"""What a film is: frames, sound, and what has to survive the painting."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from impasto.errors import FilmError
from impasto.video.frames import Frame

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.packet import Packet

# Numbers of ITU-T H.273, which FFmpeg uses too.
BT709, _SRGB = 1, 13
SCALER_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
"""swscale's numbers of the matrices that it knows."""
LIMITED, FULL = 1, 2
"""FFmpeg's numbers of the ranges from 16 to 235 and from 0 to 255."""


@dataclass(frozen=True)
class Colour:
    """How the numbers of a film mean colours, by the numbers of ITU-T H.273."""

    matrix: int = BT709
    """From luma and chroma to RGB; never "unspecified"."""
    full_range: bool = False
    """Whether black is 0 and not 16."""
    primaries: int = BT709
    transfer: int = _SRGB

    @property
    def scaler_matrix(self) -> int:
        """The matrix by swscale's number, which PyAV wants as ``src_colorspace``."""
        return SCALER_MATRICES[self.matrix]

    @property
    def range(self) -> int:
        """The range by FFmpeg's number, which PyAV wants as ``src_color_range``."""
        return FULL if self.full_range else LIMITED


@dataclass(frozen=True)
class Sound:
    """The sound of a film as its file holds it, to be copied and not to be decoded."""

    streams: list[AudioStream]
    """Of the file that is read; what PyAV's ``add_stream_from_template`` wants."""
    packets: Iterator[Packet[Any]]
    """Those from the film's start to its end, their stamps counted from the start."""


@dataclass(kw_only=True)
class Film(ABC):
    """A film, or what is between ``start`` and ``end`` of it."""

    path: Path
    size: tuple[int, int]
    """Height and width of its frames, upright."""
    rate: Fraction
    """Frames a second on average."""
    time_base: Fraction
    """Every frame's time is a multiple of this."""
    length: Fraction | None
    """Seconds of the whole film, if known."""
    frames: int | None
    """Of the whole film, about, if known."""
    colour: Colour = field(default_factory=Colour)
    """What a painted film should be written in. Pixels are converted from it already."""
    pixel_aspect: Fraction = Fraction(1)
    """Width of a pixel to its height."""
    transparent: bool = False
    """Whether parts of it are transparent, and its frames have alpha there."""
    plays: int = 0
    """How often an animation is shown, 0 for ever."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Title and the like."""
    start: Fraction = Fraction(0)
    """Second of the film from which it is read; what its painting begins with."""
    end: Fraction | None = None
    damaged: int = 0
    """How many frames were left out by readings so far."""
    remarks: tuple[str, ...] = ()
    """What is known about it before it is read."""
    cut_off: str = ""
    """What a reading found missing at its end."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about how it is read, a line each; more once it was read."""
        frames = f"{self.damaged} damaged frame{'s' * (self.damaged > 1)}"
        damaged = f"{frames} left out" if self.damaged else ""
        return tuple(
            f"{self.path}: {note}" for note in (*self.remarks, damaged, self.cut_off) if note
        )

    @property
    def duration(self) -> Fraction | None:
        """Seconds between ``start`` and ``end``, if known."""
        ends = [end for end in (self.end, self.length) if end is not None]
        return min(ends) - self.start if ends else None

    @property
    def count(self) -> int | None:
        """Frames between ``start`` and ``end``, about, if known."""
        if self.start == 0 and self.end is None:
            return self.frames
        return None if self.duration is None else math.ceil(self.duration * self.rate)

    def read(self) -> Generator[Frame]:
        """The frames between ``start`` and ``end``, in order; their times are those of the film.

        Raises:
            FilmError: there are none, or they do not belong together.
        """
        some, before = False, None
        with closing(self._frames()) as frames:
            for frame in frames:
                if self.end is not None and frame.time >= self.end:
                    break
                if frame.time >= self.start:
                    some = True
                    yield frame
                else:
                    before = frame.time
        if some:
            return
        if before is not None and not self.damaged:
            upto = "its end" if self.end is None else f"second {float(self.end):.2f}"
            raise FilmError(
                f"{self.path}: no frame begins between second {float(self.start):.2f} and {upto}; "
                f"the one before begins at second {float(before):.2f}"
            )
        raise FilmError(f"{self.path}: none of its frames between start and end can be read")

    def sound(self) -> AbstractContextManager[Sound]:
        """Opens the film's sound."""
        return nullcontext(Sound([], iter(())))

    @abstractmethod
    def _frames(self) -> Generator[Frame]:
        """All frames, or at least those from ``start`` on."""


def location(file: Path) -> str:
    """A file's name for FFmpeg, which else takes a colon in it for the end of a protocol's name."""
    return f"file:{file}"
