"""What follows a painting: its progress, shown; its losses; snapshots; and Ctrl-C."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

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

_PLAIN_LINES = 10
"""How many lines of progress a painting prints where there is no terminal."""
_PACE_S = 120.0
"""The time left is reckoned from the steps of so many seconds."""
PATIENCE_S = 3.0
"""Networks say nothing of their progress before so many seconds have passed."""


def progress_of(name: str) -> Bar | nullcontext[OnStep]:
    """What shows the progress of a painting: a bar on a terminal, lines elsewhere."""
    return Bar(name) if on_terminal() else nullcontext(_plain_progress(name))


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


class Bar:
    """A progress bar on a terminal."""

    def __init__(self, name: str) -> None:
        self.bar = RichProgress(
            TextColumn("{task.description}", markup=False),  # names may hold brackets
            BarColumn(),
            TextColumn("{task.fields[steps]}", markup=False),
            TextColumn("{task.fields[losses]}", markup=False),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            speed_estimate_period=_PACE_S,
        )
        self.task = self.bar.add_task(printable(name), total=None, steps="", losses="")

    def __enter__(self) -> OnStep:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Shows a step."""
        self.bar.update(
            self.task,
            completed=progress.fraction,
            total=1.0,
            steps=f"{progress.step}/{progress.steps}",
            losses=_losses(progress).lstrip(", "),
        )


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
    snapshots: Snapshots
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
        self.snapshots(progress)
        if self.stop.is_set() and progress.step < progress.steps:
            self.stopped = True
            raise Stop
