"""How far a painting is, on a terminal and elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from types import TracebackType
from typing import TYPE_CHECKING

from impasto.cli.base import say

if TYPE_CHECKING:
    from impasto.methods import OnStep, Progress

_PLAIN_LINES = 10
"""How many lines of progress a painting prints where there is no terminal."""
PATIENCE_S = 3.0
"""Networks say nothing of their progress before so many seconds have passed."""


def progress_of(name: str) -> Bar | nullcontext[OnStep]:
    """What shows the progress of a painting: a bar on a terminal, lines elsewhere."""
    return Bar(name) if sys.stderr.isatty() else nullcontext(_plain_progress(name))


def _losses(progress: Progress) -> str:
    if not progress.losses:  # of a network
        return ""
    parts = ", ".join(f"{k} {v:.3g}" for k, v in progress.losses.items() if k != "total" and v)
    return f", loss {progress.losses['total']:.3g} ({parts})"


def _plain_progress(name: str) -> OnStep:
    started = time.monotonic()

    def show(progress: Progress) -> None:
        step, steps = progress.step, progress.steps
        seconds = time.monotonic() - started
        if not progress.losses and seconds < PATIENCE_S:
            return
        if step * _PLAIN_LINES // steps != (step - 1) * _PLAIN_LINES // steps:
            say(f"{name}: step {step} of {steps}{_losses(progress)}, {seconds:.0f} s")

    return show


class Bar:
    """A progress bar on a terminal."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self.task = self.bar.add_task(name, total=None, losses="")

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
            completed=progress.step,
            total=progress.steps,
            losses=_losses(progress).lstrip(", "),
        )
