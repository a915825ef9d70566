"""`paint_film`: a film painted frame by frame into segments, and written when that is done."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from time import monotonic
from typing import Any, Protocol, TypeAlias

from torch import Tensor

from impasto.errors import FilmError, Stop, reason
from impasto.resuming import fingerprint
from impasto.video.base import Film
from impasto.video.encoding import Encoding
from impasto.video.frames import Frame, Pixels
from impasto.video.parts import Parts
from impasto.video.prefetch import prefetch
from impasto.video.segments import Segments, segment
from impasto.video.writer import Output, output_of

SEGMENT_SECONDS = 2
"""Length of a segment at most."""
SEGMENT_WORK = 60
"""So many seconds after its beginning a segment ends with the next frame, however short it is: this
is what a sudden end of the work can cost.
"""
_AHEAD = 4
"""So many frames are decoded before they are needed."""
_PACE_FRAMES = 50
"""The speed is reckoned from so many frames."""
_LONGEST_HOLD = 10
"""Seconds that the last frame may be shown longer than others, as in films of a screen. What is
more is a mistake in the file, or sound that goes on.
"""


class Painter(Protocol):
    """What paints the frames of a film: `impasto.video.painting.FilmPainter`, for one."""

    @property
    def memory(self) -> Mapping[str, Tensor]:
        """What it needs to know of the frames painted so far to paint the next."""

    def paint(
        self,
        film_frames: Iterable[Frame],
        scout: Iterable[Frame] | None,
        done: int = 0,
        memory: Mapping[str, Tensor] | None = None,
    ) -> Generator[Pixels]:
        """Paints frames.

        Args:
            film_frames: all frames of the film.
            scout: the same, to look ahead.
            done: how many are painted already.
            memory: what `memory` was after these.

        Yields:
            The painted frames from number ``done`` on.
        """


@dataclass(frozen=True)
class FilmProgress:
    """How far a film is painted; what ``on_frame`` is called with."""

    done: int
    """Number of frames painted."""
    count: int | None
    """Number of frames in all, about, if known."""
    second: float
    """Second of the film that has been reached."""
    rate: float
    """Frames painted per second."""
    image: Callable[[], Pixels]
    """Returns the frame that was painted last."""

    @property
    def fraction(self) -> float | None:
        """How much of the work is done, 0..1, if known."""
        return min(self.done / self.count, 1) if self.count else None

    @property
    def seconds_left(self) -> float | None:
        """How long the rest is going to take, if known."""
        return max(self.count - self.done, 0) / self.rate if self.count and self.rate else None


OnFrame: TypeAlias = Callable[[FilmProgress], None]
"""Function that is called after each frame. It may raise `impasto.Stop` to end the painting early;
what is painted becomes a film, and the rest can be painted later.
"""


@dataclass(frozen=True)
class FilmResult:
    """A painted film."""

    output: Path
    frames: int
    """How many frames it has."""
    size: tuple[int, int]
    """Height and width."""
    seconds: float
    """How long it is."""
    stopped: bool
    """Whether it ends before the film does, because somebody stopped the painting."""
    notes: tuple[str, ...]
    """What the user should know about it."""


def paint_film(
    film: Film,
    output: Path,
    painter: Painter,
    *,
    codec: str | None = None,
    crf: int | None = None,
    resume: bool = False,
    recipe: Mapping[str, Any] | None = None,
    sources: Sequence[Path] = (),
    on_frame: OnFrame | None = None,
) -> FilmResult:
    """Paints a film and writes it.

    While it is painted, what is done is kept in a folder ``OUTPUT.parts``, which is removed in the
    end. If the work is stopped or something goes wrong, what is painted is written, the folder
    stays, and ``resume`` goes on from there.

    Args:
        film: the film, as `impasto.video.reader.open_film` returns it.
        output: a file whose extension decides what is written: a film (.mp4, .mov, .mkv, .webm) or
            an animation (.gif, .webp); or a folder without extension, for pictures.
        painter: what paints.
        codec: ``h264``, ``h265``, ``vp9``, ``av1`` or ``ffv1``; None for what is usual in the file.
        crf: the codec's quality, lower is better; None for a good one.
        resume: go on with what an earlier run has left.
        recipe: all that decides how the frames are painted. It is written into the film, and only
            with the same can work be resumed.
        sources: the files of styles and masks; work can be resumed only with the same.
        on_frame: called after each frame with a `FilmProgress`; it may raise `impasto.Stop`.

    Raises:
        ControlError: there is no such codec, or crf.
        FilmError: the film cannot be read, the work could not be finished, or parts of an earlier
            run are there that do not belong to this one or would be lost.
        OutputError: the film cannot be written.
    """
    target = output_of(output, codec, crf)
    notes = target.check(film)
    recipe = recipe or {}
    record = {
        "film": fingerprint(film.path),
        "style or mask": [fingerprint(path) for path in sources],
        "start": str(film.start),
        "end": film.end and str(film.end),
        "codec": target.codec.name,
        "crf": target.crf,
        **recipe,
    }
    with Parts.of(output, record, resume=resume) as parts:
        work = _Work(film, painter, parts, target.encoding(film), on_frame)
        return _written(work, target, recipe, notes)


def _written(
    work: _Work, target: Output, recipe: Mapping[str, Any], notes: list[str]
) -> FilmResult:
    """Paints, and writes what is painted, even if something goes wrong."""
    parts = work.parts
    failure: Exception | None = None
    try:
        work.paint()
    except Exception as error:  # whatever it is, what is painted is written
        failure = error
    if not parts.done:
        parts.remove()
        assert failure is not None  # a film without frames cannot be read
        raise failure
    complete = not (failure or work.stopped)
    segments = Segments(
        parts.segments(), work.film, work.encoding, work.end(complete), complete, recipe
    )
    try:
        target.write(segments)
    except Exception as error:
        raise FilmError(
            f"{reason(failure or error)}; what is painted, {parts.told}, is kept in "
            f"{parts.folder}: add --resume to go on with them"
        ) from error
    if failure is not None:
        raise FilmError(
            f"{reason(failure)}; what was painted before, {parts.told}, is in {target.path}: add "
            "--resume to go on with them"
        ) from failure
    height, width = segments.size
    if work.size not in (None, (height, width)):
        notes.append(
            f"{target.path}: {target.codec.name} needs even sides: a row or column is doubled"
        )
    if complete:
        parts.remove()
    return FilmResult(
        target.path,
        parts.done,
        (height, width),
        float(segments.end),
        work.stopped,
        (*work.film.notes, *notes),
    )


@dataclass
class _Work:
    """The painting of a film into segments."""

    film: Film
    painter: Painter
    parts: Parts
    encoding: Encoding
    on_frame: OnFrame | None
    stopped: bool = False
    size: tuple[int, int] | None = None
    """Height and width of painted frames; None if none was left to paint."""
    times: deque[Fraction] = field(default_factory=deque)
    """When frames are shown that the painter has got and not yet painted, from the start."""
    finished: deque[float] = field(default_factory=lambda: deque(maxlen=_PACE_FRAMES))
    """When, by the clock, the latest frames were painted."""

    def paint(self) -> None:
        """Paints until the end, or until `stopped`; what is painted is in the parts."""
        self.finished.append(monotonic())
        with (
            closing(prefetch(self.film.read(), _AHEAD)) as frames,
            closing(self.film.read()) as scout,
        ):
            painted = self.painter.paint(
                self._noted(frames), scout, self.parts.done, self.parts.memory
            )
            with closing(painted):
                for first in painted:
                    self._paint_segment(first, painted)
                    if self.stopped:
                        return

    def end(self, complete: bool) -> Fraction:
        """The second at which the last painted frame ends."""
        rest = (self.film.duration or 0) - self.parts.last
        held = complete and 0 < rest <= _LONGEST_HOLD
        return self.parts.last + (rest if held else 1 / self.film.rate)

    def _noted(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The frames; the times of those that are going to be painted are noted."""
        for number, frame in enumerate(frames):
            if number >= self.parts.done:
                self.times.append(frame.time - self.film.start)
            yield frame

    def _paint_segment(self, first: Pixels, painted: Iterator[Pixels]) -> None:
        """Paints a segment whose first frame is painted already. It may become a short one."""
        path, done = self.parts.next_segment(), self.parts.done
        length = max(round(SEGMENT_SECONDS * self.film.rate), 1)
        self.size = first.shape[0], first.shape[1]
        ends = monotonic() + SEGMENT_WORK
        failure: Exception | None = None
        encoded: Future[None] | None = None
        with segment(path, self.encoding) as add, ThreadPoolExecutor(1) as encoder:
            try:
                for pixels in chain([first], islice(painted, length - 1 - done % length)):
                    memory, last = dict(self.painter.memory), self.times.popleft()
                    if encoded is not None:
                        encoded.result()
                    encoded = encoder.submit(add, pixels, last)
                    done += 1
                    self._report(done, last, pixels)
                    if monotonic() > ends:
                        break
            except Stop:
                self.stopped = True
            except Exception as error:  # whatever it is, the frames before it are kept
                failure = error
            assert encoded is not None
            encoded.result()
            self.parts.keep(path, done, last, memory)
        self.parts.go_on(done, last, memory)
        if failure is not None:
            raise failure

    def _report(self, done: int, second: Fraction, pixels: Pixels) -> None:
        """Tells of a frame."""
        self.finished.append(monotonic())
        if self.on_frame is not None:
            rate = (len(self.finished) - 1) / (self.finished[-1] - self.finished[0])
            self.on_frame(FilmProgress(done, self.film.count, float(second), rate, lambda: pixels))
