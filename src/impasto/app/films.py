"""Films of visitors, and how they are painted.

What a visitor brings and what is painted of it are files in a folder of their own, which is removed
when nobody refers to the film any more.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
import weakref
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from PIL import Image

from impasto import __version__
from impasto.app import max_pixels
from impasto.app.job_queue import Job
from impasto.app.request import Request, Upload, file_stem
from impasto.errors import FilmError, ImpastoError, OutputError, Stop, TooLargeError, reason
from impasto.recipes import Recipe
from impasto.video.animation import ANIMATIONS
from impasto.video.base import Film
from impasto.video.encoding import opaque
from impasto.video.film import FilmProgress, paint_film
from impasto.video.painting import FilmControls, FilmPainter
from impasto.video.reader import open_film
from impasto.video.writer import output_of

MOST_SECONDS = 300
"""How long a film may be."""
MOST_BYTES = 500_000_000
"""How much a visitor's films may take on the disk; painting ends when they have grown to that."""
PREVIEW_SECONDS, PREVIEW_SIDE = 2, 320
"""What is painted of a film at once: its beginning, at most so many pixels on the longer side."""
_STILL_SECOND = 1
"""The picture that stands for a film is shown then: many begin in black."""
_STILL_SIDE = 1000
_CONTAINERS = (".mp4", ".mkv")
"""What painted films are written as: the first that can hold their sound."""


class BroughtFilm:
    """A film that a visitor brought, with what was painted of it.

    Args:
        name: of its file.
        data: what is in the file.

    Raises:
        ImpastoError: one sentence.
    """

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self.preview: PaintedFilm | None = None
        """Its beginning, painted small."""
        self.painted: PaintedFilm | None = None
        """The whole film, or as much as was painted of it."""
        self.wanted: Request | None = None
        """What the beginning was last painted with, or is going to be."""
        self.preview_job: Job | None = None
        """What paints the beginning."""
        self.folder = Path(tempfile.mkdtemp(prefix="impasto-film-"))
        self.remove = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        suffix = Path(name).suffix.lower()
        self.path = self.folder / f"{file_stem(Path(name).stem) or 'film'}{suffix}"
        try:
            self.path.write_bytes(data)
            self.size, self.seconds, self.still = self._look_at()
        except (ImpastoError, OSError) as error:
            raise FilmError(plain(error, self.folder)) from error

    def open(self, seconds: float = MOST_SECONDS) -> Film:
        """Opens it, as far as to that second."""
        return open_film(self.path, end=seconds)

    def _look_at(self) -> tuple[tuple[int, int], float, Upload]:
        """Width and height, length in seconds, and a picture that stands for the film."""
        film = self.open()
        height, width = film.size
        if width * height > max_pixels():
            raise TooLargeError(
                f"{self.path}: has {width} x {height} pixels, which is more than the "
                f"{max_pixels() / 1e6:g} megapixels allowed here"
            )
        if film.length is not None and film.length > MOST_SECONDS:
            raise FilmError(
                f"{self.path}: takes {float(film.length) / 60:.1f} minutes, and films of up to "
                f"{MOST_SECONDS // 60} are painted here: bring a part of it"
            )
        for frame in film.read():
            if frame.time >= _STILL_SECOND:
                break
        encoded = io.BytesIO()
        still = Image.fromarray(opaque(frame.pixels))
        still.thumbnail((_STILL_SIDE, _STILL_SIDE))
        still.save(encoded, "JPEG", quality=90)
        still_file = Upload(f"{self.path.stem}.jpg", encoded.getvalue())
        return (width, height), float(film.duration or 0), still_file

    @property
    def bytes(self) -> int:
        """How much its files take on the disk."""
        return _bytes_in(self.folder)

    def painted_by(self, request: Request) -> PaintedFilm | None:
        """What was painted by a request, the most of it; if that names no styles, whatever was."""
        if not request.styles:
            return self.painted
        known = (self.painted, self.preview)
        return next((one for one in known if one and one.request == request), None)

    def keep_preview(self, made: PaintedFilm) -> None:
        """Puts a painted beginning in place of the last one, unless another one is wanted now."""
        wanted = made.request == self.wanted
        outdated = self.preview if wanted else made
        if wanted:
            self.preview = made
        _remove(outdated)

    def keep(self, made: PaintedFilm) -> None:
        """Puts a painted film in place of the last one."""
        old, self.painted = self.painted, made
        if old and old.path != made.path:
            _remove(old)


@dataclass(frozen=True, eq=False)
class PaintedFilm:
    """A film that was painted, or a part of one."""

    request: Request
    path: Path
    frames: int
    stopped: str = ""
    """A sentence, if it ends before the film does."""
    notes: tuple[str, ...] = ()
    """Sentences about how the film was read or written."""

    @property
    def name(self) -> str:
        """Name among the films of its session; when it grows it gets another one."""
        return f"{self.path.parent.name}-{self.frames}{self.path.suffix}"

    def command(self, film: str) -> str:
        """Returns the command line that paints the whole film like that.

        Args:
            film: its file.
        """
        recipe = Recipe.of(self.request.options)
        return recipe.command(film, self.request.recipe_styles, self.path.name, film=True)


def _remove(painted: PaintedFilm | None) -> None:
    if painted:
        shutil.rmtree(painted.path.parent, ignore_errors=True)


def paint_preview(brought: BroughtFilm, request: Request, job: Job) -> PaintedFilm:
    """Paints the beginning of a film, small, as an animation that is shown for ever.

    Args:
        brought: the film.
        request: how it is painted.
        job: told of the progress.

    Raises:
        ImpastoError: one sentence.
    """
    side = min(PREVIEW_SIDE, request.options.get("size", max(brought.size)))
    small = {**request.options, "size": side}
    film = brought.open(PREVIEW_SECONDS)
    film.plays = 0
    output = brought.folder / str(job.id) / "preview.webp"
    made = _paint(brought, film, replace(request, options=small), output, job)
    return replace(made, request=request)


def paint_whole(brought: BroughtFilm, request: Request, job: Job) -> PaintedFilm:
    """Paints a film; goes on with it if it was stopped.

    Args:
        brought: the film.
        request: how it is painted.
        job: told of the progress.

    Raises:
        ImpastoError: one sentence.
    """
    film, before = brought.open(), brought.painted
    if before and before.stopped and before.request == request:
        output = before.path
    else:
        output = brought.folder / str(job.id) / f"{brought.path.stem}-painted{_suffix(film)}"
    return _paint(brought, film, request, output, job)


def _suffix(film: Film) -> str:
    """What a film is written as."""
    if film.path.suffix in ANIMATIONS:
        return film.path.suffix
    for suffix in _CONTAINERS[:-1]:
        with suppress(OutputError):
            output_of(film.path.with_suffix(suffix)).check(film)
            return suffix
    return _CONTAINERS[-1]


def _paint(
    brought: BroughtFilm, film: Film, request: Request, output: Path, job: Job
) -> PaintedFilm:
    """Paints a film into a file, as far as that goes."""
    full = False

    def on_frame(progress: FilmProgress) -> None:
        nonlocal full
        count = max(progress.count or progress.done + 1, progress.done)
        shown = partial(_picture, progress)
        job.report(progress.done, count, progress.fraction or 0.0, shown)
        full = _bytes_in(output.parent) > MOST_BYTES
        if full:
            raise Stop

    options = dict(request.options)
    stability = options.pop("stability", FilmControls.stability)
    recipe = {"impasto": __version__, **request.options, "styles": request.recipe_styles}
    output.parent.mkdir(exist_ok=True)
    try:
        styles = [style.style() for style in request.styles]
        painter = FilmPainter(Recipe.of(options), styles, stability=stability)
        result = paint_film(film, output, painter, resume=True, recipe=recipe, on_frame=on_frame)
    except ImpastoError as error:
        problem = plain(error, output.parent, brought.folder)
        if not output.exists():
            shutil.rmtree(output.parent, ignore_errors=True)
            raise FilmError(problem) from error
        return PaintedFilm(request, output, job.step, problem)
    notes = tuple(plain(note, output.parent, brought.folder) for note in result.notes)
    stopped = ""
    if result.stopped:
        room = "There is no room for more: s" if full else "S"
        stopped = f"{room}topped after {result.frames} of {job.steps} frames."
    return PaintedFilm(request, output, result.frames, stopped, notes)


def _picture(progress: FilmProgress) -> Image.Image:
    return Image.fromarray(opaque(progress.image()))


def _bytes_in(folder: Path) -> int:
    taken = 0
    for inner, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # it has just got another name
                taken += (Path(inner) / name).stat().st_size
    return taken


def plain(error: object, *folders: Path) -> str:
    """What went wrong, for people who know neither the server's folders nor the command line."""
    text = reason(error) if isinstance(error, BaseException) else str(error)
    for folder in folders:
        text = text.replace(f"{folder}{os.sep}", "")
    text = text.replace("use `impasto stylize`", "take it to the page Paint")
    return re.sub(r"; what (is|was) painted.*", "", text)  # and how to go on with it
