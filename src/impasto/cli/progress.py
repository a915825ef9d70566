"""What follows a painting: its progress, shown; its losses; snapshots; and Ctrl-C."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from impasto import images
from impasto.cli.base import fail, on_terminal, printable, say
from impasto.errors import OutputError, Stop
from impasto.history import History
from impasto.look import Look
from impasto.methods import OnStep, Progress
from impasto.naming import fitted

if TYPE_CHECKING:
    from impasto.video.film import FilmProgress, OnFrame

_PLAIN_LINES = 10
"""How many lines of progress a painting prints where there is no terminal."""
_PACE_S = 120.0
"""The time left is reckoned from the steps of so many seconds."""
PATIENCE_S = 3.0
"""Networks say nothing of their progress before so many seconds have passed."""


@contextmanager
def progress_of(name: str) -> Iterator[OnStep]:
    """What shows the progress of a painting: a bar on a terminal, lines elsewhere."""
    if not on_terminal():
        yield _plain_progress(name)
        return
    with bar(name) as show:
        yield lambda progress: show(
            progress.fraction, f"{progress.step}/{progress.steps}", _losses(progress).lstrip(", ")
        )


def _losses(progress: Progress) -> str:
    if not progress.losses:  # of a network
        return ""
    parts = ", ".join(f"{k} {v:.3g}" for k, v in progress.losses.items() if k != "total" and v)
    return f", loss {progress.losses['total']:.3g} ({parts})"


def _plain_progress(name: str) -> OnStep:
    started, lines = time.monotonic(), 0

    def show(progress: Progress) -> None:
        nonlocal lines
        seconds = time.monotonic() - started
        if not progress.losses and seconds < PATIENCE_S:
            return
        due = int(progress.fraction * _PLAIN_LINES)
        if due > lines:
            lines = due
            step = f"step {progress.step} of {progress.steps}"
            say(f"{name}: {step}{_losses(progress)}, {seconds:.0f} s")

    return show


@contextmanager
def bar(name: str) -> Iterator[Callable[[float | None, str, str], None]]:
    """A progress bar on a terminal. It is told how much is done, if that is known, how far that is
    in words, and a remark.
    """
    progress = RichProgress(
        TextColumn("{task.description}", markup=False),  # names may hold brackets
        BarColumn(),
        TextColumn("{task.fields[place]}", markup=False),
        TextColumn("{task.fields[remark]}", markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        speed_estimate_period=_PACE_S,
    )
    task = progress.add_task(printable(name), total=None, place="", remark="")
    with progress:
        yield lambda fraction, place, remark: progress.update(
            task,
            completed=fraction,
            total=None if fraction is None else 1.0,
            place=place,
            remark=remark,
        )


@contextmanager
def film_progress_of(name: str) -> Iterator[OnFrame]:
    """What shows the progress of a film: a bar on a terminal, lines elsewhere."""
    if not on_terminal():
        yield _plain_film_progress(name)
        return
    with bar(name) as show:
        yield lambda progress: show(progress.fraction, _place(progress), _pace(progress))


def _plain_film_progress(name: str) -> OnFrame:
    started, lines = time.monotonic(), 0

    def show(progress: FilmProgress) -> None:
        nonlocal lines
        due = int((progress.fraction or 0) * _PLAIN_LINES)
        if due > lines and time.monotonic() - started > PATIENCE_S:
            lines = due
            left = progress.seconds_left
            rest = "" if left is None else f", {left:.0f} s left"
            say(f"{name}: frame {_place(progress)}, {_pace(progress)}{rest}")

    return show


def _place(progress: FilmProgress) -> str:
    return f"{progress.done}/{progress.count or '?'}"


def _pace(progress: FilmProgress) -> str:
    """Frames a second, or seconds a frame if these are many."""
    rate = progress.rate
    return f"{rate:.1f} frames/s" if rate >= 1 else f"{1 / rate:.1f} s/frame"


@dataclass
class Snapshots:
    """Writes ``NAME-00100.png`` and so on beside the picture that is painted."""

    look: Look
    target: Path
    every: int | None
    """How many steps there are between them; None for no snapshots."""
    errors: list[str] = field(default_factory=list)
    """What went wrong. It is said once, and does not end the painting."""

    def __call__(self, progress: Progress) -> None:
        """Writes one, if it is time."""
        if self.every is None or progress.step % self.every or self.errors:
            return
        assert self.look.fitted is not None
        ending = f"-{progress.step:05}{self.target.suffix}"
        path = self.target.with_name(fitted(self.target.stem, ending))
        try:
            images.write(path, replace(self.look.fitted.photo, pixels=progress.image().cpu()))
        except OutputError as error:
            self.errors.append(str(error))
            fail(str(error))


@dataclass
class Watcher:
    """Is told of each step of a painting; ends it when Ctrl-C was pressed."""

    stop: threading.Event
    snapshots: Snapshots | None = None
    losses: History = field(default_factory=History)
    show: OnStep | None = None
    stopped: bool = False
    """Whether Ctrl-C ended the painting before its last step."""
    step: int = 0
    """The last step that was done."""
    steps: int = 0
    """How many there are in all."""

    def __call__(self, progress: Progress) -> None:
        """Takes down, shows and keeps a step.

        Raises:
            Stop: Ctrl-C was pressed.
        """
        self.step, self.steps = progress.step, progress.steps
        self.losses(progress)
        if self.show is not None:
            self.show(progress)
        if self.snapshots is not None:
            self.snapshots(progress)
        if self.stop.is_set() and progress.step < progress.steps:
            self.stopped = True
            raise Stop
