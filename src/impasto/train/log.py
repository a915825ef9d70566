"""Log: what a training tells while it runs, in lines, tables, plots and TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from impasto import images
from impasto.history import History
from impasto.images import Picture
from impasto.train.run import Run

OnMessage = Callable[[str], None]
"""Is called with what happens, a line at a time."""

_MESSAGE_SECONDS = 10
"""Shortest time between two lines about losses."""


class TrainingLog:
    """Losses, scores and sample pictures of a run.

    Args:
        run: where they are written.
        steps: length of the whole training.
        on_message: is called with each line.
    """

    def __init__(self, run: Run, steps: int, on_message: OnMessage) -> None:
        self.run, self.steps, self.on_message = run, steps, on_message
        self.losses, self.scores = History(), History()
        self._last_message = 0.0

    @contextmanager
    def open(self, step: int) -> Iterator[None]:
        """While open, values go to TensorBoard.

        Args:
            step: where the run goes on; what an interrupted run wrote about later steps is dropped.
        """
        self.run.folder.mkdir(exist_ok=True)
        folder = self.run.folder / "tensorboard"
        with SummaryWriter(folder, purge_step=step + 1) as self._board:
            yield

    def add_losses(self, step: int, losses: Mapping[str, float], seconds: float) -> None:
        """Notes the weighted losses of a step.

        Args:
            step: number of steps so far.
            losses: values by name.
            seconds: what these steps took.
        """
        self.losses.add(step, losses)
        for name, value in losses.items():
            self._board.add_scalar(f"loss/{name}", value, step)
        if time.monotonic() - self._last_message < _MESSAGE_SECONDS:
            return
        self._last_message = time.monotonic()
        values = ", ".join(f"{name} {value:.4f}" for name, value in losses.items())
        minutes = seconds / step * (self.steps - step) / 60
        self.on_message(f"step {step} of {self.steps}: {values}; {minutes:.0f} minutes left")

    def add_scores(self, step: int, scores: Mapping[str, float], sheet: Tensor) -> None:
        """Notes the scores of a validation, and writes its samples.

        Args:
            step: number of steps so far.
            scores: values by name.
            sheet: picture of the samples, (1, 3, H, W).

        Raises:
            OutputError: the sheet cannot be written.
        """
        self.scores.add(step, scores)
        for name, value in scores.items():
            self._board.add_scalar(f"validation/{name}", value, step)
        values = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
        self.on_message(f"validation: {values}")
        images.write(self.run.folder / f"sample-{step:06}.png", Picture(sheet))
        self._board.add_images("samples", sheet, step)

    def write(self) -> None:
        """Writes losses and scores as tables and plots.

        Raises:
            OutputError: a file cannot be written.
        """
        for name, history in (("losses", self.losses), ("scores", self.scores)):
            history.write_csv(self.run.folder / f"{name}.csv")
            history.write_plot(self.run.folder / f"{name}.png")
