"""Films: from files, animations and folders of pictures to frames.

`open_film` tells the three apart. FFmpeg reads what is commonly called video. Pillow reads GIF,
WebP and animated PNG, which it does with their transparency. Whatever it is, a `Film` gives its
frames as often as it is asked to, one at a time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from impasto import formats, images
from impasto.controls import MIN_SIDE
from impasto.errors import ControlError, FilmError, ImageError, TooLargeError
from impasto.video import decoder
from impasto.video.base import Colour, Film, Sound
from impasto.video.frames import ArrayFrame, Frame, Pixels

__all__ = ["Colour", "Film", "Sound", "open_film"]

FOLDER_RATE = 25
"""Frames a second of a folder of pictures, if nothing else is said."""

_NO_DURATION = 100
"""Milliseconds for which browsers show a frame of an animation that says 0."""


def open_film(
    path: Path, start: float | None = None, end: float | None = None, *, rate: int = FOLDER_RATE
) -> Film:
    """Opens a film.

    Args:
        path: a video file, a GIF, a WebP or an animated PNG, or a folder of pictures.
        start: second at which to begin.
        end: second at which to end.
        rate: frames a second, for folders.

    Raises:
        FilmError: naming the file and the fix.
        ImageError: likewise, of pictures in a folder or of an animation.
        ControlError: nothing is between ``start`` and ``end``.
    """
    if path.is_dir():
        film: Film = _open_folder(path, rate)
    elif _is_animation(_head(path)):
        film = _open_animation(path)
    else:
        film = _open_file(path)
    height, width = film.size
    if min(film.size) < MIN_SIDE:
        raise FilmError(
            f"{path}: {width}x{height} is too small, at least {MIN_SIDE}x{MIN_SIDE} pixels are "
            "needed"
        )
    _cut(film, start, end)
    return film


def _cut(film: Film, start: float | None, end: float | None) -> None:
    if not all(math.isfinite(second) for second in (start, end) if second is not None):
        raise ControlError(f"{film.path}: start and end must be numbers of seconds")
    # The decimal number that was meant: as binary fraction, 0.04 is later than frame 1 of 25.
    first, last = (None if second is None else Fraction(str(second)) for second in (start, end))
    film.start = Fraction(math.floor((first or 0) / film.time_base)) * film.time_base
    film.end = last
    length = film.length if film.length is not None else math.inf
    if film.start < 0 or film.start >= min(length, math.inf if last is None else last):
        lasts = "" if film.length is None else f" of {float(film.length):.2f}"
        upto = "its end" if end is None else f"second {end:g}"
        raise ControlError(
            f"{film.path}: nothing is between second {start or 0:g} and {upto}{lasts}; give a "
            "start before the end, both within the film"
        )


def _head(path: Path) -> bytes:
    """How a file begins."""
    try:
        if path.exists() and not path.is_file():  # of a pipe, reading might never end
            raise FilmError(f"{path}: is no ordinary file; save the film to one")
        with path.open("rb") as file:
            head = file.read(12)
    except FileNotFoundError as error:
        raise FilmError(f"{path}: no such file or folder") from error
    except (OSError, ValueError) as error:  # the latter for a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise FilmError(f"{path}: cannot be read ({reason})") from error
    if not head:
        raise FilmError(f"{path}: is empty")
    return head


def _open_file(path: Path) -> Film:
    try:
        return decoder.open_file(path)
    except FilmError as error:
        with suppress(ImageError, TooLargeError), formats.opened_file(path):
            raise _is_picture(path) from error
        raise


def _is_picture(path: Path) -> FilmError:
    return FilmError(f"{path}: is a picture and not a film; use `impasto stylize`")


# Animations and folders, by Pillow


@dataclass(kw_only=True)
class _Animation(Film):
    times: list[Fraction]
    """When each frame is shown."""
    first: int
    """Pillow's number of the first: it counts the picture for those that know no animations."""

    def _frames(self) -> Generator[Frame]:
        with formats.decoding(str(self.path)), Image.open(self.path) as image:
            for number, time in enumerate(self.times, self.first):
                image.seek(number)
                yield ArrayFrame(_pixels(image), time)


def _is_animation(head: bytes) -> bool:
    """Whether a file that begins so is of a kind that may be an animation."""
    return head.startswith((b"GIF8", b"\x89PNG")) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


def _open_animation(path: Path) -> Film:
    image: Any
    with formats.decoding(str(path)), Image.open(path) as image:
        if getattr(image, "n_frames", 1) == 1:
            raise _is_picture(path)
        first = int(getattr(image, "default_image", False))
        durations, transparent = [], False
        for duration in _durations(image, first):
            durations.append(duration)
            transparent = transparent or _is_transparent(image)
        loop, kind, size = image.info.get("loop"), image.format, (image.height, image.width)
        number = image.n_frames - first
    if not durations:
        raise FilmError(f"{path}: none of its frames can be read; it is damaged or cut off")
    missing = number - len(durations)
    *times, length = accumulate(durations, initial=Fraction(0))
    return _Animation(
        path=path,
        size=size,
        rate=len(times) / length,
        time_base=Fraction(1, math.lcm(*(duration.denominator for duration in durations))),
        length=length,
        frames=len(times),
        transparent=transparent,
        plays=_plays(loop, kind),
        cut_off=f"{missing} of its frames, the last, cannot be read" if missing else "",
        times=times,
        first=first,
    )


def _durations(image: Any, first: int) -> Iterator[Fraction]:
    """For how many seconds each frame is shown that can be read."""
    with suppress(EOFError, OSError, SyntaxError):
        for number in range(first, image.n_frames):
            image.seek(number)
            image.load()
            # Of a PNG it is a fraction, in floating point.
            milliseconds = Fraction(image.info.get("duration") or _NO_DURATION)
            yield milliseconds.limit_denominator(1000) / 1000


def _is_transparent(image: Image.Image) -> bool:
    """Whether something of the current frame is transparent, which it may be without being so."""
    if not image.has_transparency_data:
        return False
    return image.convert("RGBA").getchannel("A").getextrema() != (255, 255)


def _plays(loop: int | None, kind: str | None) -> int:
    """How often an animation is shown, 0 for ever. In a GIF, "loop" is how often it is repeated."""
    if kind != "GIF":
        return loop or 0
    return 1 if loop is None else loop + (loop > 0)


@dataclass(kw_only=True)
class _Folder(Film):
    files: list[Path]

    def _frames(self) -> Generator[Frame]:
        damaged = 0
        for number, file in enumerate(self.files):
            time = number * self.time_base
            if time < self.start:
                continue
            try:
                pixels = _pixels(file)
            except ImageError:
                damaged += 1
                self.damaged = max(self.damaged, damaged)
                continue
            if pixels.shape[:2] != self.size:
                height, width = pixels.shape[:2]
                raise FilmError(
                    f"{file}: is {width}x{height}, the frames before are {self.size[1]}x"
                    f"{self.size[0]}; a film's frames must be of one size"
                )
            yield ArrayFrame(pixels, time)


def _open_folder(path: Path, rate: int) -> Film:
    files = sorted(images.find(path), key=_natural)
    height, width, channels = _first(path, files).shape
    return _Folder(
        path=path,
        size=(height, width),
        rate=Fraction(rate),
        time_base=Fraction(1, rate),
        length=Fraction(len(files), rate),
        frames=len(files),
        transparent=channels == 4,
        files=files,
    )


def _first(path: Path, files: list[Path]) -> Pixels:
    for file in files:
        with suppress(ImageError):
            return _pixels(file)
    raise FilmError(f"{path}: none of its {len(files)} pictures can be read")


def _natural(file: Path) -> list[str | int]:
    """Sorts frame 2 before frame 10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", file.name)]


def _pixels(picture: Path | Image.Image) -> Pixels:
    return np.asarray(images.to_pil(images.read(picture)))
